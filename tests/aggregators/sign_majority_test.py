import numpy as np

from tff_robust.aggregators import column_blocks, sign_majority
from tff_robust.testing.oracles import coordinate_rules


def test_hand_computed_votes():
  rows = np.array([[1, -9, 0, 1], [2, 1, 0, -5], [-100, -1, 3, 0]], np.float32)
  np.testing.assert_array_equal(sign_majority.sign_majority(rows), [1, -1, 1, 0])


def test_equals_counting_over_many_blocks_of_columns():
  rows = np.random.default_rng(0).normal(size=[7, column_blocks.MOST_COLUMNS + 1])
  np.testing.assert_array_equal(
    sign_majority.sign_majority(rows.astype(np.float32)), coordinate_rules.sign_majority(rows)
  )


def test_nonfinite_rows_do_not_vote():
  rows = np.array([[np.nan, 1], [-1, -1], [-1, np.inf]], np.float32)
  np.testing.assert_array_equal(sign_majority.sign_majority(rows), [-1, -1])
