import numpy as np
import pytest

from tff_robust.resilience import finite_rows


@pytest.mark.parametrize('entry', [np.nan, np.inf, -np.inf])
def test_leaves_out_a_row_with_one_entry_that_is_not_finite(entry):
  found = finite_rows.of(np.array([[1, 2], [3, entry], [-5, 3e38]], np.float32))
  assert found.dtype == np.float64
  np.testing.assert_array_equal(found, np.array([[1, 2], [-5, np.float32(3e38)]], np.float64))


def test_may_leave_none_and_keeps_the_number_of_columns():
  assert finite_rows.of([[np.nan, 1.0, 2.0]]).shape == (0, 3)
  assert finite_rows.of(np.zeros((0, 3))).shape == (0, 3)
