import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import krum
from tff_robust.preaggregators import nearest_neighbor_mixing as nnm

_mix = tf.function(
  lambda rows: nnm.nearest_neighbor_mixing(rows, max_byzantine=2),
  input_signature=[tf.TensorSpec([None, None])],
)


def _oracle(rows, f):
  wide = rows.astype(np.float64)
  mixed = []
  for row in wide:
    nearest = sorted(range(len(rows)), key=lambda j: np.sum((wide[j] - row) ** 2))
    mixed.append(wide[nearest[: len(rows) - f]].mean(0))
  return np.array(mixed)


@pytest.mark.parametrize('n', [5, 8, 20])
def test_equals_loops(n):
  rows = np.random.default_rng(n).normal(size=[n, 7]).astype(np.float32)
  rows[0] *= 100
  np.testing.assert_allclose(_mix(rows), _oracle(rows, 2), rtol=1e-5, atol=1e-6)


def test_honest_rows_ignore_far_rows():
  rows = np.random.default_rng(0).normal(size=[9, 7]).astype(np.float32)
  rows[:2] = 1e30
  mixed = _mix(rows).numpy()
  np.testing.assert_allclose(mixed[2:], np.tile(rows[2:].mean(0), [7, 1]), rtol=1e-4, atol=1e-6)


def test_nonfinite_rows_stay_so_and_are_nobodys_neighbours():
  rows = np.random.default_rng(0).normal(size=[9, 7]).astype(np.float32)
  rows[3, 1], rows[5, 0] = np.nan, np.inf
  mixed = _mix(rows).numpy()
  assert np.isnan(mixed[[3, 5]]).all()
  kept = [0, 1, 2, 4, 6, 7, 8]
  np.testing.assert_allclose(mixed[kept], _oracle(rows[kept], 0), rtol=1e-4, atol=1e-6)


def test_mixing_leaves_shared_rows_alone():
  rows = np.tile(np.float32([0.1, -2, 1e10]), [7, 1])
  np.testing.assert_array_equal(_mix(rows), rows)


def test_needs_an_honest_majority():
  with pytest.raises(ValueError, match=r'nearest_neighbor_mixing.* needs at least 5 clients'):
    nnm.nearest_neighbor_mixing(np.zeros([4, 2]), max_byzantine=2)
  with pytest.raises(tf.errors.InvalidArgumentError, match='nearest_neighbor_mixing'):
    _mix(np.zeros([4, 2], np.float32))


def test_makes_krum_average_what_it_would_pick():
  rows = np.random.default_rng(0).normal(size=[9, 50]).astype(np.float32)
  rows[:2] = 1e6
  distance = np.linalg.norm(krum.krum(_mix(rows), max_byzantine=2) - rows[2:].mean(0))
  assert distance < 0.1 * np.linalg.norm(krum.krum(rows, max_byzantine=2) - rows[2:].mean(0))


def test_messages_call_it_what_it_is():
  rows = np.ones([9, 2], np.float32)
  with pytest.raises(
    ValueError, match=r"^pre-aggregator 'nearest_neighbor_mixing' with max_byzantine=5 needs"
  ):
    nnm.nearest_neighbor_mixing(rows, max_byzantine=5)
  traced = tf.function(
    lambda rows: nnm.nearest_neighbor_mixing(rows, max_byzantine=5),
    input_signature=[tf.TensorSpec([None, 2])],
  )
  with pytest.raises(
    tf.errors.InvalidArgumentError, match='pre-aggregator nearest_neighbor_mixing with'
  ):
    traced(rows)
