import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from computations import local_training
from tff_robust.privacy import dp_gradient, mechanisms, message_noise

DIMENSION, BATCH_SIZE, CLIP = 3000, 4, 0.7


def linear_model():
  """The gradient of an example is its features, whatever the weights are."""

  def predict(weights, x, training):
    del training
    return tf.linalg.matvec(x, weights[0][0])

  return tff.learning.models.FunctionalModel(
    initial_weights=((np.zeros([DIMENSION], np.float32),), ()),
    predict_on_batch_fn=tf.function(predict),
    loss_fn=tf.function(lambda output, label, sample_weight=None: tf.reduce_mean(output)),
    input_spec=collections.OrderedDict(
      x=tf.TensorSpec([None, DIMENSION], tf.float32), y=tf.TensorSpec([None], tf.int32)
    ),
  )


def mechanism(noise_multiplier=1.5, clip_unit='example', noise_scale='sum_then_divide'):
  return dp_gradient.GradientMechanism(
    l2_norm_clip=CLIP,
    noise_multiplier=noise_multiplier,
    expected_batch_size=BATCH_SIZE,
    clip_unit=clip_unit,
    noise_scale=noise_scale,
  )


def sender(of_mechanism, **training):
  training = local_training.LocalTraining(batch_size=BATCH_SIZE, **training)
  update = local_training.build_client_update(linear_model(), training, of_mechanism)
  # All gradients have one direction and are clipped: nothing sends a longer message.
  x, y = tf.ones([12, DIMENSION]), tf.zeros([12], tf.int32)

  @tf.function
  def message(seed):
    seeds = tf.stack([seed, seed + 1]), tf.stack([seed, seed + 2])
    return update([tf.zeros([DIMENSION])], x, y, *seeds).message

  return lambda seed: message(tf.constant(seed, tf.int64)).numpy().astype(np.float64)


UNITS = list(itertools.product(mechanisms.CLIP_UNITS, mechanisms.NOISE_SCALES))
ALGORITHMS = {
  'fed_sgd': {},
  'fed_avg': {'local_epochs': 2, 'learning_rate': 0.3},
}


@pytest.mark.parametrize('algorithm', ALGORITHMS)
@pytest.mark.parametrize(('clip_unit', 'noise_scale'), UNITS)
def test_noise_and_longest_signal_are_those_of_the_real_mechanism(
  algorithm, clip_unit, noise_scale
):
  noisy = mechanism(clip_unit=clip_unit, noise_scale=noise_scale)
  silent = mechanism(0.0, clip_unit=clip_unit, noise_scale=noise_scale)
  options = ALGORITHMS[algorithm]
  (known,) = message_noise.honest_messages(
    noisy, algorithm=algorithm, client_sizes=[12, 12, 11], **options
  )
  signal = sender(silent, algorithm=algorithm, **options)(5)
  noise = sender(noisy, algorithm=algorithm, **options)(5) - signal
  # The standard deviation of 3000 draws is off by 1.3 % (one deviation).
  assert known.noise_stddev == pytest.approx(noise.std(), rel=0.07)
  assert abs(noise.mean()) < 5 * known.noise_stddev / DIMENSION**0.5
  longest = known.independent_bound + known.dependent_bound
  assert np.linalg.norm(signal) == pytest.approx(longest, rel=1e-4)
  if algorithm == 'fed_sgd':
    assert known.dependent_bound == 0
  else:
    # Six steps: the weights are noisy before all but the first.
    assert known.dependent_bound == pytest.approx(5 * known.independent_bound)


def test_poisson_batches_exceed_the_bound_as_rarely_as_stated():
  silent = sender(mechanism(0.0), algorithm='fed_avg', batch_sampling='poisson', local_epochs=1)
  (known,) = message_noise.honest_messages(
    mechanism(),
    algorithm='fed_avg',
    client_sizes=[12],
    batch_sampling='poisson',
    tail_probability=0.1,
  )
  lengths = np.array([np.linalg.norm(silent(seed)) for seed in range(150)])
  bound = known.independent_bound + known.dependent_bound
  assert (lengths > bound).mean() < 0.1
  # Batches of the expected size send 3 C; the bound is above that and below all 36 examples.
  assert 3 * CLIP < bound < 9 * CLIP
  assert (lengths > 3 * CLIP).mean() > 0.2


def test_clients_of_different_sizes_are_told_apart_by_their_steps():
  found = message_noise.honest_messages(
    mechanism(), algorithm='fed_avg', client_sizes=[9, 3, 4, 12], learning_rate=2.0
  )
  one_step = 2.0 * 1.5 * CLIP / BATCH_SIZE
  expected = [one_step, one_step * 3**0.5]
  np.testing.assert_allclose([message.noise_stddev for message in found], expected)
  # The client with 3 examples is no exception to the bound of the one with 4.
  np.testing.assert_allclose([message.independent_bound for message in found], 2.0 * CLIP)
  np.testing.assert_allclose([message.dependent_bound for message in found], [0, 4.0 * CLIP])


def test_messages_without_noise_are_refused():
  with pytest.raises(ValueError, match=r'noise_multiplier=0.0 must be a finite number above 0'):
    message_noise.honest_messages(mechanism(0.0), algorithm='fed_sgd', client_sizes=[4])
