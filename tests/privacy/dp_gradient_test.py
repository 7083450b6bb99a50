"""Tests of tff_robust/privacy/dp_gradient.py."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust import seeds
from tff_robust.privacy import dp_gradient, mechanisms

_SEED = np.array([7, 8], np.int64)
_SIX = [(unit, scale) for unit in mechanisms.CLIP_UNITS for scale in mechanisms.NOISE_SCALES]


def _dot_loss(weights, x, y):
  """A loss whose gradient at example i is row i of x."""
  del y
  return tf.reduce_sum(weights[0] * x)


def _convolutional_loss(weights, x, y):
  del y
  image = tf.reshape(x, [-1, 5, 1, 1])
  return tf.reduce_sum(tf.square(tf.nn.conv2d(image, weights[0], 1, 'SAME')))


def _mechanism(clip_unit='example', noise_scale='sum_then_divide', **changes):
  values = {'l2_norm_clip': 2.0, 'noise_multiplier': 0.0, 'expected_batch_size': 4, **changes}
  return dp_gradient.GradientMechanism(clip_unit=clip_unit, noise_scale=noise_scale, **values)


def _apply(mechanism, rows, seed=_SEED):
  rows = np.asarray(rows, np.float32)
  loss, (gradient,) = mechanism.noised_gradient(
    _dot_loss, [tf.zeros([rows.shape[1]])], rows, np.zeros(len(rows), np.int32), seed
  )
  return float(loss), gradient.numpy()


def _clip(row, norm):
  return row * min(1.0, norm / np.linalg.norm(row))


@pytest.mark.parametrize(('clip_unit', 'noise_scale'), _SIX)
def test_signal_without_noise_equals_numpy(clip_unit, noise_scale):
  rows = np.random.default_rng(5).normal(size=(3, 6)) * 4.0
  _, got = _apply(_mechanism(clip_unit, noise_scale), rows)
  if clip_unit == 'example':
    divisor = 1.0 if noise_scale == 'per_example_sum' else 4.0
    want = sum(_clip(row, 2.0) for row in rows) / divisor
  else:
    factor = 4.0 if noise_scale == 'per_example_sum' else 1.0
    want = factor * _clip(rows.sum(axis=0) / 4.0, 2.0)
  np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize(
  ('clip_unit', 'noise_scale', 'stddev'),
  [
    ('example', 'sum_then_divide', 0.75),
    ('example', 'on_mean', 3.0),
    ('example', 'per_example_sum', 6.0),
    ('minibatch_mean', 'sum_then_divide', 0.75),
    ('minibatch_mean', 'on_mean', 3.0),
    ('minibatch_mean', 'per_example_sum', 6.0),
  ],
)
def test_noise_has_the_stated_standard_deviation(clip_unit, noise_scale, stddev):
  noisy = _mechanism(clip_unit, noise_scale, noise_multiplier=1.5)
  silent = dataclasses.replace(noisy, noise_multiplier=0.0)
  rows = np.random.default_rng(6).normal(size=(2, 200_000))
  noise = _apply(noisy, rows)[1].astype(np.float64) - _apply(silent, rows)[1]
  # The standard error of a standard deviation is 0.16 % at 200,000 coordinates.
  assert np.std(noise) == pytest.approx(stddev, rel=0.02)
  assert abs(np.mean(noise)) < 6 * stddev / np.sqrt(200_000)
  # One draw a batch: the noise does not grow with the number of examples at hand.
  more = _apply(noisy, np.zeros((9, 200_000)))[1]
  assert np.std(more) == pytest.approx(stddev, rel=0.02)


@pytest.mark.parametrize(('clip_unit', 'noise_scale'), _SIX)
def test_empty_batch_gives_noise_alone(clip_unit, noise_scale):
  mechanism = _mechanism(clip_unit, noise_scale, noise_multiplier=1.0)
  loss, got = _apply(mechanism, np.zeros((0, 100_000)))
  assert loss == 0.0
  assert np.std(got) == pytest.approx(mechanism.noise_stddev, rel=0.02)
  _, silent = _apply(dataclasses.replace(mechanism, noise_multiplier=0.0), np.zeros((0, 5)))
  np.testing.assert_array_equal(silent, np.zeros(5))


def test_divides_by_the_expected_size_whatever_the_batch():
  row = np.array([[1.0, 0.0]])
  for num_examples in (1, 3, 8):
    _, got = _apply(_mechanism(), np.repeat(row, num_examples, axis=0))
    np.testing.assert_allclose(got, [num_examples / 4.0, 0.0], rtol=1e-5)


def test_same_seed_repeats_and_another_seed_does_not():
  mechanism = _mechanism(noise_multiplier=1.0)
  rows = np.ones((2, 1000))
  np.testing.assert_array_equal(_apply(mechanism, rows)[1], _apply(mechanism, rows)[1])
  other = _apply(mechanism, rows, seeds.fold(_SEED, 1))[1]
  assert not np.any(other == _apply(mechanism, rows)[1])


def test_one_example_moves_a_sum_of_clipped_gradients_by_the_sensitivity_at_most():
  rng = np.random.default_rng(8)
  mechanism = _mechanism()
  for _ in range(10):
    rows = rng.normal(size=(4, 3)) * 10.0 ** rng.uniform(-2, 3, size=(4, 1))
    moved = _apply(mechanism, rows)[1] - _apply(mechanism, rows[:-1])[1]
    assert np.linalg.norm(moved) <= 2.0 / 4 * (1 + 1e-5)


def test_one_example_can_turn_a_clipped_mean_around():
  rows = np.array([[100.0, 0.0], [100.0, 0.0], [100.0, 0.0], [-1000.0, 0.0]])
  literal = _mechanism('minibatch_mean', 'on_mean')
  moved = np.linalg.norm(_apply(literal, rows)[1] - _apply(literal, rows[:-1])[1])
  assert moved == pytest.approx(literal.sensitivity, rel=1e-5)
  # The bound that holds for clipped examples does not hold for a clipped mean.
  assert moved > 2 * 2.0 / 4
  moved = np.linalg.norm(_apply(_mechanism(), rows)[1] - _apply(_mechanism(), rows[:-1])[1])
  assert moved <= 2.0 / 4 * (1 + 1e-5)


def test_literal_reading_and_dp_sgd_differ_on_the_same_batch():
  rows = np.array([[3.0, 0.0], [0.0, 400.0], [3.0, 0.0], [3.0, 0.0]])
  results = [_apply(_mechanism(unit, scale), rows)[1] for unit, scale in _SIX]
  np.testing.assert_allclose(results[0], [1.5, 0.5], rtol=1e-5)
  assert results[4][0] < 0.1
  assert np.linalg.norm(results[5]) == pytest.approx(8.0, rel=1e-5)


@pytest.mark.parametrize('clip_unit', mechanisms.CLIP_UNITS)
@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_non_finite_example_makes_everything_nan(clip_unit, bad):
  rows = np.ones((3, 4))
  rows[1, 2] = bad
  _, got = _apply(_mechanism(clip_unit, noise_multiplier=1.0), rows)
  assert np.isnan(got).all()


def test_loss_is_the_sum_over_examples():
  def squared(weights, x, y):
    return tf.reduce_sum(tf.square(x[:, 0] - y)) + 0.0 * tf.reduce_sum(weights[0])

  x, y = np.array([[1.0], [2.0], [5.0]], np.float32), np.zeros(3, np.float32)
  for clip_unit in mechanisms.CLIP_UNITS:
    loss, _ = _mechanism(clip_unit).noised_gradient(squared, [tf.zeros([2])], x, y, _SEED)
    assert float(loss) == pytest.approx(30.0)


def test_clients_of_a_federated_computation_have_distinct_reproducible_noise():
  mechanism = _mechanism(noise_multiplier=1.0)
  num_clients, num_steps, width = 12, 3, 5

  @tf.function
  def local_steps(seed, client_id, rows):
    def body(step, weights, total):
      step_seed = seeds.fold(seed, seeds.Purpose.DP_NOISE, client_id, step)
      # Batches of 2, 1 and 0 examples.
      batch = rows[step:2]
      _, (gradient,) = mechanism.noised_gradient(
        _convolutional_loss,
        [weights],
        batch,
        tf.zeros([tf.shape(batch)[0]], tf.int32),
        step_seed,
      )
      return step + 1, weights - 0.1 * gradient, total + gradient

    start = (tf.constant(0), tf.ones([3, 1, 1, 1]), tf.zeros([3, 1, 1, 1]))
    return tf.while_loop(lambda step, *_: step < num_steps, body, start)[2]

  seed_type = tff.TensorType(np.int64, [2])
  rows_type = tff.TensorType(np.float32, [None, width])
  work = tff.tensorflow.computation(local_steps, seed_type, np.int64, rows_type)

  @tff.federated_computation(
    tff.FederatedType(seed_type, tff.SERVER),
    tff.FederatedType(np.int64, tff.CLIENTS),
    tff.FederatedType(rows_type, tff.CLIENTS),
  )
  def all_clients(seed, client_ids, rows):
    return tff.federated_map(work, (tff.federated_broadcast(seed), client_ids, rows))

  rows = np.ones((2, width), np.float32)
  arguments = (_SEED, list(np.arange(num_clients)), [rows] * num_clients)
  first, again = (np.array(all_clients(*arguments)) for _ in range(2))
  assert np.unique(first).size == num_clients * 3
  np.testing.assert_array_equal(first, again)
  # The worker process and this one run the same graph.
  alone = local_steps(tf.constant(_SEED), tf.constant(3, tf.int64), tf.constant(rows))
  np.testing.assert_allclose(first[3], alone, rtol=1e-5, atol=1e-6)
