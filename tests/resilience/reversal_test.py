import numpy as np
import pytest

from tff_robust.resilience import krum_breaking_point, reversal


def _honest(generator, rows, columns, ratio):
  return generator.normal(size=(rows, columns)) / np.sqrt(columns) + np.sqrt(ratio / columns)


def _attacked(honest, num_byzantine, epsilon):
  return np.concatenate([honest, np.tile(-epsilon * honest.mean(axis=0), (num_byzantine, 1))])


def _geometric_median(rows, steps=800):
  point = rows.mean(axis=0)
  for _ in range(steps):
    weights = 1 / np.maximum(np.linalg.norm(rows - point, axis=1), 1e-12)
    point = weights @ rows / weights.sum()
  return point


@pytest.mark.parametrize('num_byzantine', [1, 5, 11])
def test_mean_is_reversed_exactly_above_the_threshold(num_byzantine):
  honest = _honest(np.random.default_rng(0), 25 - num_byzantine, 20, 0.3)
  center = honest.mean(axis=0)
  threshold = reversal.mean_reversal_epsilon(
    num_honest=25 - num_byzantine, num_byzantine=num_byzantine
  )
  for factor, reversed_mean in ((0.99, False), (1.01, True)):
    aggregate = _attacked(honest, num_byzantine, factor * threshold).mean(axis=0)
    assert (aggregate @ center < 0) == reversed_mean


def test_gives_the_known_thresholds_for_twenty_five_clients():
  assert reversal.mean_reversal_epsilon(num_honest=24, num_byzantine=1) == 24
  assert reversal.mean_reversal_epsilon(num_honest=14, num_byzantine=11) == pytest.approx(
    1.27, abs=0.005
  )
  assert reversal.multi_krum_reversal_epsilon(num_selected=14, num_byzantine=11) == pytest.approx(
    0.27, abs=0.005
  )
  assert reversal.multi_krum_reversal_epsilon(num_selected=5, num_byzantine=11) == 0


def test_multi_krum_is_reversed_above_the_threshold_when_it_selects_all_attackers():
  generator = np.random.default_rng(1)
  alignments = {}
  for epsilon in (0.15, 0.4):
    found = []
    for _ in range(20):
      honest = _honest(generator, 14, 4000, 0.05)
      rows = _attacked(honest, 11, epsilon)
      distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
      np.fill_diagonal(distances, np.inf)
      chosen = np.argsort(np.sort(distances, axis=1)[:, :12].sum(axis=1))[:14]
      assert (chosen >= 14).sum() == 11
      center = honest.mean(axis=0)
      found.append(rows[chosen].mean(axis=0) @ center / (center @ center))
    alignments[epsilon] = np.mean(found)
  assert alignments[0.15] > 0 > alignments[0.4]


@pytest.mark.parametrize(('epsilon', 'signal_to_noise'), [(0.1, 0.0), (1.0, 0.3), (10.0, 0.1)])
def test_median_capture_probability_agrees_with_sampled_medians(epsilon, signal_to_noise):
  generator = np.random.default_rng(2)
  honest = generator.normal(size=(14, 20_000)) + signal_to_noise
  sent = np.full((11, 20_000), -epsilon * signal_to_noise)
  median = np.median(np.concatenate([honest, sent]), axis=0)
  expected = reversal.coordinate_median_capture_probability(
    num_honest=14, num_byzantine=11, epsilon=epsilon, signal_to_noise=signal_to_noise
  )
  assert np.mean(median == sent[0]) == pytest.approx(expected, abs=0.01)


def test_median_is_nearly_always_captured_when_noise_dominates():
  found = reversal.coordinate_median_capture_probability(
    num_honest=14, num_byzantine=11, epsilon=0.1, signal_to_noise=0.0
  )
  assert found == pytest.approx(0.998, abs=0.0005)


def test_refuses_an_even_number_of_clients_for_the_median():
  with pytest.raises(ValueError, match='must be odd'):
    reversal.coordinate_median_capture_probability(
      num_honest=14, num_byzantine=10, epsilon=0.1, signal_to_noise=0.0
    )


@pytest.mark.parametrize(
  ('num_byzantine', 'ratio', 'expected'),
  [(11, 0.0, 3.6), (11, 0.1, 2.0), (11, 0.3, 1.0), (8, 0.0, 1.1), (8, 0.1, 0.30), (4, 0.0, 0.0)],
)
def test_gives_the_known_capture_range_of_the_geometric_median(num_byzantine, ratio, expected):
  found = reversal.geometric_median_capture_epsilon(
    num_honest=25 - num_byzantine, num_byzantine=num_byzantine, signal_to_noise_ratio=ratio
  )
  assert found == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(('epsilon', 'captured'), [(1.0, True), (1.8, True), (2.2, False)])
def test_geometric_median_is_the_attackers_row_only_within_the_range(epsilon, captured):
  honest = _honest(np.random.default_rng(3), 14, 4000, 0.1)
  rows = _attacked(honest, 11, epsilon)
  assert (
    reversal.geometric_median_is_attacker(honest, num_byzantine=11, epsilon=epsilon) == captured
  )
  distance = np.linalg.norm(_geometric_median(rows) - rows[-1])
  assert (distance < 0.01 * np.linalg.norm(rows[-1])) == captured


@pytest.mark.parametrize(('factor', 'inside'), [(0.97, True), (1.03, False)])
def test_attackers_enter_honest_neighbourhoods_only_below_the_threshold(factor, inside):
  generator = np.random.default_rng(4)
  honest = _honest(generator, 14, 20_000, 0.2)
  threshold = reversal.nearest_neighbor_mixing_entry_epsilon(
    num_honest=14, signal_to_noise_ratio=0.2
  )
  rows = _attacked(honest, 11, factor * (1 + threshold) - 1)
  distances = ((rows[:14, None] - rows[None]) ** 2).sum(axis=2)
  nearest = np.argsort(distances, axis=1)[:, :14]
  assert np.mean((nearest >= 14).any(axis=1)) == pytest.approx(float(inside), abs=0.2)


def test_mixing_keeps_small_attacks_out_only_with_a_strong_signal():
  assert reversal.nearest_neighbor_mixing_entry_epsilon(
    num_honest=14, signal_to_noise_ratio=0.81
  ) == pytest.approx(0.1, abs=0.005)
  assert (
    reversal.nearest_neighbor_mixing_entry_epsilon(num_honest=14, signal_to_noise_ratio=1.0) == 0
  )


def test_rules_on_mixed_rows_are_unharmed_above_the_threshold_but_for_the_plain_mean():
  honest = np.hstack([np.eye(14), np.full([14, 1], np.sqrt(0.1))])  # The threshold is 1.5.
  rows = _attacked(honest, 11, 1.6)
  nearest = np.argsort(((rows[:, None] - rows[None]) ** 2).sum(axis=2), axis=1)[:, :14]
  mixed, center = rows[nearest].mean(axis=1), honest.mean(axis=0)
  np.testing.assert_allclose(mixed[:14], np.tile(center, (14, 1)), atol=1e-12)
  np.testing.assert_allclose(np.median(mixed, axis=0), center, atol=1e-12)
  # An attacker's mixed row is the mean of 11 of theirs and 3 honest ones.
  share = (14 + 11 * (3 - 11 * 1.6) / 14) / 25
  assert mixed.mean(axis=0)[-1] == pytest.approx(share * center[-1])
  assert share < 0.2


def _attackers_selected(honest, epsilon, *, num_byzantine, num_neighbours, num_selected):
  rows = _attacked(honest, num_byzantine, epsilon)
  distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
  np.fill_diagonal(distances, np.inf)
  scores = np.sort(distances, axis=1)[:, :num_neighbours].sum(axis=1)
  return int((np.argsort(scores)[:num_selected] >= len(honest)).sum())


def test_multi_krum_selects_attackers_above_the_end_of_krum_where_one_client_is_quiet():
  # Seven orthonormal rows and two attackers at f = 2: five neighbours, and seven are selected.
  equal = np.eye(7)
  quiet = equal.copy()
  quiet[0] /= 2
  told = {'num_byzantine': 2, 'max_byzantine': 2}
  counts = {'num_byzantine': 2, 'num_neighbours': 5, 'num_selected': 7}
  found = []
  for honest in (equal, quiet):
    above = 1.001 * krum_breaking_point.exact_breaking_epsilon(honest, **told)
    found.append(
      (
        _attackers_selected(honest, above, **{**counts, 'num_selected': 1}),
        _attackers_selected(honest, above, **counts),
      )
    )
  assert found == [(0, 0), (0, 2)]
