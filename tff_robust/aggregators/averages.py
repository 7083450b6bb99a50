"""Weighted sums and averages of chosen rows, in float64."""

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks


def weighted_sum(
  updates: signatures.Updates, weights: tf.Tensor, *, beside: tf.Tensor | None = None
) -> signatures.Aggregate:
  """Returns the sum of the rows whose weight is positive, each times its weight.

  Rows of weight zero are left out rather than multiplied by zero, so they may hold
  anything. Without a positive weight the sum is all zeros.

  Args:
    updates: float32 [n, d].
    weights: float64 [n], nonnegative and finite; [n + 1] with `beside`.
    beside: float32 [d], one more row that is summed, the last.

  Returns:
    float32 [d].
  """
  rows = tf.where(weights > 0)[:, 0]
  chosen = tf.gather(weights, rows)[tf.newaxis, :]

  def block_sum(block: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(tf.gather(block, rows), tf.float64)
    return tf.cast(tf.matmul(chosen, wide)[0], tf.float32)

  return column_blocks.map_columns(block_sum, updates, beside=beside)


def weighted_average(
  updates: signatures.Updates, weights: tf.Tensor, *, beside: tf.Tensor | None = None
) -> signatures.Aggregate:
  """Returns the average of the rows whose weight is positive, in proportion to it.

  As `weighted_sum` with the weights divided by their sum.

  Args:
    updates: float32 [n, d].
    weights: float64 [n], nonnegative and finite; [n + 1] with `beside`.
    beside: float32 [d], one more row that is averaged, the last.

  Returns:
    float32 [d].
  """
  shares = tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
  return weighted_sum(updates, shares, beside=beside)
