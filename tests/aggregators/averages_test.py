import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import averages


def _rows(num_rows, width=20_000, seed=0):
  return np.random.default_rng(seed).normal(size=[num_rows, width]).astype(np.float32)


def _exact(rows, weights):
  """In float64, of the rows that count."""
  kept = weights > 0
  return weights[kept] @ rows[kept].astype(np.float64)


@pytest.mark.parametrize('num_rows', [1, 2, 10, 99])
@pytest.mark.parametrize('all_count', [True, False])
def test_sums_are_those_of_float64(num_rows, all_count):
  rows = _rows(num_rows) + np.float32(1e4)
  weights = np.random.default_rng(1).uniform(0.1, 2, size=num_rows)
  if not all_count:
    weights[1::5] = 0
  summed = averages.weighted_sum(rows, weights)
  np.testing.assert_allclose(summed, _exact(rows, weights), rtol=2.0**-24 + 1e-12)


def test_rows_of_weight_zero_may_hold_anything():
  rows = _rows(6)
  rows[1], rows[3, 17_000], rows[4] = np.nan, np.inf, 3e38
  weights = np.array([1.0, 0, 2, 0, 0, 0.5])
  exact = _exact(rows, weights).astype(np.float32)
  np.testing.assert_allclose(averages.weighted_sum(rows, weights), exact, rtol=1.2e-7)


def test_one_more_row_rides_along():
  rows, beside = _rows(4), _rows(1, seed=2)[0]
  weights = np.array([0.5, 0.25, 0, 1, 2.0])
  expected = _exact(np.concatenate([rows, beside[np.newaxis]]), weights)
  summed = averages.weighted_sum(rows, weights, beside=tf.constant(beside))
  np.testing.assert_allclose(summed, expected, rtol=1e-7)
  beside[:] = np.nan
  weights[-1] = 0
  summed = averages.weighted_sum(rows, weights, beside=tf.constant(beside))
  np.testing.assert_allclose(summed, _exact(rows, weights[:4]), rtol=1e-7)


def test_without_a_positive_weight_the_sum_and_the_average_are_zero():
  rows = _rows(3, width=10)
  np.testing.assert_array_equal(averages.weighted_sum(rows, np.zeros(3)), np.zeros(10))
  np.testing.assert_array_equal(averages.weighted_average(rows, np.zeros(3)), np.zeros(10))
