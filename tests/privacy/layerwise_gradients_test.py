"""Tests of tff_robust/privacy/layerwise_gradients.py."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.privacy import dp_gradient, dp_query, layerwise_gradients, mechanisms

_SIDE, _CLASSES = 6, 3
_SEED = np.array([7, 8], np.int64)


def _weights():
  draw = np.random.default_rng(3).normal
  return {
    'kernel': tf.constant(draw(size=(3, 3, 1, 4)), tf.float32),
    'offset': tf.constant(draw(size=4), tf.float32),
    'dense': (
      tf.constant(draw(size=((_SIDE // 2) ** 2 * 4, _CLASSES)), tf.float32),
      tf.zeros([_CLASSES]),
    ),
  }


def _losses(layers, weights, x, y):
  x = tf.concat([x, tf.zeros([1, _SIDE, _SIDE, 1], x.dtype)], 0)  # A row that stands in.
  hidden = layers.conv2d(tf.cast(x, tf.float32) / 255.0, weights['kernel'], weights['offset'])
  hidden = tf.reshape(tf.nn.max_pool2d(tf.nn.relu(hidden), 2, 2, 'VALID'), [-1, 36])
  logits = layers.dense(hidden, *weights['dense'])[:-1]
  return tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)


_LAYERED = layerwise_gradients.LayeredLoss(lambda *batch: tf.reduce_sum(_losses(*batch)))


def _plain_loss(weights, x, y):
  hidden = tf.nn.conv2d(tf.cast(x, tf.float32) / 255.0, weights['kernel'], 1, 'SAME')
  hidden = tf.nn.max_pool2d(tf.nn.relu(hidden + weights['offset']), 2, 2, 'VALID')
  kernel, bias = weights['dense']
  logits = tf.matmul(tf.reshape(hidden, [-1, 36]), kernel) + bias
  return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))


def _images(num_examples, dtype=np.uint8):
  rng = np.random.default_rng(num_examples)
  x = rng.integers(0, 256, (num_examples, _SIDE, _SIDE, 1)).astype(dtype)
  return tf.constant(x), tf.constant(rng.integers(0, _CLASSES, num_examples, dtype=np.int32))


def _mechanism(**changes):
  values = {'l2_norm_clip': 2.0, 'noise_multiplier': 0.0, 'expected_batch_size': 4, **changes}
  return dp_gradient.GradientMechanism(**values)


@functools.cache
def _traced(mechanism, loss_fn, dtype):
  @tf.function(
    input_signature=[
      tf.TensorSpec([None, _SIDE, _SIDE, 1], dtype),
      tf.TensorSpec([None], tf.int32),
    ]
  )
  def function(x, y):
    return mechanism.noised_gradient(loss_fn, _weights(), x, y, tf.constant(_SEED))

  return function


def _gradient(mechanism, loss_fn, x, y):
  loss, gradient = _traced(mechanism, loss_fn, x.dtype)(x, y)
  return float(loss), np.concatenate([part.numpy().ravel() for part in tf.nest.flatten(gradient)])


def _norms(x, y):
  norms = []
  for i in range(len(y)):
    weights = _weights()
    with tf.GradientTape() as tape:
      tape.watch(weights)
      loss = _plain_loss(weights, x[i : i + 1], y[i : i + 1])
    norms.append(float(tf.linalg.global_norm(tf.nest.flatten(tape.gradient(loss, weights)))))
  return np.array(norms)


@pytest.mark.parametrize('quantile', [0.0, 0.5, 1.0])
def test_equals_the_sum_of_records_that_the_query_clipped_one_by_one(quantile):
  x, y = _images(9)
  norms = _norms(x, y)
  clip = float(np.quantile(norms, quantile))
  assert norms.max() > 1.5 * norms.min()
  query = dp_query.SeededGaussianSumQuery(clip, 0.0, _SEED)
  params = query.derive_sample_params(query.initial_global_state())
  weights = _weights()
  expected = [np.zeros(part.shape) for part in tf.nest.flatten(weights)]
  for i in range(9):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      loss = _plain_loss(weights, x[i : i + 1], y[i : i + 1])
    record = query.preprocess_record(params, tape.gradient(loss, weights))
    expected = [a + b for a, b in zip(expected, tf.nest.flatten(record), strict=True)]
  _, got = layerwise_gradients.clipped_sum(
    _LAYERED, weights, x, y, clip=lambda record: query.preprocess_record(params, record)
  )
  tf.nest.assert_same_structure(got, weights)
  flat_got, flat_expected = (
    np.concatenate([np.ravel(part) for part in tf.nest.flatten(parts)]) for parts in (got, expected)
  )
  assert np.linalg.norm(flat_got - flat_expected) <= 1e-6 * np.linalg.norm(flat_expected)


@pytest.mark.parametrize('clip_unit', mechanisms.CLIP_UNITS)
@pytest.mark.parametrize('noise_scale', mechanisms.NOISE_SCALES)
def test_every_mechanism_gives_the_same_with_the_same_noise(clip_unit, noise_scale):
  mechanism = _mechanism(clip_unit=clip_unit, noise_scale=noise_scale, noise_multiplier=1.0)
  for num_examples in (0, 1, 5):
    batch = _images(num_examples)
    loss, got = _gradient(mechanism, _LAYERED, *batch)
    same_loss, expected = _gradient(mechanism, _plain_loss, *batch)
    assert loss == pytest.approx(same_loss, rel=1e-5)
    assert np.linalg.norm(got - expected) <= 1e-6 * np.linalg.norm(expected)
    np.testing.assert_array_equal(got, _gradient(mechanism, _LAYERED, *batch)[1])


@pytest.mark.parametrize('num_examples', [1, 4])
def test_norm_never_exceeds_the_clip_norm(num_examples):
  for clip in (1e-3, 0.01, 0.07):
    x, y = _images(1)
    batch = tf.repeat(x, num_examples, axis=0), tf.repeat(y, num_examples)
    mechanism = _mechanism(l2_norm_clip=clip, expected_batch_size=num_examples)
    norm = np.linalg.norm(np.float64(_gradient(mechanism, _LAYERED, *batch)[1]))
    assert 0.99 * clip < norm <= clip


def test_empty_batch_gives_zeros():
  for clip_unit in mechanisms.CLIP_UNITS:
    loss, got = _gradient(_mechanism(clip_unit=clip_unit), _LAYERED, *_images(0))
    assert loss == 0.0
    np.testing.assert_array_equal(got, np.zeros_like(got))


@pytest.mark.parametrize('bad', [np.nan, np.inf, 1e25])
def test_one_unusable_example_makes_everything_nan(bad):
  x, y = _images(3, np.float32)
  x = x.numpy()
  assert np.isfinite(_gradient(_mechanism(), _LAYERED, tf.constant(x), y)[1]).all()
  x[1, 2, 2, 0] = bad
  # 1e25 leaves the gradient finite, but its squared norm overflows float32.
  loss_fns = (_LAYERED, _plain_loss)
  for gradient in (_gradient(_mechanism(), loss_fn, tf.constant(x), y)[1] for loss_fn in loss_fns):
    assert np.isnan(gradient).all()


def test_gradient_of_zero_stays_zero():
  loss = layerwise_gradients.LayeredLoss(lambda *batch: 0.0 * tf.reduce_sum(_losses(*batch)))
  _, got = _gradient(_mechanism(), loss, *_images(3))
  np.testing.assert_array_equal(got, np.zeros_like(got))


def _apply(loss_sum, weights):
  loss = layerwise_gradients.LayeredLoss(loss_sum)
  x = tf.ones([2, 3])
  return layerwise_gradients.clipped_sum(
    loss, weights, x, tf.zeros([2]), clip=lambda record: record
  )


def test_weight_outside_the_layers_is_refused():
  weights = [tf.ones([3, 1]), tf.zeros([1]), tf.constant(2.0)]
  with pytest.raises(ValueError, match=r'positions \[2\] of 3 are kernel or bias of no layer'):
    _apply(lambda layers, w, x, y: tf.reduce_sum(layers.dense(x, w[0], w[1]) * w[2]), weights)


def test_weight_that_was_changed_before_its_layer_is_refused():
  weights = [tf.ones([3, 1]), tf.zeros([1])]
  with pytest.raises(ValueError, match=r'positions \[0\] of 2 are kernel or bias of no layer'):
    _apply(lambda layers, w, x, y: tf.reduce_sum(layers.dense(x, 2.0 * w[0], w[1])), weights)


def test_layer_of_constants_is_refused():
  def on_top(layers, w, x, y):
    return tf.reduce_sum(layers.dense(layers.dense(x, w[0], w[1]), tf.ones([1, 1]), tf.zeros([1])))

  with pytest.raises(
    ValueError, match=r'positions \[\] of 2 .* 2 kernels or biases are no weights'
  ):
    _apply(on_top, [tf.ones([3, 1]), tf.zeros([1])])


def test_weight_of_two_layers_is_refused():
  def twice(layers, w, x, y):
    return tf.reduce_sum(layers.dense(layers.dense(x, w[0], w[1]), w[0], w[1]))

  with pytest.raises(ValueError, match=r'shape \(3, 3\) is kernel or bias of more than one layer'):
    _apply(twice, [tf.ones([3, 3]), tf.zeros([3])])
