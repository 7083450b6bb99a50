"""Averages of chosen rows, summed in float64."""

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks


def weighted_average(
  updates: signatures.Updates, weights: tf.Tensor, *, beside: tf.Tensor | None = None
) -> signatures.Aggregate:
  """Returns the average of the rows whose weight is positive, in proportion to it.

  Rows of weight zero are left out rather than multiplied by zero, so they may hold
  anything. Without a positive weight the average is all zeros.

  Args:
    updates: float32 [n, d].
    weights: float64 [n], nonnegative and finite; [n + 1] with `beside`.
    beside: float32 [d], one more row that is averaged, the last.

  Returns:
    float32 [d].
  """
  rows = tf.where(weights > 0)[:, 0]
  chosen = tf.gather(weights, rows)
  shares = tf.math.divide_no_nan(chosen, tf.reduce_sum(chosen))[tf.newaxis, :]

  def block_average(block: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(tf.gather(block, rows), tf.float64)
    return tf.cast(tf.matmul(shares, wide)[0], tf.float32)

  return column_blocks.map_columns(block_average, updates, beside=beside)
