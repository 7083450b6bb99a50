import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import attack, sign_flip

SEED = np.array([1, 2], np.int64)


def _own(rows=4, columns=6):
  generator = np.random.default_rng(3)
  return (generator.normal(size=(rows, columns)) + 1.0).astype(np.float32)


def test_sends_the_scaled_opposite_of_each_own_row():
  own = _own()
  sent = sign_flip.sign_flip(own, scale=3.0)
  assert sent.dtype == tf.float32
  np.testing.assert_allclose(sent, -3.0 * own, rtol=1e-6)
  assert not np.allclose(sent[0], sent[1])


def test_flips_without_scaling_by_default():
  own = _own()
  np.testing.assert_array_equal(sign_flip.sign_flip(own), -own)


def test_sends_zeros_in_place_of_a_row_that_is_not_finite():
  own = _own()
  own[1, 2] = np.nan
  own[2, 0] = np.inf
  sent = sign_flip.sign_flip(own).numpy()
  np.testing.assert_array_equal(sent[[1, 2]], np.zeros((2, 6)))
  np.testing.assert_array_equal(sent[[0, 3]], -own[[0, 3]])


def test_harms_the_mean_and_honest_rows_do_not():
  generator = np.random.default_rng(0)
  rows = (generator.normal(size=(20, 6)) + 1.0).astype(np.float32)
  honest, own = rows[:14], rows[14:]
  center = honest.mean(axis=0)
  attacked = np.concatenate([honest, sign_flip.sign_flip(own).numpy()]).mean(axis=0)
  assert attacked @ center < 0.6 * (rows.mean(axis=0) @ center)


def test_traces_with_unknown_row_counts_and_returns_no_row_for_no_attacker():
  built = sign_flip.build_sign_flip(scale=2.0)
  assert built.knowledge_modes == ('own_messages', 'own_clean')

  @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.float32)])
  def run(own):
    view = attack.View(own, own, tf.constant(0, tf.int64))
    return built.apply(built.init(6), view, tf.constant(SEED))[1]

  assert run(np.zeros((0, 6), np.float32)).shape == (0, 6)
  np.testing.assert_allclose(run(_own()), -2.0 * _own(), rtol=1e-6)


@pytest.mark.parametrize('scale', [-0.1, float('nan')])
def test_refuses_a_scale_that_is_negative_or_not_finite(scale):
  with pytest.raises(ValueError, match='attack_scale'):
    sign_flip.build_sign_flip(scale=scale)
