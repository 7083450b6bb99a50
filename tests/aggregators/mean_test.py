import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import column_blocks, mean

_SEED = tf.constant([0, 0], tf.int64)


@tf.function(
  input_signature=[
    tf.TensorSpec([None, None], tf.float32),
    tf.TensorSpec([None], tf.float32),
  ]
)
def _apply(updates, weights):
  output = mean.build_mean().apply((), updates, weights, _SEED)
  return output.aggregate, dict(output.measurements)


def test_hand_computed_weighted_mean():
  rows = np.array([[1, 0], [3, 4]], np.float32)
  np.testing.assert_array_equal(mean.mean(rows), [2, 2])
  np.testing.assert_array_equal(mean.mean(rows, [1.0, 3.0]), [2.5, 3])


def test_equals_numpy_average_over_many_blocks_of_columns():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=[7, 2 * column_blocks.MOST_COLUMNS + 5]).astype(np.float32)
  weights = rng.integers(1, 600, size=7).astype(np.float32)
  expected = np.average(rows.astype(np.float64), axis=0, weights=weights)
  aggregate, measurements = _apply(rows, weights)
  np.testing.assert_allclose(aggregate, expected, rtol=1e-6, atol=1e-9)
  assert not measurements['round_rejected']
  assert measurements['num_nonfinite'] == 0


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_nonfinite_rows_are_dropped_and_weights_renormalised(bad):
  rows = np.array([[1, 0], [bad, 1], [3, 4]], np.float32)
  aggregate, measurements = _apply(rows, np.float32([1, 7, 3]))
  np.testing.assert_array_equal(aggregate, [2.5, 3])
  assert measurements['num_nonfinite'] == 1
  assert not measurements['round_rejected']


def test_a_nonfinite_row_that_weighs_nothing_is_counted():
  aggregate, measurements = _apply(np.array([[1, 0], [np.nan, 1]], np.float32), np.float32([2, 0]))
  np.testing.assert_array_equal(aggregate, [1, 0])
  assert measurements['num_nonfinite'] == 1
  assert not measurements['round_rejected']


@pytest.mark.parametrize('bad', [np.nan, np.inf, -1.0])
def test_rows_with_an_impossible_weight_are_dropped(bad):
  aggregate, measurements = _apply(
    np.array([[1, 0], [9, 9], [3, 4]], np.float32), np.float32([1, bad, 3])
  )
  np.testing.assert_array_equal(aggregate, [2.5, 3])
  assert measurements['num_nonfinite'] == 1


@pytest.mark.parametrize(
  ('value', 'weight', 'num_nonfinite'), [(np.nan, 1.0, 4), (np.inf, 1.0, 4), (5.0, 0.0, 0)]
)
def test_nothing_to_average_rejects_the_round(value, weight, num_nonfinite):
  aggregate, measurements = _apply(
    np.full([4, 3], value, np.float32), np.full([4], weight, np.float32)
  )
  np.testing.assert_array_equal(aggregate, np.zeros(3))
  assert measurements['round_rejected']
  assert measurements['num_nonfinite'] == num_nonfinite


def test_returns_shared_row_when_all_rows_agree():
  rows = np.tile(np.float32([0.1, -3.3e38, 7.0]), [6, 1])
  np.testing.assert_array_equal(mean.mean(rows), rows[0])


@pytest.mark.parametrize('shape', [[4], [9, 1], []])
def test_weights_of_other_rows_are_refused(shape):
  with pytest.raises(ValueError, match=r'weights has shape .*; it must be \[9\], one entry a row'):
    mean.mean(np.ones([9, 5], np.float32), np.ones(shape, np.float32))


def test_large_rows_do_not_overflow():
  rows = np.full([4, 2], 3e38, np.float32)
  np.testing.assert_array_equal(mean.mean(rows), rows[0])
