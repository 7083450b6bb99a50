import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import distances

_TRACED = tf.function(
  distances.squared_distances, input_signature=[tf.TensorSpec([None, None], tf.float32)]
)


def _by_differences(rows):
  rows = np.asarray(rows, np.float32).astype(np.float64)
  result = np.full([len(rows), len(rows)], np.inf)
  for i, left in enumerate(rows):
    for j, right in enumerate(rows):
      if np.isfinite(left).all() and np.isfinite(right).all():
        result[i, j] = np.sum((left - right) ** 2)
  return result


def _normal(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize('function', [distances.squared_distances, _TRACED])
@pytest.mark.parametrize('num_rows', [1, 7, 64, 99])
def test_equals_direct_differences_on_ordinary_rows(function, num_rows):
  rows = _normal([num_rows, 50])
  np.testing.assert_allclose(function(rows), _by_differences(rows), rtol=1e-12, atol=0)


def test_equals_direct_differences_over_many_blocks_of_columns():
  rows = _normal([5, 2 * distances.PRODUCT_COLUMNS + 3])
  np.testing.assert_allclose(_TRACED(rows), _by_differences(rows), rtol=1e-12, atol=0)


@pytest.mark.parametrize('offset', [10.0, 1e4, 1e6])
@pytest.mark.parametrize('spread', [1.0, 1e-2])
def test_keeps_seven_digits_where_inner_products_cancel(offset, spread):
  rows = (offset + spread * _normal([6, 300])).astype(np.float32)
  np.testing.assert_allclose(_TRACED(rows), _by_differences(rows), rtol=1e-7, atol=0)


def test_float32_inner_products_would_be_wrong_in_the_first_digit():
  rows = (10 + 1e-2 * _normal([6, 300])).astype(np.float32)
  gram = rows @ rows.T
  squared = np.diag(gram)[:, None] + np.diag(gram)[None, :] - 2 * gram
  truth = _by_differences(rows)
  off_diagonal = ~np.eye(6, dtype=bool)
  assert np.max(np.abs(squared / np.where(off_diagonal, truth, 1) - 1)[off_diagonal]) > 0.1


@pytest.mark.parametrize('function', [distances.squared_distances, _TRACED])
@pytest.mark.parametrize('d', [1, 13, 1001])
def test_identical_rows_share_their_distances_exactly(function, d):
  rows = _normal([9, d], seed=d)
  rows[[2, 5, 8]] = rows[2]
  rows[[3, 4]] = rows[3]
  squared = function(rows).numpy()
  assert squared[2, 5] == squared[5, 8] == squared[3, 4] == 0.0
  np.testing.assert_array_equal(squared[2], squared[5])
  np.testing.assert_array_equal(squared[2], squared[8])
  np.testing.assert_array_equal(squared[3], squared[4])
  np.testing.assert_allclose(squared, _by_differences(rows), rtol=1e-12, atol=0)


def test_identical_rows_are_found_behind_a_row_that_is_only_close():
  rows = np.ones([5, 40], np.float32)
  rows[0, 7] = np.nextafter(np.float32(1), np.float32(2))
  squared = _TRACED(rows).numpy()
  np.testing.assert_array_equal(squared[1:, 1:], 0.0)
  np.testing.assert_array_equal(squared[0, 1:], (rows[0, 7] - np.float64(1)) ** 2)


def test_negative_zero_equals_zero():
  rows = np.array([[0.0, 1.0], [-0.0, 1.0]], np.float32)
  np.testing.assert_array_equal(_TRACED(rows), np.zeros([2, 2]))


@pytest.mark.parametrize('function', [distances.squared_distances, _TRACED])
@pytest.mark.parametrize('scale', [1e-45, 1e-42, 1e-39, 1e-37, 1e-30, 1e-20, 1e20, 1e37])
def test_is_right_at_any_magnitude(function, scale):
  rows = (_normal([6, 20]) * np.float64(8) * scale).astype(np.float32)
  np.testing.assert_allclose(function(rows), _by_differences(rows), rtol=1e-8, atol=0)


def test_tells_apart_rows_that_differ_in_a_denormal_only():
  rows = np.zeros([3, 4], np.float32)
  rows[1, 2] = 1e-45
  rows[2, 1] = 1e-40
  squared = _TRACED(rows).numpy()
  assert np.all(squared[~np.eye(3, dtype=bool)] > 0)
  np.testing.assert_allclose(squared, _by_differences(rows), rtol=1e-12, atol=0)


def test_largest_float32_values_do_not_overflow():
  rows = np.full([3, 50], np.finfo(np.float32).max, np.float32)
  rows[1] *= -1
  rows[2] = 0
  np.testing.assert_allclose(_TRACED(rows), _by_differences(rows), rtol=1e-12, atol=0)


def test_one_huge_row_leaves_the_other_distances_alone():
  rows = _normal([6, 100])
  with_huge = np.concatenate([rows, np.full([1, 100], 1e38, np.float32)])
  np.testing.assert_allclose(_TRACED(with_huge)[:6, :6], _by_differences(rows), rtol=1e-12, atol=0)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_nonfinite_rows_are_infinitely_far_and_leave_others_alone(bad):
  rows = _normal([6, 30])
  rows[4] = rows[1]
  rows[2, 17] = bad
  rows[5, 0] = bad
  squared = _TRACED(rows).numpy()
  assert not np.isnan(squared).any()
  np.testing.assert_array_equal(squared[[2, 5]], np.inf)
  np.testing.assert_allclose(squared, _by_differences(rows), rtol=1e-12, atol=0)


@pytest.mark.parametrize('scale', [1.0, 1e-4, 1e-43])
def test_is_symmetric_nonnegative_with_zero_diagonal(scale):
  rows = (1 + scale * _normal([11, 33])).astype(np.float32)
  squared = _TRACED(rows).numpy()
  np.testing.assert_array_equal(squared, squared.T)
  np.testing.assert_array_equal(np.diag(squared), 0.0)
  assert np.all(squared >= 0)


def test_one_row_has_distance_zero_to_itself():
  np.testing.assert_array_equal(_TRACED(np.ones([1, 3], np.float32)), [[0.0]])


def test_refuses_a_vector():
  with pytest.raises(ValueError, match=r'\[clients, coordinates\]'):
    distances.squared_distances(tf.zeros([3]))


def test_central_row_is_honest_whatever_a_minority_sends():
  rows = _normal([9, 20])
  rows[:4] = np.array([[1e6], [1e6], [-1e30], [3e38]])
  central = distances.central_row(distances.squared_distances(rows))
  radius = np.sort(_by_differences(rows), axis=1)[:, 4]
  assert central == int(np.argmin(radius))
  assert central >= 4


@pytest.mark.parametrize('shift', [0, 3, 1e4])
def test_central_gram_measures_any_average_of_rows(shift):
  rows = _normal([6, distances.PRODUCT_COLUMNS + 7]) + np.float32(shift)
  rows[5] = 1e20
  gram = distances.central_gram(rows).numpy()
  wide = rows.astype(np.float64)
  origin = int(distances.central_row(distances.squared_distances(rows)))
  offsets = wide - wide[origin]
  np.testing.assert_allclose(gram, offsets @ offsets.T, rtol=1e-9, atol=1e-5)
  shares = np.array([0.1, 0.2, 0.3, 0.4, 0.0, 0.0])
  offset = shares - np.eye(6)[1]
  np.testing.assert_allclose(offset @ gram @ offset, np.sum((shares @ wide - wide[1]) ** 2))
