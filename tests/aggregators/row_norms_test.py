import numpy as np
import pytest

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


@pytest.mark.parametrize('scale', [1e-30, 1e-19, 1e-16, 1.0, 1e15, 1e30])
@pytest.mark.parametrize('centred', [False, True])
def test_close_norms_are_close_at_any_scale(scale, centred):
  rng = np.random.default_rng(0)
  # Columns of very different sizes, more than a block, with a common part.
  spread = rng.gamma(0.3, size=3 * column_blocks.MOST_COLUMNS + 5)
  rows = ((rng.normal(size=[5, len(spread)]) + 1) * spread * scale).astype(np.float32)
  rows[3] = 0.0
  centre = (rng.normal(size=len(spread)) * spread * scale).astype(np.float32) if centred else None
  wide = rows.astype(np.float64) - (0.0 if centre is None else centre)
  measured = row_norms.close_norms(rows, centre=centre)
  np.testing.assert_allclose(measured, np.linalg.norm(wide, axis=1), rtol=row_norms.CLOSE)


def test_close_norms_of_a_million_large_entries_do_not_drift():
  # Plain float32 sums would be wrong by several parts in a hundred thousand.
  rows = np.random.default_rng(0).uniform(1, 2, size=[2, 1_000_000]).astype(np.float32)
  expected = np.linalg.norm(rows.astype(np.float64), axis=1)
  np.testing.assert_allclose(row_norms.close_norms(rows), expected, rtol=row_norms.CLOSE)
  naive = np.sqrt(np.add.accumulate(np.square(rows[0]), dtype=np.float32)[-1])
  assert abs(naive / expected[0] - 1) > row_norms.CLOSE


@pytest.mark.parametrize('small', [np.nextafter(2**-12, 0), np.nextafter(2**-12, 1)])
def test_close_norms_of_entries_that_all_round_the_same_way_stay_within_the_bound(small):
  # 32 sums at a time begin with a one, to which each further square adds nothing, or too much.
  rows = np.full([2, 8192], small, np.float32)
  rows[:, :32] = 1.0
  expected = np.linalg.norm(rows.astype(np.float64), axis=1)
  found = row_norms.close_norms(rows)
  np.testing.assert_allclose(found, expected, rtol=row_norms.CLOSE)
  assert (np.abs(found / expected - 1) > row_norms.CLOSE / 4).all()


def test_rows_that_are_not_finite_show_in_close_norms_too():
  rows = np.full([4, 3000], 3e38, np.float32)
  rows[1, 0], rows[2, 0], rows[3] = np.nan, np.inf, 1.0
  norms = row_norms.close_norms(rows).numpy()
  expected = np.sqrt(3000) * np.array([np.float64(np.float32(3e38)), 1.0])
  np.testing.assert_allclose(norms[[0, 3]], expected, rtol=row_norms.CLOSE)
  assert not np.isfinite(norms[1:3]).any()
