"""Rows replaced by averages or multiples of rows."""

from collections.abc import Callable

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks, demands


def mix_rows(updates: signatures.Updates, shares: tf.Tensor) -> tf.Tensor:
  """Returns `shares @ updates`, in which a non-finite row spoils only what it enters.

  Args:
    updates: float32 [n, d].
    shares: float64 [m, n], finite.

  Returns:
    float32 [m, d]. A row with a share in a row with a NaN or an infinity is all NaN.
  """
  finite = demands.finite_rows(updates)
  spoiled = tf.reduce_any(tf.not_equal(shares, 0.0) & ~finite[tf.newaxis, :], axis=1)

  def mix_block(block: tf.Tensor) -> tf.Tensor:
    wide = tf.where(finite[:, tf.newaxis], tf.cast(block, tf.float64), tf.constant(0.0, tf.float64))
    mixed = tf.cast(tf.matmul(shares, wide), tf.float32)
    return tf.where(spoiled[:, tf.newaxis], float('nan'), mixed)

  return column_blocks.map_matrix(mix_block, updates, num_rows=tf.shape(shares)[0])


def average_rows(updates: signatures.Updates, members: tf.Tensor) -> tf.Tensor:
  """Returns the mean of each group of rows, summed in float64.

  Args:
    updates: float32 [n, d].
    members: bool [m, n], which rows are in which group; each has at least one.

  Returns:
    float32 [m, d]. A group with a NaN or an infinity is all NaN.
  """

  def average(index: tf.Tensor) -> tf.Tensor:
    rows = tf.gather(updates, tf.where(members[index])[:, 0])
    mean = tf.reduce_mean(tf.cast(rows, tf.float64), axis=0)
    # No sum of float32 overflows in float64.
    return tf.cond(
      tf.math.is_finite(tf.reduce_sum(mean)),
      lambda: tf.cast(mean, tf.float32),
      lambda: tf.fill(tf.shape(mean), float('nan')),
    )

  return _row_by_row(average, tf.shape(members)[0], updates)


def scale_rows(updates: signatures.Updates, factors: tf.Tensor) -> tf.Tensor:
  """Returns the rows times `factors`, float64 [n], within 2**-23 of it.

  Rows of factor 1 keep every bit; in others, entries below 2**-126 may become zero.
  """

  def scale(index: tf.Tensor) -> tf.Tensor:
    row, factor = updates[index], factors[index]
    # A float32 of few digits, or none, where it is much smaller.
    is_ordinary = tf.abs(factor) > 1e-30
    return tf.case(
      [
        (tf.equal(factor, 1.0), lambda: row),
        (is_ordinary, lambda: row * tf.cast(factor, tf.float32)),
      ],
      default=lambda: tf.cast(tf.cast(row, tf.float64) * factor, tf.float32),
    )

  scaled = _row_by_row(scale, tf.shape(updates)[0], updates)
  return tf.ensure_shape(scaled, updates.shape)


def _row_by_row(
  row_fn: Callable[[tf.Tensor], tf.Tensor], num_rows: tf.Tensor, updates: signatures.Updates
) -> tf.Tensor:
  """Returns what `row_fn` makes of each index, float32 [num_rows, d], beside updates [n, d]."""
  num_columns = tf.shape(updates)[1]

  def write_row(index: tf.Tensor, matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    row = row_fn(index)[tf.newaxis]
    begin, end = [index, 0], [index + 1, num_columns]
    return index + 1, column_blocks.write(matrix, row, begin=begin, end=end)

  matrix = column_blocks.unwritten([num_rows, num_columns])
  _, matrix = tf.while_loop(lambda index, _: index < num_rows, write_row, (tf.constant(0), matrix))
  return tf.ensure_shape(matrix, [None, updates.shape[1]])
