import numpy as np
import pytest

from tff_robust.aggregators import comparative_gradient_elimination as cge
from tff_robust.testing.oracles import filters

_aggregate = cge.comparative_gradient_elimination


@pytest.mark.parametrize(('n', 'f'), [(1, 0), (5, 2), (8, 3), (25, 11)])
def test_equals_the_mean_of_the_shortest(n, f):
  rows = np.random.default_rng(n).normal(size=[n, 7]).astype(np.float32)
  expected = filters.comparative_gradient_elimination(rows, max_byzantine=f)
  np.testing.assert_allclose(_aggregate(rows, max_byzantine=f), expected, rtol=1e-6, atol=1e-7)


def test_smallest_row_index_wins_ties():
  rows = np.array([[3, 4], [4, 3], [0, 1]], np.float32)
  np.testing.assert_array_equal(_aggregate(rows, max_byzantine=1), [1.5, 2.5])


def test_keeps_a_short_reversed_vector():
  rows = np.ones([5, 4], np.float32)
  rows[0] = -0.1
  np.testing.assert_allclose(
    _aggregate(rows, max_byzantine=2), np.full(4, (2 - 0.1) / 3), rtol=1e-6
  )
