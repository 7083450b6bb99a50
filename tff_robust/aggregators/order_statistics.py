"""Order statistics of each coordinate, without sorting.

A trimmed mean or a mean around a centre needs to know one or two values of a given
rank; a selection finds them several times faster than a sort of all values would.
Functions take one block of updates, transposed: finite `values` [width, n], float32 or
float64, and answer in float64.
"""

from typing import Any

import tensorflow as tf


def columns(block: tf.Tensor) -> tf.Tensor:
  """Returns float32 [n, width] as float32 [width, n]."""
  return tf.transpose(block)


def _nth_smallest(values: tf.Tensor, rank: Any) -> tf.Tensor:
  """Returns [width, 1]: the value of rank 0, 1, ... in each row of `values`."""
  return tf.raw_ops.NthElement(input=values, n=rank)[:, tf.newaxis]


def median(values: tf.Tensor) -> tf.Tensor:
  """Returns float64 [width, 1]: the median, for even n the mean of the two middle values."""
  size = tf.shape(values)[1]
  lower = _nth_smallest(values, (size - 1) // 2)

  def upper() -> tf.Tensor:
    above = tf.reduce_min(
      tf.where(values > lower, values, tf.as_dtype(values.dtype).max), axis=1, keepdims=True
    )
    num_up_to = _count(values <= lower)
    return tf.where(num_up_to > tf.cast(size // 2, tf.float64), lower, above)

  upper_middle = tf.cond(tf.equal(size % 2, 1), lambda: lower, upper)
  return (tf.cast(lower, tf.float64) + tf.cast(upper_middle, tf.float64)) / 2


def trimmed_mean(values: tf.Tensor, num_trimmed: tf.Tensor) -> tf.Tensor:
  """Returns float64 [width, 1]: the mean without the `num_trimmed` values at either end."""
  size = tf.shape(values)[1]
  lowest = _nth_smallest(values, num_trimmed)
  highest = _nth_smallest(values, size - 1 - num_trimmed)
  # Raised to the lowest value that stays, or lowered to the highest, the trimmed values are
  # known, ties or not, and are taken off again.
  clipped = tf.cast(tf.clip_by_value(values, lowest, highest), tf.float64)
  lowest, highest = tf.cast(lowest, tf.float64), tf.cast(highest, tf.float64)
  trimmed = tf.cast(num_trimmed, tf.float64)
  total = tf.reduce_sum(clipped, axis=1, keepdims=True) - trimmed * (lowest + highest)
  mean = total / tf.cast(size - 2 * num_trimmed, tf.float64)
  return tf.where(tf.equal(lowest, highest), lowest, mean)


def mean_around(values: tf.Tensor, centre: tf.Tensor, num_averaged: tf.Tensor) -> tf.Tensor:
  """Returns float64 [width, 1]: the mean of the `num_averaged` values closest to `centre`.

  Values equally far from the centre that compete for the last places share them
  equally, so the order of the values never matters.
  """
  # Offsets from the centre are small where the values themselves are large.
  offsets = tf.cast(values, tf.float64) - centre
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
  return centre + total / places


def _count(mask: tf.Tensor) -> tf.Tensor:
  # Numbers of rows are exact in float32, which is faster to add up.
  count = tf.reduce_sum(tf.cast(mask, tf.float32), axis=1, keepdims=True)
  return tf.cast(count, tf.float64)


def _sum_where(mask: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
  chosen = tf.where(mask, values, tf.zeros_like(values))
  return tf.reduce_sum(tf.cast(chosen, tf.float64), axis=1, keepdims=True)
