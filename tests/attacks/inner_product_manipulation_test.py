import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import attack, inner_product_manipulation

ipm = inner_product_manipulation.inner_product_manipulation
SEED = np.array([1, 2], np.int64)


def _honest(rows=14, columns=7, seed=0):
  generator = np.random.default_rng(seed)
  return (generator.normal(size=(rows, columns)) + 0.5).astype(np.float32)


def _view(messages, own_rows):
  return attack.View(
    tf.constant(messages), tf.zeros([own_rows, messages.shape[1]]), tf.constant(0, tf.int64)
  )


def test_sends_minus_epsilon_times_the_honest_mean_in_every_row():
  honest = _honest()
  sent = ipm(honest, num_byzantine=3, epsilon=0.3)
  expected = np.float32(-0.3 * honest.astype(np.float64).mean(axis=0))
  assert sent.dtype == tf.float32
  np.testing.assert_array_equal(sent.numpy(), np.stack([expected] * 3))


def test_sums_in_float64():
  column = np.array([[3e38], [3e38], [-3e38], [1.0]], np.float32)
  sent = ipm(column, num_byzantine=1, epsilon=1.0).numpy()
  np.testing.assert_allclose(sent, [[-7.5e37]], rtol=1e-6)
  with np.errstate(over='ignore'):
    assert not np.isfinite(column.sum(axis=0, dtype=np.float32)).all()


def test_returns_no_row_when_nobody_is_byzantine():
  assert ipm(_honest(), num_byzantine=0, epsilon=0.3).shape == (0, 7)


def test_ignores_rows_that_are_not_finite():
  honest = _honest()
  dirty = np.concatenate([honest[:5], np.full((1, 7), np.nan), honest[5:], np.full((1, 7), 1.0)])
  dirty = dirty.astype(np.float32)
  dirty[-1, 3] = -np.inf
  np.testing.assert_array_equal(
    ipm(dirty, num_byzantine=2, epsilon=2.0), ipm(honest, num_byzantine=2, epsilon=2.0)
  )


@pytest.mark.parametrize('rows', [np.zeros((0, 4)), np.full((3, 4), np.nan)])
def test_sends_zeros_when_no_finite_row_is_seen(rows):
  sent = ipm(rows.astype(np.float32), num_byzantine=2, epsilon=1.0)
  np.testing.assert_array_equal(sent, np.zeros((2, 4)))


def test_saturates_instead_of_sending_an_infinity():
  honest = np.full((2, 3), 1e38, np.float32)
  sent = ipm(honest, num_byzantine=1, epsilon=100.0).numpy()
  np.testing.assert_array_equal(sent, np.full((1, 3), np.finfo(np.float32).min))


@pytest.mark.parametrize(('epsilon', 'reversed_mean'), [(0.1, False), (1.26, False), (1.28, True)])
def test_reverses_the_mean_exactly_when_epsilon_exceeds_honest_over_byzantine(
  epsilon, reversed_mean
):
  honest = _honest(rows=14)
  center = honest.mean(axis=0)
  sent = ipm(honest, num_byzantine=11, epsilon=epsilon).numpy()
  attacked = np.concatenate([honest, sent]).mean(axis=0)
  assert (attacked @ center < 0) == reversed_mean
  assert attacked @ center < center @ center


def test_honest_copies_of_the_mean_would_not_harm_it():
  honest = _honest()
  center = honest.mean(axis=0)
  control = np.concatenate([honest, np.stack([center] * 11)]).mean(axis=0)
  np.testing.assert_allclose(control @ center, center @ center, rtol=1e-5)


def test_traces_once_for_unknown_row_counts():
  built = inner_product_manipulation.build_inner_product_manipulation(epsilon=0.5)

  @tf.function(
    input_signature=[
      tf.TensorSpec([None, 7], tf.float32),
      tf.TensorSpec([None, 7], tf.float32),
    ]
  )
  def run(messages, own):
    view = attack.View(messages, own, tf.constant(3, tf.int64))
    return built.apply(built.init(7), view, tf.constant(SEED))

  honest = _honest()
  for rows in (0, 1, 4):
    state, sent = run(honest, np.zeros((rows, 7), np.float32))
    assert state == ()
    np.testing.assert_array_equal(sent, ipm(honest, num_byzantine=rows, epsilon=0.5))
  assert run.experimental_get_tracing_count() == 1


def test_uses_only_what_the_view_shows():
  built = inner_product_manipulation.build_inner_product_manipulation(epsilon=1.0)
  assert built.knowledge_modes == attack.KNOWLEDGE
  own = _honest(rows=2, seed=5)
  _, sent = built.apply((), _view(own, 2), tf.constant(SEED))
  np.testing.assert_allclose(sent, -np.stack([own.mean(axis=0)] * 2), rtol=1e-6)


@pytest.mark.parametrize('epsilon', [-0.1, float('nan'), float('inf')])
def test_refuses_a_factor_that_is_negative_or_not_finite(epsilon):
  with pytest.raises(ValueError, match='attack_epsilon'):
    inner_product_manipulation.build_inner_product_manipulation(epsilon=epsilon)
