import numpy as np
import tensorflow as tf

from tff_robust.attacks import nan


def test_sends_the_same_value_everywhere():
  sent = nan.nan(num_byzantine=2, dimension=3)
  assert sent.dtype == tf.float32
  np.testing.assert_array_equal(sent, np.full((2, 3), np.nan))
  assert nan.nan(num_byzantine=0, dimension=3).shape == (0, 3)


def test_spoils_a_mean_that_does_not_look():
  honest = np.ones((6, 4), np.float32)
  attacked = np.concatenate([honest, nan.nan(num_byzantine=1, dimension=4)]).mean(axis=0)
  assert not np.isfinite(attacked).any()
  assert np.isfinite(honest.mean(axis=0)).all()
