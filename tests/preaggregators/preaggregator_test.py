import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import fltrust, krum, mean
from tff_robust.aggregators import rule as rule_lib
from tff_robust.preaggregators import (
  adaptive_clipping,
  bucketing,
  nearest_neighbor_mixing,
  preaggregator,
  static_clipping,
)

_SEED = tf.constant([1, 2], tf.int64)


def _apply(rule, rows, weights=None, seed=_SEED):
  @tf.function(input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None])])
  def traced(updates, weights):
    output = rule.apply(rule.init(3), updates, weights, seed)
    return output.aggregate, dict(output.measurements)

  return traced(rows, np.ones(len(rows), np.float32) if weights is None else weights)


def _rows(n=12):
  return np.random.default_rng(0).normal(size=[n, 5]).astype(np.float32)


def test_steps_run_in_order_before_the_rule():
  rows = 10 * _rows()
  mixing = nearest_neighbor_mixing.build_nearest_neighbor_mixing(max_byzantine=2)
  clipping = static_clipping.build_static_clipping(max_norm=1.0)
  rule = preaggregator.compose([clipping, mixing], krum.build_krum(max_byzantine=2))
  assert rule.name == 'static_clipping+nearest_neighbor_mixing+krum'
  clipped = static_clipping.static_clipping(rows, max_norm=1.0)
  mixed = nearest_neighbor_mixing.nearest_neighbor_mixing(clipped, max_byzantine=2)
  aggregate, measurements = _apply(rule, rows)
  np.testing.assert_allclose(aggregate, krum.krum(mixed, max_byzantine=2), rtol=1e-5)
  assert measurements['selected'].shape == [12]
  swapped = preaggregator.compose([mixing, clipping], krum.build_krum(max_byzantine=2))
  assert not np.allclose(_apply(swapped, rows)[0], aggregate, rtol=1e-3)


def test_without_steps_the_rule_is_itself():
  rule = preaggregator.compose([], krum.build_krum(max_byzantine=2))
  assert rule.name == 'krum'
  np.testing.assert_array_equal(_apply(rule, _rows())[0], krum.krum(_rows(), max_byzantine=2))


def test_each_step_draws_for_itself():
  twice = [bucketing.build_bucketing(bucket_size=2)] * 2
  rule = preaggregator.compose(twice, krum.build_krum(max_byzantine=0))
  first, second = (
    tf.random.experimental.stateless_fold_in(_SEED, tf.constant(i, tf.int64)) for i in (0, 1)
  )
  once = bucketing.bucketing(_rows(), bucket_size=2, seed=first)
  expected = bucketing.bucketing(once, bucket_size=2, seed=second)
  np.testing.assert_allclose(
    _apply(rule, _rows())[0], krum.krum(expected, max_byzantine=0), rtol=1e-6
  )


def test_the_rule_draws_from_another_seed_than_the_steps():
  seen = []

  def apply(state, updates, weights, seed):
    seen.append(tf.get_static_value(tf.convert_to_tensor(seed)).tolist())
    return rule_lib.RuleOutput(state, tf.reduce_mean(updates, axis=0), {})

  steps = [
    preaggregator.PreAggregator(
      'noting',
      lambda updates, weights, seed: seen.append(seed.numpy().tolist()) or (updates, weights),
    )
  ] * 2
  rule = preaggregator.compose(steps, rule_lib.AggregationRule('noting', lambda d: (), apply))
  rule.apply((), _rows(), tf.ones(len(_rows())), _SEED)
  assert len({tuple(seed) for seed in (*seen, _SEED.numpy().tolist())}) == 4


def test_buckets_keep_the_mean_with_equal_sizes_and_hide_who_was_selected():
  rule = preaggregator.compose([bucketing.build_bucketing(bucket_size=3)], mean.build_mean())
  aggregate, _ = _apply(rule, _rows())
  np.testing.assert_allclose(aggregate, _rows().mean(0), rtol=1e-5, atol=1e-6)
  rule = preaggregator.compose(
    [bucketing.build_bucketing(bucket_size=3)], krum.build_krum(max_byzantine=0)
  )
  assert 'selected' not in _apply(rule, _rows())[1]


def test_nonfinite_clients_are_counted_before_mixing():
  rows = _rows()
  rows[[1, 2, 3], 0] = np.nan
  steps = [
    adaptive_clipping.build_adaptive_clipping(max_byzantine=3),
    bucketing.build_bucketing(bucket_size=1),
  ]
  rule = preaggregator.compose(steps, krum.build_krum(max_byzantine=3))
  aggregate, measurements = _apply(rule, rows)
  assert measurements['num_nonfinite'] == 3
  assert not measurements['round_rejected']
  assert np.isfinite(aggregate).all()


@pytest.mark.parametrize('bad', [np.nan, np.inf, -3.0])
@pytest.mark.parametrize('bucket_size', [1, 2])
def test_a_weight_that_cannot_be_costs_one_row_of_the_mean_and_is_counted(bad, bucket_size):
  rows, weights = _rows(6), np.float32([5, 5, 5, bad, 5, 5])
  step = bucketing.build_bucketing(bucket_size=bucket_size)
  rule = preaggregator.compose([step], mean.build_mean())
  aggregate, measurements = _apply(rule, rows, weights)
  draw = tf.random.experimental.stateless_fold_in(_SEED, tf.constant(0, tf.int64))
  members = bucketing.bucket_members(tf.constant(6), bucket_size, draw).numpy()
  left = members[~members[:, 3]].any(axis=0)
  np.testing.assert_allclose(aggregate, rows[left].mean(0), rtol=1e-5, atol=1e-6)
  assert measurements['num_nonfinite'] == 1
  assert not measurements['round_rejected']


def test_a_row_and_a_weight_that_are_both_bad_are_counted_once():
  rows, weights = _rows(6), np.float32([5, 5, 5, np.nan, 5, 5])
  rows[[1, 3], 0] = np.inf
  clipping = static_clipping.build_static_clipping(max_norm=1.0)
  rule = preaggregator.compose([clipping], mean.build_mean())
  assert _apply(rule, rows, weights)[1]['num_nonfinite'] == 2
  rows[3] = 0
  assert _apply(rule, rows, weights)[1]['num_nonfinite'] == 2


def test_the_rule_is_declared_for_the_rows_that_it_gets():
  rule = preaggregator.compose(
    [bucketing.build_bucketing(bucket_size=3)], krum.build_krum(max_byzantine=1)
  )
  with pytest.raises(tf.errors.InvalidArgumentError, match='krum with max_byzantine=1 needs'):
    _apply(rule, _rows())


@pytest.mark.parametrize('bucket_size', [1, 3])
def test_rooted_rule_stays_rooted_and_sees_the_steps_before_it(bucket_size):
  root = rule_lib.RootView(tf.ones(5), tf.reduce_sum)
  steps = [
    static_clipping.build_static_clipping(max_norm=1.0),
    bucketing.build_bucketing(bucket_size=bucket_size),
  ][: 1 + (bucket_size > 1)]
  rule = preaggregator.compose(steps, fltrust.build_fltrust())
  assert isinstance(rule, rule_lib.RootedRule)
  assert rule.name.endswith('+fltrust')
  rows = _rows()
  rows[0, 0] = np.nan
  aggregate, measurements = _apply(rule_lib.bind(rule, root), rows)
  seen, weights = static_clipping.static_clipping(rows, max_norm=1.0), np.ones(12)
  if bucket_size > 1:
    draw = tf.random.experimental.stateless_fold_in(_SEED, tf.constant(1, tf.int64))
    seen, weights = steps[1].apply(seen, weights, draw)
  np.testing.assert_allclose(
    aggregate, fltrust.fltrust(seen, root_update=root.update), rtol=1e-5, atol=1e-7
  )
  assert measurements['num_nonfinite'] == 1
  assert ('trust' in measurements) == (bucket_size == 1)
