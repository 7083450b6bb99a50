import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import gaussian

SEED = tf.constant([1, 2], tf.int64)


def test_draws_independent_noise_of_the_stated_spread():
  sent = gaussian.gaussian(SEED, num_byzantine=3, dimension=40_000).numpy()
  np.testing.assert_allclose(sent.std(axis=1), np.full(3, 200.0), rtol=0.02)
  np.testing.assert_allclose(sent.mean(axis=1), np.zeros(3), atol=5.0)
  assert abs(np.corrcoef(sent)[0, 1]) < 0.03


def test_draws_anew_for_another_seed_and_the_same_for_the_same():
  first, again, other = (
    gaussian.gaussian(seed, num_byzantine=1, dimension=10).numpy()
    for seed in (SEED, SEED, SEED + 1)
  )
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, other)


def test_saturates_instead_of_sending_infinities():
  rows = gaussian.gaussian(SEED, num_byzantine=5, dimension=50, noise_stddev=3e38)
  assert np.isfinite(rows).all()
  assert np.abs(rows).max() == np.finfo(np.float32).max


def test_harms_the_mean():
  honest = np.ones((20, 500), np.float32)
  sent = gaussian.gaussian(SEED, num_byzantine=2, dimension=500).numpy()
  shift = np.concatenate([honest, sent]).mean(axis=0) - 1
  assert np.linalg.norm(shift) > 5 * np.linalg.norm(honest[0])


def test_refuses_a_negative_spread():
  with pytest.raises(ValueError, match='attack_noise_stddev'):
    gaussian.build_gaussian(noise_stddev=-1.0)
