"""Rows replaced by averages or multiples of rows."""

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks, demands

# Smaller factors are applied in two steps.
_SMALLEST_FACTOR = 1e-30


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

  def mix_finite(block: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.matmul(shares, tf.cast(block, tf.float64)), tf.float32)

  def mix_any(block: tf.Tensor) -> tf.Tensor:
    mixed = mix_finite(tf.where(finite[:, tf.newaxis], block, 0.0))
    return tf.where(spoiled[:, tf.newaxis], float('nan'), mixed)

  num_mixed = tf.shape(shares)[0]
  return tf.cond(
    tf.reduce_all(finite),
    lambda: column_blocks.map_matrix(mix_finite, updates, num_rows=num_mixed),
    lambda: column_blocks.map_matrix(mix_any, updates, num_rows=num_mixed),
  )


def average_rows(updates: signatures.Updates, members: tf.Tensor) -> tf.Tensor:
  """Returns the mean of each group of rows, summed in float64.

  Args:
    updates: float32 [n, d].
    members: bool [m, n], which rows are in which group; each has at least one.

  Returns:
    float32 [m, d]. A group with a NaN or an infinity is all NaN.
  """
  num_groups = tf.shape(members)[0]

  def average(index: tf.Tensor) -> tf.Tensor:
    rows = tf.where(members[index])[:, 0]

    def add(position: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      return position + 1, total + tf.cast(updates[rows[position]], tf.float64)

    first = tf.cast(updates[rows[0]], tf.float64)
    _, total = tf.while_loop(lambda position, _: position < tf.size(rows), add, (1, first))
    mean = total / tf.cast(tf.size(rows), tf.float64)
    # No sum of float32 overflows in float64.
    return tf.cond(
      tf.math.is_finite(tf.reduce_sum(mean)),
      lambda: tf.cast(mean, tf.float32),
      lambda: tf.fill(tf.shape(mean), float('nan')),
    )

  def write(index: tf.Tensor, matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return index + 1, column_blocks.write_row(matrix, average(index), index)

  matrix = column_blocks.unwritten([num_groups, tf.shape(updates)[1]])
  _, matrix = tf.while_loop(lambda index, _: index < num_groups, write, (tf.constant(0), matrix))
  return tf.ensure_shape(matrix, [None, updates.shape[1]])


def scale_rows(updates: signatures.Updates, factors: tf.Tensor) -> tf.Tensor:
  """Returns the rows times `factors`, float64 [n] and at least 0, within 2**-22 of it.

  Rows of factor 1 keep their values. As in any product, entries that are below 2**-126, or
  become so, may turn to zero.
  """

  def times(matrix: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    return matrix * tf.cast(factors, tf.float32)[:, tf.newaxis]

  def in_two_steps() -> tf.Tensor:
    # A float32 has few digits, or none, where it is much smaller.
    is_small = factors < _SMALLEST_FACTOR
    first = tf.where(is_small, tf.constant(_SMALLEST_FACTOR, tf.float64), factors)
    second = tf.where(is_small, factors / _SMALLEST_FACTOR, tf.ones_like(factors))
    return times(times(updates, first), second)

  return tf.cond(
    tf.reduce_any(factors < _SMALLEST_FACTOR), in_two_steps, lambda: times(updates, factors)
  )
