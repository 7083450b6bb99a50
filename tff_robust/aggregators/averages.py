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
  row_weights = weights if beside is None else weights[:-1]
  rows = tf.where(row_weights > 0)[:, 0]
  chosen = tf.gather(row_weights, rows)[tf.newaxis, :]
  all_chosen = tf.equal(tf.size(rows), tf.size(row_weights))

  def block_sum(block: tf.Tensor, *beside_block: tf.Tensor) -> tf.Tensor:
    kept = tf.cond(all_chosen, lambda: block, lambda: tf.gather(block, rows))
    total = tf.matmul(chosen, tf.cast(kept, tf.float64))[0]
    for values in beside_block:
      total += tf.math.multiply_no_nan(tf.cast(values, tf.float64), weights[-1])
    return tf.cast(total, tf.float32)

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
