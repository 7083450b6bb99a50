import numpy as np
import pytest

from tff_robust.aggregators import caf
from tff_robust.testing.oracles import filters


@pytest.mark.parametrize(('n', 'f'), [(3, 1), (8, 0), (9, 2), (11, 5), (25, 8)])
@pytest.mark.parametrize('d', [2, 20])
def test_equals_the_filter_on_full_covariances(n, f, d):
  rows = (1 + np.random.default_rng(n + d).normal(size=[n, d])).astype(np.float32)
  rows[:f] *= 3
  actual = caf.caf(rows, max_byzantine=f)
  np.testing.assert_allclose(actual, filters.caf(rows, max_byzantine=f), rtol=1e-4, atol=1e-5)


def test_filters_colluders_out():
  rows = np.random.default_rng(0).normal(size=[20, 100]).astype(np.float32)
  rows[:5] = 4
  honest_mean = rows[5:].mean(0)
  assert np.linalg.norm(rows.mean(0) - honest_mean) > 9
  assert np.linalg.norm(caf.caf(rows, max_byzantine=5) - honest_mean) < 3
