"""Affine layers that are recorded as they are applied, and the gradients of each example in them.

The gradient of an example by the weights of a dense layer is the outer product of what the
layer read and the derivative by what it gave (I. Goodfellow, "Efficient Per-Example Gradient
Computations", 2015, https://arxiv.org/abs/1510.01799); for a convolution it is a sum of such
products over the pixels (G. Rochette, A. Manoel and E. Tramel, 2019,
https://arxiv.org/abs/1912.06015). So one ordinary backward pass and one batched product a
layer give the gradients of all examples, without a loop over them.
"""

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
    kernels: float32 [m, rows, columns, in, out].
    biases: float32 [m, out].
  """

  kernels: tf.Tensor
  biases: tf.Tensor

  def squared_norms(self) -> tf.Tensor:
    """Returns the squared norm of every example's gradient, float32 [m]."""
    return _squared_sums(self.kernels) + _squared_sums(self.biases)

  def weighted_sum(self, factors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns sum_i factors[i] gradient_i of kernel and bias."""
    kernel, bias = (
      tf.matmul(factors[tf.newaxis], tf.reshape(part, [-1, part.shape[1:].num_elements()]))
      for part in self
    )
    return tf.reshape(kernel, self.kernels.shape[1:]), bias[0]


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
    kernels = _kernel_gradients(inputs, errors, self.kernel.shape[0], self.kernel.shape[1])
    return ConvolutionRows(kernels, tf.reduce_sum(errors, axis=[1, 2]))


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


def _kernel_gradients(inputs: tf.Tensor, errors: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
  """Returns float32 [m, rows, columns, in, out], in one batched product for each kernel row.

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
  products = [
    tf.matmul(
      tf.reshape(wide[:, i : i + height], [-1, height * width, columns * channels]),
      flat_errors,
      transpose_a=True,
    )
    for i in range(rows)
  ]
  return tf.reshape(tf.stack(products, axis=1), [-1, rows, columns, channels, units])


def _squared_sums(rows: tf.Tensor) -> tf.Tensor:
  """float32 [m, ...] -> [m]: sum of squares of each row."""
  return tf.reduce_sum(tf.square(rows), axis=list(range(1, rows.shape.rank)))
