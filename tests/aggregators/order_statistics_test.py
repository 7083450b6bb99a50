import numpy as np
import pytest

from tff_robust.aggregators import order_statistics


def _values(kind, n, seed=0):
  rng = np.random.default_rng(seed)
  if kind == 'ties':
    return rng.integers(-2, 3, size=[40, n]).astype(np.float64)
  if kind == 'wide':
    wide = rng.normal(size=[40, n]) * 10.0 ** rng.integers(-30, 31, size=[40, n])
    return wide.astype(np.float32)
  return rng.normal(size=[40, n])


kinds = pytest.mark.parametrize('kind', ['normal', 'ties', 'wide'])
sizes = pytest.mark.parametrize('n', [1, 2, 5, 8, 25])


@kinds
@sizes
def test_median_equals_numpy(kind, n):
  values = _values(kind, n)
  np.testing.assert_allclose(
    order_statistics.median(values)[:, 0], np.median(values.astype(np.float64), axis=1)
  )


@kinds
@pytest.mark.parametrize(('n', 'f'), [(1, 0), (5, 0), (5, 2), (8, 3), (25, 11), (25, 4)])
def test_trimmed_mean_equals_mean_of_sorted_middle(kind, n, f):
  values = _values(kind, n)
  expected = np.sort(values.astype(np.float64), axis=1)[:, f : n - f].mean(axis=1)
  actual = order_statistics.trimmed_mean(values, f)[:, 0]
  np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-15)


def _mean_around(row, centre, m):
  """By loops: the last places are shared by equally far values."""
  distances = sorted(abs(v - centre) for v in row)
  reach = distances[m - 1]
  inside = [v for v in row if abs(v - centre) < reach]
  tied = [v for v in row if abs(v - centre) == reach]
  return (sum(inside) + (m - len(inside)) * sum(tied) / len(tied)) / m


@pytest.mark.parametrize('kind', ['normal', 'ties'])
@pytest.mark.parametrize(('n', 'm'), [(1, 1), (5, 5), (5, 3), (8, 5), (25, 14)])
def test_mean_around_equals_loops(kind, n, m):
  values = _values(kind, n)
  centre = np.median(values, axis=1, keepdims=True)
  expected = [_mean_around(row, c[0], m) for row, c in zip(values, centre, strict=True)]
  actual = order_statistics.mean_around(values, centre, m)[:, 0]
  np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


def test_values_tied_for_the_last_place_share_it():
  values = np.array([[-1.0, 0.0, 1.0]])
  assert order_statistics.mean_around(values, np.array([[0.0]]), 2)[0, 0] == 0.0
