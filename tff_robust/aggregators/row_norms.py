"""Euclidean norms of updates, and their distances from a vector."""

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks

# The share of a norm by which `close_norms` may be wrong, on a processor.
CLOSE = 2.0**-16
# Squares of entries below 2**-63 may be flushed to zero. Where the root of the mean square is above
# this figure, they are less than 2**-20 of it.
_SMALLEST_FAST = 2.0**-53


def norms(updates: signatures.Updates, *, centre: tf.Tensor | None = None) -> tf.Tensor:
  """Returns float64 [n]: the norm of each row, or its distance from `centre`, float [d].

  A row with a NaN or an infinity has a norm that is not finite. Entries below 2**-126 may count
  as zero.
  """
  beside = None if centre is None else tf.cast(centre, tf.float32)

  def block_sums(block: tf.Tensor, *centre_block: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(block, tf.float64)
    for values in centre_block:
      wide -= tf.cast(values, tf.float64)
    return tf.reduce_sum(tf.square(wide), axis=1)

  initial = tf.zeros(tf.shape(updates)[:1], tf.float64)
  return tf.sqrt(column_blocks.total(block_sums, updates, initial=initial, beside=beside))


def close_norms(updates: signatures.Updates, *, centre: tf.Tensor | None = None) -> tf.Tensor:
  """Returns float64 [n]: as `norms`, within 2**-16 of each, in less time.

  Squares are added up in float32: on a processor, at most 8,192 of them as 256 additions of 32
  numbers, and these sums in pairs. By that a norm is wrong by 2**-16 at most, and mostly by
  2**-22. Where a row begins in memory has a part in it: even equal rows may differ by as much.
  Norms whose squares float32 does not hold are taken in float64, row by row. For what does not
  jump where two norms are nearly alike.
  """

  def in_float32(rows: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.raw_ops.EuclideanNorm(input=rows, axis=[1]), tf.float64)

  if centre is None:
    lengths = in_float32(updates)
  else:
    squares = column_blocks.total(
      lambda block, values: tf.square(in_float32(block - values)),
      updates,
      initial=tf.zeros(tf.shape(updates)[:1], tf.float64),
      beside=tf.cast(centre, tf.float32),
    )
    lengths = tf.sqrt(squares)
  width = tf.cast(tf.shape(updates)[1], tf.float64)
  certain = tf.math.is_finite(lengths) & (lengths >= _SMALLEST_FAST * tf.sqrt(width))
  rows = tf.where(~certain)

  def settled() -> tf.Tensor:
    # One by one: together they would be copied.
    measured = tf.map_fn(
      lambda row: norms(updates[row][tf.newaxis], centre=centre)[0],
      rows[:, 0],
      fn_output_signature=tf.float64,
      parallel_iterations=1,
    )
    return tf.tensor_scatter_nd_update(lengths, rows, measured)

  return tf.cond(tf.reduce_all(certain), lambda: lengths, settled)
