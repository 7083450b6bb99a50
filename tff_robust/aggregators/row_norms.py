"""Euclidean norms of updates, and their distances from a vector."""

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks


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
