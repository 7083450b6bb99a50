import numpy as np
import pytest

from tff_robust.resilience import krum_breaking_point, krum_closed_forms


def _selects_attacker(honest, sent, max_byzantine):
  """Krum by brute force: the attackers come last, so they lose ties."""
  rows = np.concatenate([honest, sent])
  scores = []
  for i, row in enumerate(rows):
    others = np.delete(((rows - row) ** 2).sum(axis=1), i)
    others = np.where(np.isfinite(others), others, np.inf)
    scores.append(np.sort(others)[: len(rows) - max_byzantine - 2].sum())
  return int(np.argmin(scores)) >= len(honest)


def _contains(intervals, value):
  return any(interval.lower < value < interval.upper for interval in intervals)


def _random_case(generator):
  max_byzantine = int(generator.integers(1, 9))
  num_byzantine = int(generator.integers(1, max_byzantine + 1))
  num_clients = int(generator.integers(2 * max_byzantine + 3, 2 * max_byzantine + 10))
  rows, columns = num_clients - num_byzantine, int(generator.choice([1, 2, 5, 40]))
  spread = np.exp(generator.choice([0.0, 0.5, 1.5]) * generator.normal(size=(rows, 1)))
  anisotropy = np.exp(generator.normal(size=columns))
  signal = generator.choice([0.0, 0.1, 1.0, 5.0]) * generator.normal(size=columns)
  return generator.normal(size=(rows, columns)) * spread * anisotropy + signal, (
    num_byzantine,
    max_byzantine,
  )


def test_ray_read_off_the_answer_is_the_ray_of_the_mean_that_was_seen():
  generator = np.random.default_rng(2)
  honest, seen = generator.normal(size=(14, 30)), generator.normal(size=(3, 30)) + 0.2
  rows = np.concatenate([honest, np.repeat(-0.7 * seen.mean(axis=0)[None], 5, axis=0)])
  rows[3, 0] = np.nan
  found = krum_breaking_point.ipm_ray_from_answer(rows @ rows.T, np.arange(19) >= 14, epsilon=0.7)
  expected = krum_breaking_point.ipm_ray(rows[:14], seen=seen)
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
  assert found.num_nonfinite == 1


def test_agrees_with_brute_force_krum_in_a_thousand_random_rounds():
  generator = np.random.default_rng(20)
  outcomes = []
  for _ in range(1000):
    honest, (num_byzantine, max_byzantine) = _random_case(generator)
    counts = {'num_byzantine': num_byzantine, 'max_byzantine': max_byzantine}
    intervals = krum_breaking_point.ipm_intervals(honest, **counts)
    ray = krum_breaking_point.ipm_ray(honest)
    ends = [end for interval in intervals for end in interval if 0 < end < np.inf]
    near_ends = [end * (1 + sign * 1e-7) for end in ends for sign in (-1, 1)]
    for epsilon in [*np.exp(generator.uniform(-4, 3, size=3)), *near_ends]:
      sent = np.tile(-epsilon * honest.mean(axis=0), (num_byzantine, 1))
      selected = _selects_attacker(honest, sent, max_byzantine)
      assert _contains(intervals, epsilon) == selected
      margin = krum_breaking_point.selection_margin(ray, 1 + epsilon, **counts)
      assert (margin > 0) == selected
      outcomes.append(selected)
  assert 0.2 < np.mean(outcomes) < 0.8


def test_reports_separate_intervals_where_selection_returns():
  generator = np.random.default_rng(20)
  found = 0
  for _ in range(200):
    honest, (num_byzantine, max_byzantine) = _random_case(generator)
    intervals = krum_breaking_point.ipm_intervals(
      honest, num_byzantine=num_byzantine, max_byzantine=max_byzantine
    )
    ends = [end for interval in intervals for end in interval]
    assert ends == sorted(ends)
    assert all(interval.lower < interval.upper for interval in intervals)
    found += len(intervals) > 1
  assert found > 0


@pytest.mark.parametrize('num_byzantine', [4, 6, 8])
def test_holds_with_more_attackers_than_declared(num_byzantine):
  generator = np.random.default_rng(3)
  honest = generator.normal(size=(9, 6)) + 0.3
  intervals = krum_breaking_point.ipm_intervals(
    honest, num_byzantine=num_byzantine, max_byzantine=2
  )
  for epsilon in (0.01, 0.5, 2.0, 20.0, 1e3):
    sent = np.tile(-epsilon * honest.mean(axis=0), (num_byzantine, 1))
    assert _contains(intervals, epsilon) == _selects_attacker(honest, sent, 2)


def test_captures_every_epsilon_when_attackers_fill_their_own_neighbourhood():
  honest = np.random.default_rng(3).normal(size=(3, 6)) + 0.3
  captured = {'num_byzantine': 4, 'max_byzantine': 2}
  assert krum_breaking_point.exact_breaking_epsilon(honest, **captured) == np.inf
  one_less = {'num_byzantine': 2, 'max_byzantine': 1}
  assert krum_breaking_point.exact_breaking_epsilon(honest, **one_less) < np.inf


def test_follows_any_message_that_attackers_average():
  generator = np.random.default_rng(4)
  for _ in range(50):
    clean = generator.normal(size=(14, 30)) + 0.2
    sent_rows = clean + 2 * generator.normal(size=clean.shape)
    own = generator.normal(size=(11, 30)) + 0.2
    for seen in (clean, own):
      intervals = krum_breaking_point.ipm_intervals(
        sent_rows, num_byzantine=11, max_byzantine=11, seen=seen
      )
      for epsilon in (0.1, 1.0, 5.0, 10.0, 40.0):
        attack = np.tile(-epsilon * seen.mean(axis=0), (11, 1))
        assert _contains(intervals, epsilon) == _selects_attacker(sent_rows, attack, 11)


def test_follows_any_ray_of_attacks():
  generator = np.random.default_rng(5)
  for _ in range(50):
    honest = generator.normal(size=(12, 8)) + 0.5
    center, direction = honest.mean(axis=0), -honest.std(axis=0)
    ray = krum_breaking_point.ray_from_updates(honest, base=center, direction=direction)
    intervals = krum_breaking_point.selection_intervals(ray, num_byzantine=5, max_byzantine=5)
    for t in (0.05, 0.5, 1.0, 2.0, 4.0):
      sent = np.tile(center + t * direction, (5, 1))
      assert _contains(intervals, t) == _selects_attacker(honest, sent, 5)


def test_gives_the_same_intervals_from_the_gram_matrix():
  generator = np.random.default_rng(6)
  for _ in range(20):
    honest, (num_byzantine, max_byzantine) = _random_case(generator)
    counts = {'num_byzantine': num_byzantine, 'max_byzantine': max_byzantine}
    np.testing.assert_allclose(
      krum_breaking_point.ipm_intervals_from_gram(honest @ honest.T, **counts),
      krum_breaking_point.ipm_intervals(honest, **counts),
      rtol=1e-6,
      atol=1e-9,
    )


def test_counts_rows_that_are_not_finite_among_the_clients():
  honest = np.random.default_rng(7).normal(size=(14, 9)) + 0.4
  honest[3, 2], honest[9, 0] = np.nan, np.inf
  finite = np.delete(honest, [3, 9], axis=0)
  intervals = krum_breaking_point.ipm_intervals(honest, num_byzantine=4, max_byzantine=6)
  # Dropping two bad rows and lowering f by two leaves n - f - 2 as it was.
  dropped = krum_breaking_point.ipm_intervals(finite, num_byzantine=4, max_byzantine=4)
  np.testing.assert_array_equal(intervals, dropped)
  with np.errstate(invalid='ignore'):
    for epsilon in (0.1, 1.0, 2.0, 3.0, 6.0):
      sent = np.tile(-epsilon * finite.mean(axis=0), (4, 1))
      assert _contains(intervals, epsilon) == _selects_attacker(honest, sent, 6)


def test_finds_nothing_without_attackers_or_without_an_answer_of_the_rule():
  honest = np.random.default_rng(8).normal(size=(9, 3))
  assert krum_breaking_point.ipm_intervals(honest, num_byzantine=0, max_byzantine=3) == []
  honest[:4] = np.nan
  assert krum_breaking_point.ipm_intervals(honest, num_byzantine=2, max_byzantine=3) == []
  margin = krum_breaking_point.selection_margin(
    krum_breaking_point.ipm_ray(honest), 1.5, num_byzantine=2, max_byzantine=3
  )
  assert np.isnan(margin)


def test_attackers_alone_are_selected_if_krum_has_an_answer():
  honest = np.full((11, 3), np.nan)
  counts = {'num_byzantine': 14, 'max_byzantine': 11}
  assert krum_breaking_point.exact_breaking_epsilon(honest, **counts) == np.inf
  ray = krum_breaking_point.ipm_ray(honest)
  assert krum_breaking_point.selection_margin(ray, 1.5, **counts) == np.inf
  with np.errstate(invalid='ignore'):
    assert _selects_attacker(honest, np.zeros((14, 3)), 11)


def test_leaves_equality_to_the_client_ids():
  honest = np.zeros((6, 3))
  assert krum_breaking_point.ipm_intervals(honest, num_byzantine=3, max_byzantine=3) == []
  ray = krum_breaking_point.ipm_ray(honest)
  margin = krum_breaking_point.selection_margin(ray, 1.5, num_byzantine=3, max_byzantine=3)
  assert margin == 0.0


def test_refuses_more_declared_attackers_than_krum_allows():
  with pytest.raises(ValueError, match='needs at least 25 clients'):
    krum_breaking_point.ipm_intervals(np.zeros((14, 2)), num_byzantine=10, max_byzantine=11)


@pytest.mark.parametrize('max_byzantine', [1, 5, 11])
@pytest.mark.parametrize('ratio', [0.0, 0.1, 0.3])
def test_isotropic_formula_is_within_three_percent(max_byzantine, ratio):
  generator = np.random.default_rng(9)
  columns, rows = 5000, 25 - max_byzantine
  exact = []
  for _ in range(6):
    noise = generator.normal(size=(rows, columns)) / np.sqrt(columns)
    honest = noise + np.sqrt(ratio / columns)
    exact.append(
      krum_breaking_point.exact_breaking_epsilon(
        honest, num_byzantine=max_byzantine, max_byzantine=max_byzantine
      )
    )
  predicted = krum_closed_forms.isotropic_breaking_epsilon(
    num_clients=25,
    num_byzantine=max_byzantine,
    max_byzantine=max_byzantine,
    signal_to_noise_ratio=ratio,
  )
  assert 1 + np.mean(exact) == pytest.approx(1 + predicted, rel=0.03)


@pytest.mark.parametrize(('max_byzantine', 'low', 'high'), [(1, 3.6, 4.2), (11, 11.0, 11.9)])
def test_noise_alone_breaks_krum_whatever_the_gradients(max_byzantine, low, high):
  generator = np.random.default_rng(10)
  noise = generator.normal(size=(25 - max_byzantine, 20_000))
  found = krum_breaking_point.exact_breaking_epsilon(
    noise, num_byzantine=max_byzantine, max_byzantine=max_byzantine
  )
  assert low < found < high


def test_solves_a_cohort_of_five_hundred():
  generator = np.random.default_rng(11)
  honest = generator.normal(size=(300, 50)) * np.exp(0.3 * generator.normal(size=(300, 1)))
  honest += 0.2
  intervals = krum_breaking_point.ipm_intervals(honest, num_byzantine=200, max_byzantine=200)
  breaking = krum_breaking_point.breaking_epsilon(intervals)
  for epsilon, captured in ((breaking * 0.999, True), (breaking * 1.001, False)):
    sent = np.tile(-epsilon * honest.mean(axis=0), (200, 1))
    assert _selects_attacker(honest, sent, 200) == captured
