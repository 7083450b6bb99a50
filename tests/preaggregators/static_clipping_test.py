import numpy as np
import pytest

from tff_robust.preaggregators import static_clipping


def test_scales_down_what_is_longer_and_nothing_else():
  rows = np.array([[3, 4], [0.3, 0.4], [0, 0], [3e38, 3e38]], np.float32)
  clipped = static_clipping.static_clipping(rows, max_norm=1.0)
  half = np.sqrt(0.5)
  np.testing.assert_allclose(clipped, [[0.6, 0.8], [0.3, 0.4], [0, 0], [half, half]], rtol=1e-6)


@pytest.mark.parametrize('max_norm', [1e-3, 1.0, 50.0])
def test_no_row_is_longer_than_allowed(max_norm):
  rows = np.random.default_rng(0).normal(size=[20, 300]).astype(np.float32)
  clipped = static_clipping.static_clipping(rows, max_norm=max_norm).numpy()
  assert np.linalg.norm(clipped.astype(np.float64), axis=1).max() <= max_norm * (1 + 1e-6)


def test_leaves_nonfinite_rows_to_the_rule():
  rows = np.array([[np.nan, 1], [np.inf, 1], [8, 6]], np.float32)
  clipped = static_clipping.static_clipping(rows, max_norm=5.0)
  np.testing.assert_allclose(clipped, [[np.nan, 1], [np.inf, 1], [4, 3]], rtol=1e-6)


@pytest.mark.parametrize('max_norm', [0.0, -1.0, np.inf, np.nan])
def test_refuses_a_norm_that_is_not_positive_and_finite(max_norm):
  with pytest.raises(ValueError, match='max_norm'):
    static_clipping.build_static_clipping(max_norm=max_norm)
