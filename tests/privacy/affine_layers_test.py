"""Tests of tff_robust/privacy/affine_layers.py."""

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.privacy import affine_layers


def _normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _row_norms(*parts):
  return sum((np.float64(part).reshape(len(part), -1) ** 2).sum(axis=1) for part in parts)


def test_dense_is_an_affine_map_that_is_remembered():
  x, kernel, bias = _normal(4, 3), _normal(3, 2, seed=1), _normal(2, seed=2)
  layers = affine_layers.Layers()
  outputs = layers.dense(tf.constant(x), tf.constant(kernel), tf.constant(bias))
  np.testing.assert_allclose(outputs, x @ kernel + bias, rtol=1e-5)
  (applied,) = layers.applied
  assert applied.outputs is outputs
  np.testing.assert_array_equal(applied.inputs, x)


def test_dense_rows_are_outer_products():
  x, errors = _normal(5, 3), _normal(5, 2, seed=1)
  factors = np.array([0.5, 1.0, 0.0, 2.0, 0.25], np.float32)
  rows = affine_layers.DenseRows(tf.constant(x), tf.constant(errors))
  outer = x[:, :, np.newaxis] * errors[:, np.newaxis]
  np.testing.assert_allclose(rows.squared_norms(), _row_norms(outer, errors), rtol=1e-5)
  kernel, bias = rows.weighted_sum(tf.constant(factors))
  np.testing.assert_allclose(kernel, np.tensordot(factors, outer, 1), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(bias, factors @ errors, rtol=1e-5)


@pytest.mark.parametrize('kernel_size', [(3, 3), (1, 1), (2, 2), (5, 3)])
@pytest.mark.parametrize('image', [(6, 5), (1, 1)])
def test_convolution_rows_equal_the_gradient_of_each_image(kernel_size, image):
  x, kernel = _normal(3, *image, 2), _normal(*kernel_size, 2, 4, seed=1)
  errors, factors = _normal(3, *image, 4, seed=2), np.array([0.5, 2.0, 1.0], np.float32)
  kernel, bias = tf.constant(kernel), tf.zeros([4])
  layers = affine_layers.Layers()
  outputs = layers.conv2d(tf.constant(x), kernel, bias)
  np.testing.assert_allclose(outputs, tf.nn.conv2d(x, kernel, 1, 'SAME'), rtol=1e-5, atol=1e-6)
  rows = layers.applied[0].rows(tf.constant(errors), tf.constant(3))

  kernels = []
  for i in range(3):
    with tf.GradientTape() as tape:
      tape.watch(kernel)
      output = tf.nn.conv2d(x[i : i + 1], kernel, 1, 'SAME')
    kernels.append(tape.gradient(output, kernel, errors[i : i + 1]).numpy())
  biases = errors.sum(axis=(1, 2))
  by_kernel_row = np.reshape(kernels, [3, kernel_size[0], -1, 4]).transpose(1, 0, 2, 3)
  np.testing.assert_allclose(rows.kernel_rows, by_kernel_row, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(rows.biases, biases, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(rows.squared_norms(), _row_norms(np.array(kernels), biases), rtol=1e-4)
  summed, summed_bias = rows.weighted_sum(tf.constant(factors))
  np.testing.assert_allclose(summed, np.tensordot(factors, kernels, 1), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(summed_bias, factors @ biases, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('num_examples', [0, 2])
def test_rows_past_the_examples_are_cut_off(num_examples):
  layers = affine_layers.Layers()
  layers.dense(tf.ones([3, 2]), tf.ones([2, 2]), tf.zeros([2]))
  layers.conv2d(tf.ones([3, 4, 4, 1]), tf.ones([3, 3, 1, 2]), tf.zeros([2]))
  dense, convolution = (
    layer.rows(tf.ones_like(layer.outputs), tf.constant(num_examples)) for layer in layers.applied
  )
  assert dense.squared_norms().shape == convolution.squared_norms().shape == [num_examples]
  for rows in (dense, convolution):
    kernel, bias = rows.weighted_sum(tf.ones([num_examples]))
    np.testing.assert_array_equal(bias, np.full(2, bias[0]))
    assert bool(np.any(kernel)) == bool(np.any(bias)) == (num_examples > 0)
