"""Tests of tff_robust/privacy/per_example_gradients.py."""

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.privacy import per_example_gradients

_SIDE, _CLASSES = 6, 3


def _convolutional_loss(weights, x, y):
  hidden = tf.nn.conv2d(tf.cast(x, tf.float32) / 255.0, weights['kernel'], 1, 'SAME')
  hidden = tf.nn.max_pool2d(tf.nn.relu(hidden), 2, 2, 'VALID')
  logits = tf.matmul(tf.reshape(hidden, [-1, (_SIDE // 2) ** 2 * 4]), weights['dense'][0])
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits + weights['dense'][1])
  return tf.reduce_mean(losses)


def _convolutional_weights():
  draw = np.random.default_rng(3).normal
  return {
    'kernel': tf.constant(draw(size=(3, 3, 1, 4)), tf.float32),
    'dense': (
      tf.constant(draw(size=((_SIDE // 2) ** 2 * 4, _CLASSES)), tf.float32),
      tf.zeros([_CLASSES]),
    ),
    'unused': tf.ones([2]),
  }


def _images(num_examples):
  rng = np.random.default_rng(num_examples)
  x = rng.integers(0, 256, (num_examples, _SIDE, _SIDE, 1), dtype=np.uint8)
  return tf.constant(x), tf.constant(rng.integers(0, _CLASSES, num_examples, dtype=np.int32))


@tf.function(
  input_signature=[
    tf.TensorSpec([None, _SIDE, _SIDE, 1], tf.uint8),
    tf.TensorSpec([None], tf.int32),
  ]
)
def _both_with_unknown_batch_size(x, y):
  weights = _convolutional_weights()
  return (
    per_example_gradients.per_example_gradients(_convolutional_loss, weights, x, y),
    per_example_gradients.summed_gradient(_convolutional_loss, weights, x, y),
  )


def _squared_error(weights, x, y):
  residual = tf.linalg.matvec(x, weights['slope']) + weights['offset'] - y
  return 0.5 * tf.reduce_sum(tf.square(residual))


def test_equals_closed_form_of_linear_regression():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(7, 4)).astype(np.float32), rng.normal(size=7).astype(np.float32)
  slope, offset = rng.normal(size=4).astype(np.float32), np.float32(0.3)
  losses, gradients = per_example_gradients.per_example_gradients(
    _squared_error, {'slope': tf.constant(slope), 'offset': tf.constant(offset)}, x, y
  )
  residual = x @ slope + offset - y
  np.testing.assert_allclose(losses, 0.5 * residual**2, rtol=1e-5)
  np.testing.assert_allclose(gradients['slope'], residual[:, np.newaxis] * x, rtol=1e-5)
  np.testing.assert_allclose(gradients['offset'], residual, rtol=1e-5)


@pytest.mark.parametrize('num_examples', [1, 5])
def test_equals_a_loop_over_the_examples(num_examples):
  x, y = _images(num_examples)
  (losses, gradients), (same_losses, total) = _both_with_unknown_batch_size(x, y)
  weights = _convolutional_weights()
  for i in range(num_examples):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      loss = _convolutional_loss(weights, x[i : i + 1], y[i : i + 1])
    expected = tape.gradient(loss, weights, unconnected_gradients='zero')
    tf.debugging.assert_near(losses[i], loss, rtol=1e-5, atol=1e-6)
    for got, want in zip(tf.nest.flatten(gradients), tf.nest.flatten(expected), strict=True):
      tf.debugging.assert_near(got[i], want, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(same_losses, losses, rtol=1e-5)
  for summed, rows in zip(tf.nest.flatten(total), tf.nest.flatten(gradients), strict=True):
    tf.debugging.assert_near(summed, tf.reduce_sum(rows, 0), rtol=1e-4, atol=1e-5)


def test_empty_batch_gives_no_rows_and_a_zero_sum():
  (losses, gradients), (same_losses, total) = _both_with_unknown_batch_size(*_images(0))
  assert losses.shape == same_losses.shape == [0]
  assert gradients['kernel'].shape == [0, 3, 3, 1, 4]
  assert gradients['dense'][1].shape == [0, _CLASSES]
  for part in tf.nest.flatten(total):
    np.testing.assert_array_equal(part, np.zeros(part.shape))


def test_empty_batch_stays_finite_where_a_row_of_zeros_has_no_loss():
  def log_loss(weights, x, y):
    return tf.reduce_sum(tf.math.log(weights * x) * y)

  x, y = tf.zeros([0, 1]), tf.zeros([0, 1])
  _, gradients = per_example_gradients.per_example_gradients(log_loss, tf.ones([1]), x, y)
  _, total = per_example_gradients.summed_gradient(log_loss, tf.ones([1]), x, y)
  assert gradients.shape == [0, 1]
  np.testing.assert_array_equal(total, [0.0])


def test_transform_sees_one_gradient_at_a_time():
  x, y = tf.constant([[1.0], [10.0]]), tf.zeros([2])
  weights = {'slope': tf.ones([1]), 'offset': tf.constant(0.0)}
  _, signs = per_example_gradients.per_example_gradients(
    _squared_error, weights, x, y, transform=lambda g: g['slope'] / tf.norm(g['slope'])
  )
  np.testing.assert_allclose(signs, [[1.0], [1.0]])


def test_non_finite_gradient_stays_in_its_row():
  x, y = tf.constant([[1.0], [np.nan]]), tf.zeros([2])
  weights = {'slope': tf.ones([1]), 'offset': tf.constant(0.0)}
  _, gradients = per_example_gradients.per_example_gradients(_squared_error, weights, x, y)
  assert np.isfinite(gradients['slope'][0]).all()
  assert np.isnan(gradients['slope'][1]).all()
