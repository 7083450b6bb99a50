import itertools
import math

import numpy as np
import pytest

from tff_robust.aggregators import subsets


def test_pascals_triangle():
  triangle = subsets.binomials(30).numpy()
  for n in range(31):
    np.testing.assert_array_equal(triangle[n], [math.comb(n, k) for k in range(31)])


@pytest.mark.parametrize(('n', 'k'), [(1, 1), (5, 0), (5, 5), (6, 2), (9, 5)])
def test_lists_all_subsets_in_lexicographic_order(n, k):
  numbers = np.arange(math.comb(n, k), dtype=np.float64)
  chosen = subsets.members(numbers, subsets.binomials(n), k).numpy()
  listed = [tuple(np.flatnonzero(row)) for row in chosen]
  assert listed == list(itertools.combinations(range(n), k))
