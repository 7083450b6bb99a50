"""Euclidean norms of updates, and updates scaled row by row."""

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks


def norms(updates: signatures.Updates, *, centre: tf.Tensor | None = None) -> tf.Tensor:
  """Returns float64 [n]: the norm of each row, or its distance from `centre`, float [d].

  A row with a NaN or an infinity has a norm that is not finite.
  """
  if centre is not None:
    # The centre rides along as an extra row, to be cut into the same blocks.
    updates = tf.concat([updates, tf.cast(centre, tf.float32)[tf.newaxis]], axis=0)

  def block_sums(block: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(block, tf.float64)
    if centre is not None:
      wide = wide[:-1] - wide[-1:]
    return tf.reduce_sum(tf.square(wide), axis=1)

  num_rows = tf.shape(updates)[0] - (centre is not None)
  return tf.sqrt(column_blocks.total(block_sums, updates, initial=tf.zeros([num_rows], tf.float64)))
