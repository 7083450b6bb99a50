import numpy as np
import pytest

from tff_robust.aggregators import column_blocks
from tff_robust.preaggregators import row_mixing


def test_mixes_rows_over_many_blocks_of_columns():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=[4, 2 * column_blocks.MOST_COLUMNS + 3]).astype(np.float32)
  shares = rng.normal(size=[3, 4])
  np.testing.assert_allclose(
    row_mixing.mix_rows(rows, shares), shares @ rows.astype(np.float64), rtol=1e-5, atol=1e-6
  )


def test_a_nonfinite_row_spoils_what_it_enters_and_nothing_else():
  rows = np.array([[1, 2], [np.nan, 1], [3, np.inf], [5, 6]], np.float32)
  shares = np.array([[0.5, 0, 0, 0.5], [0, 1, 0, 0], [0.5, 0, 0.5, 0]])
  mixed = row_mixing.mix_rows(rows, shares).numpy()
  np.testing.assert_array_equal(mixed[0], [3, 4])
  assert np.isnan(mixed[1:]).all()


def test_scales_rows_and_leaves_others_as_they_are():
  rows = np.array([[2, -7.5], [3, np.nan], [np.inf, 5]], np.float32)
  scaled = row_mixing.scale_rows(rows, np.array([1.0, 0.5, 1.0])).numpy()
  assert scaled[[0, 2]].tobytes() == rows[[0, 2]].tobytes()
  np.testing.assert_array_equal(scaled[1], [1.5, np.nan])


@pytest.mark.parametrize('factor', [1e-38, 3e-45, 1e-60, 0.0])
def test_factors_for_which_float32_has_no_digits_scale_as_well(factor):
  rows = np.array([[3e38, 3e38], [1, 2], [1e20, 5e37]], np.float32)
  scaled = row_mixing.scale_rows(rows, np.array([factor, 1.0, 0.25])).numpy()
  np.testing.assert_allclose(scaled[0], rows[0].astype(np.float64) * factor, rtol=1e-6)
  np.testing.assert_array_equal(scaled[1:], rows[1:] * np.float32([[1], [0.25]]))


def test_averages_groups_of_rows():
  rows = np.random.default_rng(0).normal(size=[5, 70]).astype(np.float32)
  members = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 1]], bool)
  averages = row_mixing.average_rows(rows, members)
  wide = rows.astype(np.float64)
  expected = [wide[[0, 2]].mean(0), wide[1], wide[[3, 4]].mean(0)]
  np.testing.assert_allclose(averages, expected, rtol=1e-7, atol=1e-9)


def test_a_group_with_a_nonfinite_row_is_not_a_number_and_large_rows_do_not_overflow():
  rows = np.array([[3e38, 1], [3e38, 1], [np.inf, 1], [-np.inf, 1], [0, np.nan]], np.float32)
  members = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 0, 1]], bool)
  averages = row_mixing.average_rows(rows, members).numpy()
  np.testing.assert_array_equal(averages[0], rows[0])
  assert np.isnan(averages[1:]).all()
