import numpy as np
import pytest

from tff_robust.aggregators import column_blocks, trimmed_mean
from tff_robust.testing.oracles import coordinate_rules


@pytest.mark.parametrize(('n', 'f'), [(3, 1), (6, 0), (9, 4), (10, 3), (25, 11)])
def test_equals_numpy_coordinate_by_coordinate(n, f):
  rows = np.random.default_rng(n).normal(size=[n, 50]).astype(np.float32)
  actual = trimmed_mean.trimmed_mean(rows, max_byzantine=f)
  np.testing.assert_allclose(
    actual,
    coordinate_rules.trimmed_mean(rows.astype(np.float64), max_byzantine=f),
    rtol=1e-6,
    atol=1e-7,
  )


def test_equals_numpy_over_many_blocks_of_columns():
  rows = np.random.default_rng(0).normal(size=[5, column_blocks.MOST_COLUMNS + 9])
  rows = rows.astype(np.float32)
  actual = trimmed_mean.trimmed_mean(rows, max_byzantine=1)
  np.testing.assert_allclose(
    actual,
    coordinate_rules.trimmed_mean(rows.astype(np.float64), max_byzantine=1),
    rtol=1e-6,
    atol=1e-6,
  )


def test_hand_computed_case_that_differs_from_mean_and_median():
  rows = np.array([[0, 5], [1, -5], [4, 0], [7, 1], [100, 3]], np.float32)
  np.testing.assert_allclose(
    trimmed_mean.trimmed_mean(rows, max_byzantine=1), [4, 4 / 3], rtol=1e-7
  )


def test_is_the_mean_when_nothing_is_trimmed():
  rows = np.array([[0, 5], [1, -5], [100, 3]], np.float32)
  np.testing.assert_allclose(
    trimmed_mean.trimmed_mean(rows, max_byzantine=0), [101 / 3, 1], rtol=1e-7
  )
