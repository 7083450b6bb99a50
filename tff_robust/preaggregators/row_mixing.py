"""Rows replaced by averages of rows, summed in float64."""

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

  return column_blocks.map_matrix(mix_block, updates)


def scale_rows(updates: signatures.Updates, factors: tf.Tensor) -> tf.Tensor:
  """Returns the rows times `factors`, float64 [n]; rows of factor 1 keep every bit."""

  def scale_block(block: tf.Tensor) -> tf.Tensor:
    scaled = tf.cast(tf.cast(block, tf.float64) * factors[:, tf.newaxis], tf.float32)
    return tf.where(tf.equal(factors, 1.0)[:, tf.newaxis], block, scaled)

  return column_blocks.map_matrix(scale_block, updates)
