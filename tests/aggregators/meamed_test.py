import numpy as np
import pytest

from tff_robust.aggregators import column_blocks, meamed
from tff_robust.testing.oracles import coordinate_rules


@pytest.mark.parametrize(('n', 'f'), [(3, 1), (6, 0), (9, 4), (10, 3), (25, 11)])
def test_equals_numpy_coordinate_by_coordinate(n, f):
  rows = np.random.default_rng(n).normal(size=[n, 50]).astype(np.float32)
  actual = meamed.meamed(rows, max_byzantine=f)
  np.testing.assert_allclose(
    actual, coordinate_rules.meamed(rows.astype(np.float64), max_byzantine=f), rtol=1e-6, atol=1e-7
  )


def test_equals_numpy_over_many_blocks_of_columns():
  rows = np.random.default_rng(0).normal(size=[5, column_blocks.MOST_COLUMNS + 9])
  rows = rows.astype(np.float32)
  actual = meamed.meamed(rows, max_byzantine=1)
  np.testing.assert_allclose(
    actual, coordinate_rules.meamed(rows.astype(np.float64), max_byzantine=1), rtol=1e-6, atol=1e-6
  )


def test_hand_computed_case_that_differs_from_mean_and_median():
  # From the median 4 the distances are 4, 3, 0, 3 and 96.
  rows = np.array([[0], [1], [4], [7], [100]], np.float32)
  np.testing.assert_array_equal(meamed.meamed(rows, max_byzantine=1), [3])
  np.testing.assert_array_equal(meamed.meamed(rows, max_byzantine=2), [4])


def test_values_tied_for_the_last_place_share_it():
  rows = np.array([[-1], [0], [1]], np.float32)
  np.testing.assert_array_equal(meamed.meamed(rows, max_byzantine=1), [0])
