import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tff_robust.aggregators import krum, mean
from tff_robust.attacks import noise_matched_ipm
from tff_robust.preaggregators import noise_consistency_filter as noise_filter
from tff_robust.preaggregators import preaggregator
from tff_robust.privacy import message_noise, noise_limits

D, H, B, STDDEV, SIGNAL = 4000, 9, 4, 0.1, 0.5
MESSAGE = message_noise.MessageNoise(noise_stddev=STDDEV, independent_bound=SIGNAL)
LIMITS = noise_limits.noise_limits([MESSAGE], dimension=D, num_clients=H + B)
SIGNAL_VECTOR = np.full(D, SIGNAL / D**0.5)


def honest(seed=0, num_rows=H):
  noise = STDDEV * np.random.default_rng(seed).standard_normal([num_rows, D])
  return (SIGNAL_VECTOR + noise).astype(np.float32)


def rejected(rows, limits=LIMITS):
  """Returns the indices of the rows that the filter makes NaN; all others keep every bit."""
  filtered = noise_filter.noise_consistency_filter(rows, limits=limits).numpy()
  gone = np.isnan(filtered).all(axis=1)
  np.testing.assert_array_equal(filtered[~gone], rows[~gone])
  return np.flatnonzero(gone).tolist()


def matched(shared_noise, seed=0):
  return noise_matched_ipm.noise_matched_ipm(
    honest(),
    tf.constant([seed, 7], tf.int64),
    num_byzantine=B,
    epsilon=0.1,
    shared_noise=shared_noise,
    noise_stddev=STDDEV,
  ).numpy()


def only(**kept):
  """Returns limits that reject nothing but by the tests named."""
  nothing = {
    'norm_intervals': ((0.0, np.inf),),
    'distribution_distance': 1.0,
    'pair_distance': 0.0,
  }
  return dataclasses.replace(LIMITS, **{**nothing, **kept})


NORM = only(norm_intervals=LIMITS.norm_intervals)
DISTRIBUTION = only(distribution_distance=LIMITS.distribution_distance)
PAIRS = only(pair_distance=LIMITS.pair_distance)
ATTACKERS = list(range(H, H + B))


def with_attackers(rows):
  return np.concatenate([honest(), np.asarray(rows, np.float32)])


def test_keeps_honest_rows_over_many_rounds():
  assert [rejected(honest(seed, H + B)) for seed in range(100)] == [[]] * 100


def test_rejects_small_and_large_manipulations_by_their_norm():
  for epsilon in (0.1, 1.0, 30.0):
    lies = np.tile(-epsilon * honest().mean(axis=0), [B, 1])
    assert rejected(with_attackers(lies)) == ATTACKERS
    assert rejected(with_attackers(lies), NORM) == ATTACKERS


@pytest.mark.parametrize('shared_noise', [0.5, 1.0])
def test_rejects_shared_noise_by_the_distances_of_pairs_alone(shared_noise):
  rows = with_attackers(matched(shared_noise))
  assert rejected(rows) == ATTACKERS
  assert rejected(rows, PAIRS) == ATTACKERS
  assert rejected(rows, NORM) == rejected(rows, DISTRIBUTION) == []


def test_attackers_with_full_noise_of_their_own_pass():
  assert rejected(with_attackers(matched(0.0))) == []


def test_rejects_rows_of_the_right_norm_that_are_no_gaussian_noise():
  generator = np.random.default_rng(1)
  signs = STDDEV * generator.choice([-1, 1], [B, D])
  assert rejected(with_attackers(signs)) == ATTACKERS
  assert rejected(with_attackers(signs), DISTRIBUTION) == ATTACKERS
  assert rejected(with_attackers(signs), NORM) == rejected(with_attackers(signs), PAIRS) == []


def test_row_made_to_lie_close_to_all_honest_rows_goes_alone():
  center = honest().mean(axis=0)
  center *= STDDEV * D**0.5 / np.linalg.norm(center)
  rows = with_attackers([center])
  assert rejected(rows) == [H]
  distances = np.linalg.norm(rows[:H] - rows[H], axis=1)
  assert (distances < LIMITS.pair_distance).all()


def test_copy_of_an_honest_message_takes_it_along():
  assert rejected(with_attackers(honest()[:1])) == [0, H]


def test_short_row_does_not_take_its_neighbours_along():
  # The zero row is too close to everybody, but falls by its norm before pairs are looked at.
  assert rejected(with_attackers(np.zeros([1, D]))) == [H]
  assert rejected(with_attackers(np.zeros([1, D])), PAIRS) == [H]


def test_distance_is_kolmogorovs_to_one_cell():
  rows = np.random.default_rng(2).laplace(0.05, 0.3, [5, 20_000]).astype(np.float32)
  stddevs = np.array([0.2, 0.3, 0.4, 0.5, 3.0])
  found = noise_filter.distribution_distance(rows, tf.constant(stddevs)).numpy()
  exact = [
    stats.kstest(row, stats.norm(scale=stddev).cdf).statistic
    for row, stddev in zip(rows, stddevs, strict=True)
  ]
  np.testing.assert_array_less(found, np.array(exact) + 1e-6)
  np.testing.assert_array_less(np.array(exact) - 1 / noise_limits.NUM_CELLS, found)


def apply_rule(rows, rule):
  step = noise_filter.build_noise_consistency_filter(limits=LIMITS)
  composed = preaggregator.compose([step], rule)

  @tf.function(input_signature=[tf.TensorSpec([None, D]), tf.TensorSpec([None])])
  def traced(updates, weights):
    output = composed.apply(composed.init(D), updates, weights, tf.constant([1, 2], tf.int64))
    return output.aggregate, dict(output.measurements)

  return traced(rows, np.ones(len(rows), np.float32))


def test_rule_counts_what_was_filtered_beside_what_was_not_finite():
  rows = with_attackers(-0.1 * honest()[:B])
  rows[H, 3] = np.nan
  aggregate, measured = apply_rule(rows, krum.build_krum(max_byzantine=B))
  assert measured['num_filtered'] == B - 1
  assert measured['num_nonfinite'] == 1
  assert not measured['round_rejected']
  assert not measured['selected'].numpy()[H:].any()
  # All f are gone, so Krum looks for the row with the closest n - 2 neighbours among honest ones.
  squared = ((rows[:H, None] - rows[None, :H]) ** 2).sum(axis=2)
  winner = np.argmin(np.sort(squared, axis=1)[:, 1 : H - 1].sum(axis=1))
  np.testing.assert_array_equal(aggregate, rows[winner])
  averaged, _ = apply_rule(rows, mean.build_mean())
  np.testing.assert_allclose(averaged, honest().mean(axis=0), atol=1e-6)


def test_round_with_more_rejections_than_the_rule_tolerates_is_rejected():
  rows = with_attackers(-0.1 * honest()[:B])
  aggregate, measured = apply_rule(rows, krum.build_krum(max_byzantine=B - 1))
  assert measured['round_rejected']
  assert measured['num_filtered'] == B
  np.testing.assert_array_equal(aggregate, np.zeros(D))


def test_two_step_counts_make_the_test_scale_free_between_them():
  steps = [dataclasses.replace(MESSAGE, noise_stddev=s) for s in (STDDEV, 2 * STDDEV)]
  limits = noise_limits.noise_limits(steps, dimension=D, num_clients=H + B)
  rows = np.concatenate([honest(), 2 * honest(1)]).astype(np.float32)
  assert rejected(rows, limits) == []
  assert rejected(np.concatenate([rows, 1.5 * honest(2)]), limits) == list(range(2 * H, 3 * H))
