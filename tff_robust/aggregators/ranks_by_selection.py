"""Order statistics of each coordinate, selected without sorting.

A trimmed mean or a mean around a centre needs to know one or two values of a given
rank; a selection finds them several times faster than a sort of each coordinate would.
"""

from typing import Any

import tensorflow as tf


class RanksBySelection:
  """The order statistics of a block of updates; see `order_statistics.Ranks`."""

  def __init__(self, block: tf.Tensor) -> None:
    """Turns a block on its side.

    Args:
      block: float32 or float64 [n, width], finite.
    """
    self._values = tf.transpose(block)
    self._num_rows = tf.shape(self._values)[1]

  def median(self) -> tf.Tensor:
    """Returns float64 [width]: the median, for even n the mean of the two middle values."""
    values, size = self._values, self._num_rows
    lower = _nth_smallest(values, (size - 1) // 2)

    def upper() -> tf.Tensor:
      above = tf.reduce_min(
        tf.where(values > lower, values, tf.as_dtype(values.dtype).max), axis=1, keepdims=True
      )
      num_up_to = _count(values <= lower)
      return tf.where(num_up_to > tf.cast(size // 2, tf.float64), lower, above)

    upper_middle = tf.cond(tf.equal(size % 2, 1), lambda: lower, upper)
    return (tf.cast(lower, tf.float64) + tf.cast(upper_middle, tf.float64))[:, 0] / 2

  def trimmed_mean(self, num_trimmed: Any) -> tf.Tensor:
    """Returns float64 [width]: the mean without the `num_trimmed` values at either end."""
    values, size = self._values, self._num_rows
    lowest = _nth_smallest(values, num_trimmed)
    highest = _nth_smallest(values, size - 1 - num_trimmed)
    # Raised to the lowest value that stays, or lowered to the highest, the trimmed values are
    # known, ties or not, and are taken off again.
    clipped = tf.cast(tf.clip_by_value(values, lowest, highest), tf.float64)
    lowest, highest = tf.cast(lowest, tf.float64), tf.cast(highest, tf.float64)
    trimmed = tf.cast(num_trimmed, tf.float64)
    total = tf.reduce_sum(clipped, axis=1, keepdims=True) - trimmed * (lowest + highest)
    mean = total / tf.cast(size - 2 * num_trimmed, tf.float64)
    return tf.where(tf.equal(lowest, highest), lowest, mean)[:, 0]

  def mean_around(self, centre: tf.Tensor, num_averaged: Any) -> tf.Tensor:
    """Returns float64 [width]: the mean of the `num_averaged` values closest to `centre`.

    Values equally far from the centre that compete for the last places share them
    equally, so the order of the values never matters.

    Args:
      centre: float64 [width].
      num_averaged: int32 [].
    """
    # Offsets from the centre are small where the values themselves are large.
    offsets = tf.cast(self._values, tf.float64) - centre[:, tf.newaxis]
    distances = tf.abs(offsets)
    reach = _nth_smallest(distances, num_averaged - 1)
    places = tf.cast(num_averaged, tf.float64)
    nearest = distances <= reach

    def shared() -> tf.Tensor:
      inside, at_reach = distances < reach, tf.equal(distances, reach)
      share = (places - _count(inside)) / _count(at_reach)
      return _sum_where(inside, offsets) + share * _sum_where(at_reach, offsets)

    # Mostly there are no ties for the last places.
    total = tf.cond(
      tf.reduce_all(tf.equal(_count(nearest), places)),
      lambda: _sum_where(nearest, offsets),
      shared,
    )
    return centre + total[:, 0] / places


def _nth_smallest(values: tf.Tensor, rank: Any) -> tf.Tensor:
  """Returns [width, 1]: the value of rank 0, 1, ... in each row of `values`."""
  return tf.raw_ops.NthElement(input=values, n=rank)[:, tf.newaxis]


def _count(mask: tf.Tensor) -> tf.Tensor:
  # Numbers of rows are exact in float32, which is faster to add up.
  count = tf.reduce_sum(tf.cast(mask, tf.float32), axis=1, keepdims=True)
  return tf.cast(count, tf.float64)


def _sum_where(mask: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
  chosen = tf.where(mask, values, tf.zeros_like(values))
  return tf.reduce_sum(tf.cast(chosen, tf.float64), axis=1, keepdims=True)
