import numpy as np
import tensorflow as tf

from tff_robust.attacks import zero


def test_sends_the_same_value_everywhere():
  sent = zero.zero(num_byzantine=2, dimension=3)
  assert sent.dtype == tf.float32
  np.testing.assert_array_equal(sent, np.full((2, 3), 0.0))
  assert zero.zero(num_byzantine=0, dimension=3).shape == (0, 3)


def test_slows_the_mean_in_proportion():
  honest = np.ones((6, 4), np.float32)
  attacked = np.concatenate([honest, zero.zero(num_byzantine=2, dimension=4)]).mean(axis=0)
  np.testing.assert_allclose(attacked, np.full(4, 0.75))
