"""Gradients of each example of a minibatch, vectorized over the examples.

The map vectorizes an ordinary backward pass (`tf.vectorized_map` over
`GradientTape.gradient`). `GradientTape.jacobian`, on which TF Privacy's Keras optimizers
rest, gives the same numbers in time and memory that grow with the square of the batch
size for convolutions.

This is the path for any model. Convolutions are its weak spot: TensorFlow computes their
kernel gradients in a loop over the examples, and logs a warning. Models that apply their
layers through `tff_robust.privacy.affine_layers` have a faster path of their own,
`tff_robust.privacy.layerwise_gradients`.

Batches may be empty, as Poisson samples can be. The results carry no privacy guarantee
until they were clipped, summed and noised (`tff_robust.privacy.dp_gradient`).
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

# (weights, x [1, ...], y [1, ...]) -> float32 []: the loss of one example. Must use pure
# TensorFlow operations, without variables or random state.
LossFn: TypeAlias = Callable[[Any, tf.Tensor, tf.Tensor], tf.Tensor]


def per_example_gradients(
  loss_fn: LossFn,
  weights: Any,
  x: tf.Tensor,
  y: tf.Tensor,
  *,
  transform: Callable[[Any], Any] | None = None,
) -> tuple[tf.Tensor, Any]:
  """Returns the loss and the gradient of every example.

  Args:
    loss_fn: Loss of one example, see `LossFn`.
    weights: Structure of float tensors at which to differentiate.
    x: [m, ...], any dtype; m may be unknown statically and may be 0.
    y: [m, ...], any dtype.
    transform: Applied to each example's gradient inside the vectorized map, for example
      clipping; None returns gradients as they are.

  Returns:
    Losses float32 [m], and the structure of `weights` (or of what `transform` returns)
    with a leading [m] on every tensor. A weight that the loss does not read has gradient
    zero. Non-finite gradients are returned as they are.
  """
  weights = tf.nest.map_structure(tf.convert_to_tensor, weights)
  x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)

  def one_example(row: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, Any]:
    loss, gradient = value_and_gradient(
      lambda: loss_fn(weights, row[0][tf.newaxis], row[1][tf.newaxis]), weights
    )
    return loss, gradient if transform is None else transform(gradient)

  results = tf.vectorized_map(one_example, (_at_least_one_row(x), _at_least_one_row(y)))
  if x.shape[0]:
    return results
  num_examples = tf.shape(x)[0]
  return tf.nest.map_structure(lambda result: result[:num_examples], results)


def summed_gradient(
  loss_fn: LossFn, weights: Any, x: tf.Tensor, y: tf.Tensor
) -> tuple[tf.Tensor, Any]:
  """Returns every example's loss and the gradient of their sum, in one backward pass.

  Args:
    loss_fn: Loss of one example, see `LossFn`.
    weights: Structure of float tensors at which to differentiate.
    x: [m, ...], any dtype; m may be unknown statically and may be 0.
    y: [m, ...], any dtype.

  Returns:
    Losses float32 [m], and the structure of `weights`: zeros for an empty batch.
  """
  weights = tf.nest.map_structure(tf.convert_to_tensor, weights)
  x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
  num_examples = tf.shape(x)[0]
  losses: list[tf.Tensor] = []

  def total() -> tf.Tensor:
    every = tf.vectorized_map(
      lambda row: loss_fn(weights, row[0][tf.newaxis], row[1][tf.newaxis]),
      (_at_least_one_row(x), _at_least_one_row(y)),
    )
    losses.append(every[:num_examples])
    return tf.reduce_sum(losses[0])

  _, gradient = value_and_gradient(total, weights)
  present = num_examples > 0
  return losses[0], tf.nest.map_structure(
    lambda part: tf.where(present, part, tf.zeros_like(part)), gradient
  )


def value_and_gradient(function: Callable[[], tf.Tensor], weights: Any) -> tuple[tf.Tensor, Any]:
  """Returns the value of `function` and its gradient at `weights` as dense tensors.

  Args:
    function: Reads `weights` and returns a float tensor.
    weights: Structure of float tensors. One that `function` does not read has gradient zero.
  """
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(weights)
    value = function()
  gradient = tape.gradient(value, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
  return value, tf.nest.map_structure(tf.convert_to_tensor, gradient)


def _at_least_one_row(rows: tf.Tensor) -> tf.Tensor:
  """Appends a row of zeros to an empty batch, which cannot be mapped over."""
  if rows.shape[0]:
    return rows
  num_rows = tf.shape(rows)[0]
  missing = tf.cast(tf.equal(num_rows, 0), tf.int32)
  row_shape = tf.shape(rows)[1:]
  padded = tf.concat([rows, tf.zeros(tf.concat([[missing], row_shape], 0), rows.dtype)], 0)
  return tf.ensure_shape(padded, [None, *rows.shape[1:]])
