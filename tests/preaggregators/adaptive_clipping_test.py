import math

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.preaggregators import adaptive_clipping

_clip = adaptive_clipping.adaptive_clipping


def _oracle(rows, f):
  rows = rows.astype(np.float64)
  n = len(rows)
  num_clipped = math.floor(2 * f / n * (n - f))
  norms = np.linalg.norm(rows, axis=1)
  limit = sorted(norms, reverse=True)[num_clipped]
  return np.array([row * min(1, limit / norm) for row, norm in zip(rows, norms, strict=True)])


@pytest.mark.parametrize(('n', 'f'), [(3, 1), (5, 0), (9, 2), (25, 11), (20, 5)])
def test_equals_loops(n, f):
  rows = np.random.default_rng(n).normal(size=[n, 6]).astype(np.float32)
  rows *= np.random.default_rng(n + 1).exponential(size=[n, 1]).astype(np.float32)
  np.testing.assert_allclose(_clip(rows, max_byzantine=f), _oracle(rows, f), rtol=1e-6, atol=1e-7)


def test_far_rows_come_down_to_an_honest_length():
  rows = np.random.default_rng(0).normal(size=[9, 6]).astype(np.float32)
  limit = np.linalg.norm(rows[2:], axis=1).max()
  rows[:2] = 1e30
  assert np.linalg.norm(_clip(rows, max_byzantine=2), axis=1).max() <= limit * (1 + 1e-6)


def test_nonfinite_rows_are_left_to_the_rule_and_lower_f():
  rows = np.random.default_rng(0).normal(size=[9, 6]).astype(np.float32)
  rows[4, 3] = np.nan
  clipped = _clip(rows, max_byzantine=3).numpy()
  np.testing.assert_array_equal(clipped[4], rows[4])
  kept = np.delete(np.arange(9), 4)
  np.testing.assert_allclose(clipped[kept], _oracle(rows[kept], 2), rtol=1e-6, atol=1e-7)


def test_needs_an_honest_majority():
  with pytest.raises(ValueError, match=r'adaptive_clipping.* needs at least 5 clients'):
    _clip(np.zeros([4, 2]), max_byzantine=2)


def test_rows_clipped_to_a_norm_of_zero_are_zeros():
  rows = np.zeros([5, 3], np.float32)
  rows[2] = [3, 4, 0]
  clipped = adaptive_clipping.adaptive_clipping(rows, max_byzantine=1)
  np.testing.assert_array_equal(clipped, np.zeros([5, 3]))


def test_messages_call_it_what_it_is():
  rows = np.ones([9, 2], np.float32)
  with pytest.raises(
    ValueError, match=r"^pre-aggregator 'adaptive_clipping' with max_byzantine=5 needs"
  ):
    adaptive_clipping.adaptive_clipping(rows, max_byzantine=5)
  traced = tf.function(
    lambda rows: adaptive_clipping.adaptive_clipping(rows, max_byzantine=5),
    input_signature=[tf.TensorSpec([None, 2])],
  )
  with pytest.raises(tf.errors.InvalidArgumentError, match='pre-aggregator adaptive_clipping with'):
    traced(rows)


@pytest.mark.parametrize('width', [8193, 20_001, 33_335])
def test_equal_rows_stay_as_they_are(width):
  # In float32, their norms depend on where in memory each begins.
  row = np.random.default_rng(width).normal(size=width).astype(np.float32)
  rows = np.tile(row, [11, 1])
  np.testing.assert_array_equal(_clip(rows, max_byzantine=4), rows)
