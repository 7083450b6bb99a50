import numpy as np
import pytest

from tff_robust.aggregators import caf


def _oracle(rows, f):
  """The filter in the space of updates, with full covariance matrices."""
  rows = rows.astype(np.float64)
  weights = np.ones(len(rows))
  best, result = np.inf, rows.mean(0)
  while weights.sum() > len(rows) - 2 * f:
    centre = weights @ rows / weights.sum()
    centred = rows - centre
    covariance = (centred * weights[:, None]).T @ centred / weights.sum()
    values, vectors = np.linalg.eigh(covariance)
    if values[-1] < best:
      best, result = values[-1], centre
    scores = (centred @ vectors[:, -1]) ** 2
    weights = weights * (1 - scores / scores[weights > 0].max())
  return result


@pytest.mark.parametrize(('n', 'f'), [(3, 1), (8, 0), (9, 2), (11, 5), (25, 8)])
@pytest.mark.parametrize('d', [2, 20])
def test_equals_the_filter_on_full_covariances(n, f, d):
  rows = (1 + np.random.default_rng(n + d).normal(size=[n, d])).astype(np.float32)
  rows[:f] *= 3
  actual = caf.caf(rows, max_byzantine=f)
  np.testing.assert_allclose(actual, _oracle(rows, f), rtol=1e-4, atol=1e-5)


def test_filters_colluders_out():
  rows = np.random.default_rng(0).normal(size=[20, 100]).astype(np.float32)
  rows[:5] = 4
  honest_mean = rows[5:].mean(0)
  assert np.linalg.norm(rows.mean(0) - honest_mean) > 9
  assert np.linalg.norm(caf.caf(rows, max_byzantine=5) - honest_mean) < 3
