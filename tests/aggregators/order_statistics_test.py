import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import (
  order_statistics,
  ranks_by_selection,
  ranks_by_sorting,
)


def _values(kind, n, seed=0):
  rng = np.random.default_rng(seed)
  if kind == 'ties':
    return rng.integers(-2, 3, size=[n, 40]).astype(np.float32)
  if kind == 'wide':
    wide = rng.normal(size=[n, 40]) * 10.0 ** rng.integers(-30, 31, size=[n, 40])
    return wide.astype(np.float32)
  return rng.normal(size=[n, 40]).astype(np.float32)


def _selected(block):
  return ranks_by_selection.RanksBySelection(tf.constant(block))


def _sorted(block):
  return ranks_by_sorting.RanksBySorting(tf.constant(block), len(block))


def _sorted_among_more(block):
  return ranks_by_sorting.RanksBySorting(tf.constant(block), len(block) + 5)


def _sorted_among_one_more(block):
  return ranks_by_sorting.RanksBySorting(tf.constant(block), len(block) + 1)


ways = pytest.mark.parametrize(
  'rank', [_selected, _sorted, _sorted_among_more, _sorted_among_one_more]
)
kinds = pytest.mark.parametrize('kind', ['normal', 'ties', 'wide'])


@ways
@kinds
@pytest.mark.parametrize('n', [1, 2, 5, 8, 25])
def test_median_equals_numpy(rank, kind, n):
  block = _values(kind, n)
  np.testing.assert_allclose(rank(block).median(), np.median(block.astype(np.float64), axis=0))


@ways
@kinds
@pytest.mark.parametrize(('n', 'f'), [(1, 0), (5, 0), (5, 2), (8, 3), (25, 11), (25, 4)])
def test_trimmed_mean_equals_mean_of_sorted_middle(rank, kind, n, f):
  block = _values(kind, n)
  expected = np.sort(block.astype(np.float64), axis=0)[f : n - f].mean(axis=0)
  np.testing.assert_allclose(rank(block).trimmed_mean(f), expected, rtol=1e-12, atol=1e-15)


def _mean_around(column, centre, m):
  """By loops: the last places are shared by equally far values."""
  column = [float(value) for value in column]
  distances = sorted(abs(v - centre) for v in column)
  reach = distances[m - 1]
  inside = [v for v in column if abs(v - centre) < reach]
  tied = [v for v in column if abs(v - centre) == reach]
  return (sum(inside) + (m - len(inside)) * sum(tied) / len(tied)) / m


@ways
@pytest.mark.parametrize('kind', ['normal', 'ties'])
@pytest.mark.parametrize(
  ('n', 'm'), [(1, 1), (5, 5), (5, 3), (8, 5), (25, 14), (8, 2), (25, 1), (12, 11)]
)
def test_mean_around_equals_loops(rank, kind, n, m):
  block = _values(kind, n)
  centres = np.median(block.astype(np.float64), axis=0)
  expected = [_mean_around(column, c, m) for column, c in zip(block.T, centres, strict=True)]
  actual = rank(block).mean_around(tf.constant(centres), m)
  np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


@ways
@pytest.mark.parametrize('outlier', [-1e30, 1e30])
def test_a_value_that_is_dropped_leaves_no_rounding_behind(rank, outlier):
  block = np.array([[1.0], [2.0], [4.0], [outlier]], np.float32)
  actual = rank(block).mean_around(tf.constant([2.0], tf.float64), 3)
  np.testing.assert_allclose(actual, [7 / 3], rtol=1e-15)


@ways
@pytest.mark.parametrize(
  ('column', 'num_averaged', 'expected'),
  [
    ([-1.0, 0.0, 1.0], 2, 0.0),
    ([-1.0, -1.0, 0.0, 1.0], 3, -2 / 9),
    ([-3.0, 0.0, 0.5, 3.0], 3, 0.5 / 3),
  ],
)
def test_values_tied_for_the_last_place_share_it(rank, column, num_averaged, expected):
  block = np.array(column, np.float32)[:, np.newaxis]
  actual = rank(block).mean_around(tf.constant([0.0], tf.float64), num_averaged)
  np.testing.assert_allclose(actual, [expected], rtol=1e-12, atol=1e-15)


def _median_of(updates, **kwargs):
  return order_statistics.map_columns(lambda ranks: ranks.median(), updates, **kwargs)


@pytest.mark.parametrize('n', [1, 3, 25, 26, 51, 100, 101])
def test_the_number_of_rows_need_not_be_known(n):
  updates = _values('normal', n)
  median = tf.function(_median_of, input_signature=[tf.TensorSpec([None, None])])
  np.testing.assert_allclose(median(updates), np.median(updates, axis=0), rtol=1e-6)


@pytest.mark.parametrize('most_rows', [30, 7, 101])
def test_some_rows_of_all(most_rows):
  updates = _values('normal', 30)
  rows = np.array([3, 4, 8, 15, 21, 29], np.int32)
  actual = _median_of(tf.constant(updates), rows=tf.constant(rows), most_rows=most_rows)
  np.testing.assert_allclose(actual, np.median(updates[rows], axis=0), rtol=1e-6)
