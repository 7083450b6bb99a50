"""Affine layers that are recorded as they are applied, and the gradients of each example in them.

The gradient of an example by the weights of a dense layer is the outer product of what the
layer read and the derivative by what it gave (I. Goodfellow, "Efficient Per-Example Gradient
Computations", 2015, https://arxiv.org/abs/1510.01799); for a convolution it is a sum of such
products over the pixels (G. Rochette, A. Manoel and E. Tramel, 2019,
https://arxiv.org/abs/1912.06015). So one ordinary backward pass and one batched product a
layer give the gradients of all examples, without a loop over them.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import tensorflow as tf


class DenseRows(NamedTuple):
  """Gradients of a dense layer for each example, as factors of outer products.

  Attributes:
    inputs: float32 [m, in], what the layer read.
    errors: float32 [m, out], the derivative by what it gave.
  """

  inputs: tf.Tensor
  errors: tf.Tensor

  def squared_norms(self) -> tf.Tensor:
    """Returns the squared norm of every example's gradient, float32 [m]."""
    # |x e'|^2 + |e|^2, of kernel and bias: the outer product itself is not needed.
    return _squared_sums(self.errors) * (_squared_sums(self.inputs) + 1.0)

  def weighted_sum(self, factors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns sum_i factors[i] gradient_i of kernel and bias."""
    errors = self.errors * factors[:, tf.newaxis]
    return tf.matmul(self.inputs, errors, transpose_a=True), tf.reduce_sum(errors, axis=0)


class ConvolutionRows(NamedTuple):
  """Gradients of a convolution for each example.

  Attributes:
    kernel_rows: For each row of the kernel, float32 [m, columns * in, out].
    biases: float32 [m, out].
    kernel_shape: [rows, columns, in, out].
  """

  kernel_rows: Sequence[tf.Tensor]
  biases: tf.Tensor
  kernel_shape: tf.TensorShape

  def squared_norms(self) -> tf.Tensor:
    """Returns the squared norm of every example's gradient, float32 [m]."""
    return tf.add_n([_squared_sums(part) for part in (*self.kernel_rows, self.biases)])

  def weighted_sum(self, factors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns sum_i factors[i] gradient_i of kernel and bias."""
    *kernel, bias = (
      tf.matmul(factors[tf.newaxis], tf.reshape(part, [-1, part.shape[1:].num_elements()]))[0]
      for part in (*self.kernel_rows, self.biases)
    )
    return tf.reshape(tf.concat(kernel, axis=0), self.kernel_shape), bias


Rows: TypeAlias = DenseRows | ConvolutionRows


class AppliedLayer(NamedTuple):
  """A layer, what it read and what it gave.

  Attributes:
    kernel: float32 [in, out] of a dense layer, [rows, columns, in, out] of a convolution.
    bias: float32 [out].
    inputs: float32 [m, ..., in].
    outputs: float32 [m, ..., out], before any activation.
  """

  kernel: tf.Tensor
  bias: tf.Tensor
  inputs: tf.Tensor
  outputs: tf.Tensor

  def rows(self, errors: tf.Tensor, num_examples: tf.Tensor) -> Rows:
    """Returns the gradients of the first examples.

    Args:
      errors: Derivative of the loss by `outputs`, of their shape.
      num_examples: int32 [], how many examples there are; later ones stood in for none.
    """
    inputs, errors = self.inputs[:num_examples], errors[:num_examples]
    if self.kernel.shape.rank == 2:
      return DenseRows(inputs, errors)
    shape = self.kernel.shape
    kernel_rows = _kernel_gradients(inputs, errors, shape[0], shape[1])
    return ConvolutionRows(kernel_rows, tf.reduce_sum(errors, axis=[1, 2]), shape)


class Layers:
  """Applies affine layers, and remembers them in `applied`."""

  def __init__(self) -> None:
    self.applied: list[AppliedLayer] = []

  def conv2d(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns the 'same' convolution of stride 1, plus bias.

    Args:
      x: float32 [m, height, width, in]; all but m are known statically.
      kernel: float32 [rows, columns, in, out].
      bias: float32 [out].
    """
    return self._remember(kernel, bias, x, tf.nn.conv2d(x, kernel, strides=1, padding='SAME'))

  def dense(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns float32 [m, out]: x [m, in] times kernel [in, out], plus bias [out]."""
    return self._remember(kernel, bias, x, tf.matmul(x, kernel))

  def _remember(
    self, kernel: tf.Tensor, bias: tf.Tensor, inputs: tf.Tensor, products: tf.Tensor
  ) -> tf.Tensor:
    outputs = tf.nn.bias_add(products, bias)
    self.applied.append(AppliedLayer(kernel, bias, inputs, outputs))
    return outputs


def _kernel_gradients(
  inputs: tf.Tensor, errors: tf.Tensor, rows: int, columns: int
) -> list[tf.Tensor]:
  """Returns float32 [m, columns * in, out] for each kernel row, in one batched product each.

  Shifted copies along the columns of the image lie side by side as channels, so that one
  product serves a whole kernel row. With TensorFlow's patches, one product would do, but on
  CPUs these are slower to make, and they are three times as large.
  """
  height, width, channels = inputs.shape[1:]
  units = errors.shape[-1]
  frame = [[0, 0], *([(size - 1) // 2, size // 2] for size in (rows, columns)), [0, 0]]
  framed = tf.pad(inputs, frame)
  wide = tf.concat([framed[:, :, j : j + width] for j in range(columns)], axis=3)
  flat_errors = tf.reshape(errors, [-1, height * width, units])
  return [
    tf.matmul(
      tf.reshape(wide[:, i : i + height], [-1, height * width, columns * channels]),
      flat_errors,
      transpose_a=True,
    )
    for i in range(rows)
  ]


def _squared_sums(rows: tf.Tensor) -> tf.Tensor:
  """float32 [m, ...] -> [m]: sum of squares of each row."""
  # The norm takes one pass, without the squares in memory.
  return tf.square(tf.math.reduce_euclidean_norm(rows, axis=list(range(1, rows.shape.rank))))
