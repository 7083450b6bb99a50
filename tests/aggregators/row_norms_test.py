import numpy as np

from tff_robust.aggregators import column_blocks, row_norms


def test_equals_numpy_with_and_without_a_centre():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=[4, column_blocks.MOST_COLUMNS + 3]).astype(np.float32)
  centre = rng.normal(size=rows.shape[1]).astype(np.float32)
  wide = rows.astype(np.float64)
  np.testing.assert_allclose(row_norms.norms(rows), np.linalg.norm(wide, axis=1), rtol=1e-12)
  np.testing.assert_allclose(
    row_norms.norms(rows, centre=centre), np.linalg.norm(wide - centre, axis=1), rtol=1e-12
  )


def test_large_rows_do_not_overflow_and_bad_rows_show():
  rows = np.full([3, 4], 3e38, np.float32)
  rows[1, 0], rows[2, 0] = np.nan, np.inf
  norms = row_norms.norms(rows).numpy()
  np.testing.assert_allclose(norms[0], 2 * np.float64(np.float32(3e38)))
  assert not np.isfinite(norms[1:]).any()
