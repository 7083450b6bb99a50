import itertools

import numpy as np
import pytest

from tff_robust.resilience import robustness


def _trimmed_mean(rows, max_byzantine):
  ordered = np.sort(rows, axis=0)
  return ordered[max_byzantine : len(rows) - max_byzantine].mean(axis=0)


def _krum(rows, max_byzantine):
  distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
  np.fill_diagonal(distances, np.inf)
  count = len(rows) - max_byzantine - 2
  return rows[np.sort(distances, axis=1)[:, :count].sum(axis=1).argmin()]


def _median(rows, max_byzantine):
  del max_byzantine
  return np.median(rows, axis=0)


def _brute_force(aggregate, rows, max_byzantine, top=False):
  worst = 0.0
  for members in itertools.combinations(range(len(rows)), len(rows) - max_byzantine):
    chosen = rows[list(members)]
    covariance = np.atleast_2d(np.cov(chosen.T, bias=True))
    spread = np.linalg.eigvalsh(covariance)[-1] if top else np.trace(covariance)
    worst = max(worst, ((aggregate - chosen.mean(axis=0)) ** 2).sum() / spread)
  return worst


@pytest.mark.parametrize(
  ('max_byzantine', 'lower', 'trimmed', 'krum', 'median', 'factor', 'smea'),
  [
    (1, 0.043, 0.27, 6.26, 4.36, 0.333, 0.18),
    (2, 0.095, 0.63, 6.57, 4.80, 0.696, 0.42),
    (5, 0.333, 2.67, 8.0, 7.11, 2.0, 1.78),
    (8, 0.889, 10.1, 11.3, 14.3, 3.76, 6.7),
    (11, 3.67, 103, 28, 87.1, 6.29, 68.4),
  ],
)
def test_matches_the_published_bounds_for_twenty_five_clients(
  max_byzantine, lower, trimmed, krum, median, factor, smea
):
  counts = {'num_clients': 25, 'max_byzantine': max_byzantine}
  found = (
    robustness.lower_bound(**counts),
    robustness.trimmed_mean_bound(**counts),
    robustness.krum_bound(**counts),
    robustness.median_bound(**counts),
    robustness.nearest_neighbor_mixing_bound(0.0, **counts),
    robustness.smea_bound(**counts),
  )
  expected = (lower, trimmed, krum, median, factor, smea)
  np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.006)


def test_mixing_multiplies_one_plus_the_bound():
  found = robustness.nearest_neighbor_mixing_bound(28.0, num_clients=25, max_byzantine=11)
  assert found == pytest.approx(182, rel=0.005)


@pytest.mark.parametrize('top', [False, True])
def test_equals_brute_force_over_all_subsets(top):
  generator = np.random.default_rng(0)
  for _ in range(20):
    rows = generator.normal(size=(8, 4)) * np.exp(generator.normal(size=(8, 1))) + 3
    for rule in (_trimmed_mean, _krum, _median):
      found = robustness.empirical_kappa(
        lambda stack, rule=rule: rule(stack, 3),
        rows,
        max_byzantine=3,
        against_top_eigenvalue=top,
      )
      assert found == pytest.approx(_brute_force(rule(rows, 3), rows, 3, top), rel=1e-8)


@pytest.mark.parametrize('distance', [1e8, 1e12])
def test_finds_the_spread_of_rows_from_which_the_aggregate_is_far(distance):
  rows = np.random.default_rng(4).normal(size=(8, 4)) + 3
  aggregate = np.full(4, distance)
  found = robustness.measured_kappa(aggregate, rows, max_byzantine=2)
  assert found == pytest.approx(_brute_force(aggregate, rows, 2, False), rel=1e-8)


def test_tries_the_honest_subset_alone_when_it_is_named():
  rows = np.random.default_rng(1).normal(size=(9, 5))
  honest = np.arange(9) < 6
  found = robustness.empirical_kappa(
    lambda stack: _krum(stack, 3), rows, max_byzantine=3, honest=honest
  )
  chosen = rows[:6]
  spread = ((chosen - chosen.mean(axis=0)) ** 2).sum(axis=1).mean()
  expected = ((_krum(rows, 3) - chosen.mean(axis=0)) ** 2).sum() / spread
  assert found == pytest.approx(expected)
  assert found <= robustness.empirical_kappa(lambda s: _krum(s, 3), rows, max_byzantine=3)


@pytest.mark.parametrize(
  ('rule', 'bound'),
  [
    (_trimmed_mean, robustness.trimmed_mean_bound),
    (_krum, robustness.original_krum_bound),
    (_median, robustness.median_bound),
  ],
)
def test_no_adversarial_stack_exceeds_the_bound_and_the_mean_does(rule, bound):
  generator = np.random.default_rng(2)
  limit = bound(num_clients=9, max_byzantine=3)
  worst, worst_mean = 0.0, 0.0
  for _ in range(60):
    rows = generator.normal(size=(9, 3)) * np.exp(generator.normal(size=3))
    kind = generator.integers(3)
    if kind == 0:
      rows[6:] = -generator.exponential() * rows[:6].mean(axis=0)
    elif kind == 1:
      rows[6:] = rows[:6].mean(axis=0) - 3 * generator.random() * rows[:6].std(axis=0)
    else:
      rows[6:] *= 1e3
    worst = max(worst, robustness.empirical_kappa(lambda s: rule(s, 3), rows, max_byzantine=3))
    worst_mean = max(
      worst_mean, robustness.empirical_kappa(lambda s: s.mean(axis=0), rows, max_byzantine=3)
    )
  assert 0.3 < worst <= limit
  assert worst_mean > 1000 * limit


def test_is_infinite_when_agreeing_rows_are_ignored_and_zero_when_they_are_returned():
  rows = np.ones((7, 3))
  rows[5:] = 4.0
  assert robustness.empirical_kappa(lambda s: s[-1], rows, max_byzantine=2) == np.inf
  for broken in (np.nan, np.inf, -np.inf):
    spoiled = np.where(np.arange(rows.shape[1]) == 0, broken, 0.0)
    assert robustness.measured_kappa(spoiled, rows, max_byzantine=2) == np.inf
  all_equal = np.ones((7, 3))
  assert robustness.empirical_kappa(lambda s: s[0], all_equal, max_byzantine=2) == 0.0


def test_mixing_multiplies_the_bound_of_the_rule_behind_it():
  # 8/24 * (1 + 6/23 * (1 + 1/23)), with the trimmed mean's 6f / (n - 2f) * (1 + f / (n - 2f)).
  found = robustness.describe_bound('trimmed_mean', num_clients=25, max_byzantine=1, mixed=True)
  assert 'nearest_neighbor_mixing then trimmed_mean at f=1 of 25 is robust' in found
  assert f'kappa at most {8 / 24 * (1 + 6 / 23 * (1 + 1 / 23)):.3g},' in found
  for rule in ('smea', 'bulyan'):
    assert 'No bound on kappa is known' in robustness.describe_bound(
      rule, num_clients=25, max_byzantine=1, mixed=True
    )


def test_says_in_words_when_there_is_no_guarantee():
  assert robustness.describe_bound('krum', num_clients=25, max_byzantine=11).startswith(
    'No guarantee for krum at f=11 of 25: kappa is at most 39.8'
  )
  assert 'robust with kappa at most 0.27' in robustness.describe_bound(
    'trimmed_mean', num_clients=25, max_byzantine=1
  )
  # 24 / 22 * (2 + 4 * 22 / 23) and 6 * (1 + 1 / 23), by hand.
  assert 'at most 6.36' in robustness.describe_bound('krum', num_clients=25, max_byzantine=1)
  assert 'at most 6.26' in robustness.describe_bound('krum_byzfl', num_clients=25, max_byzantine=1)
  mixed = robustness.describe_bound('mean', num_clients=25, max_byzantine=1, mixed=True)
  assert 'no guarantee' in mixed
  # Against the largest eigenvalue alone: nothing is said about the whole spread.
  assert 'variance of honest updates in any one direction' in robustness.describe_bound(
    'smea', num_clients=25, max_byzantine=5
  )
  assert 'no guarantee' in robustness.describe_bound('mean', num_clients=25, max_byzantine=1)
  assert 'no guarantee' in robustness.describe_bound('krum', num_clients=25, max_byzantine=0)
  assert 'No bound' in robustness.describe_bound('multi_krum', num_clients=25, max_byzantine=1)


def test_refuses_half_or_more_and_too_many_subsets():
  with pytest.raises(ValueError, match='less than half'):
    robustness.lower_bound(num_clients=10, max_byzantine=5)
  with pytest.raises(ValueError, match='pass honest='):
    robustness.measured_kappa(np.zeros(2), np.zeros((25, 2)), max_byzantine=11)
  with pytest.raises(ValueError, match='at least one row must be honest'):
    robustness.measured_kappa(
      np.zeros(2), np.zeros((5, 2)), max_byzantine=1, honest=np.zeros(5, bool)
    )


@pytest.mark.parametrize(
  ('options', 'words'),
  [
    ({'tolerance': 0.0, 'max_iterations': 1000, 'smoothing': 1e-6}, 'No bound on kappa is known'),
    ({'tolerance': 1e-6, 'max_iterations': 3, 'smoothing': 1e-6}, 'with max_iterations=3'),
    ({'tolerance': 1e-6, 'max_iterations': 1000, 'smoothing': 1e3}, 'beside smoothing=1000'),
  ],
)
def test_the_bound_of_the_geometric_median_is_for_one_that_was_reached(options, words):
  told = robustness.describe_bound(
    'geometric_median', num_clients=100, max_byzantine=1, mixed=True, options=options
  )
  assert words in told
