"""All subsets of a given size, by number, in lexicographic order."""

from typing import Any

import tensorflow as tf


def binomials(size: Any) -> tf.Tensor:
  """Returns float64 [size + 1, size + 1]: Pascal's triangle, `[n, k]` being n over k.

  Exact up to 2**53; beyond, large values are only near.
  """
  size = tf.convert_to_tensor(size, tf.int32)
  first = tf.one_hot(0, size + 1, dtype=tf.float64)

  def next_row(
    index: tf.Tensor, row: tf.Tensor, rows: tf.TensorArray
  ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
    return index + 1, row + tf.concat([[0.0], row[:-1]], axis=0), rows.write(index, row)

  rows = tf.TensorArray(tf.float64, size=size + 1, element_shape=[None])
  _, _, rows = tf.while_loop(
    lambda index, row, rows: index <= size,
    next_row,
    (tf.constant(0), first, rows),
    shape_invariants=(tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape(None)),
  )
  return rows.stack()


def members(numbers: tf.Tensor, triangle: tf.Tensor, subset_size: tf.Tensor) -> tf.Tensor:
  """Returns bool [b, n]: the members of the subsets with these numbers.

  Subset 0 is the lexicographically first, {0, 1, ..., subset_size - 1}.

  Args:
    numbers: float64 [b], whole numbers below n over subset_size.
    triangle: float64 [n + 1, n + 1], from `binomials(n)`.
    subset_size: int32 [].
  """
  size = tf.shape(triangle)[0] - 1

  def decide(
    index: tf.Tensor, numbers: tf.Tensor, missing: tf.Tensor, chosen: tf.TensorArray
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
    # How many completions begin with this element.
    num_with = tf.gather(triangle[size - index - 1], tf.maximum(missing - 1, 0))
    is_member = (missing > 0) & (numbers < num_with)
    numbers = tf.where((missing > 0) & ~is_member, numbers - num_with, numbers)
    missing -= tf.cast(is_member, tf.int32)
    return index + 1, numbers, missing, chosen.write(index, is_member)

  missing = tf.fill(tf.shape(numbers), subset_size)
  chosen = tf.TensorArray(tf.bool, size=size, element_shape=[None])
  *_, chosen = tf.while_loop(
    lambda index, *_: index < size,
    decide,
    (tf.constant(0), numbers, missing, chosen),
    shape_invariants=(
      tf.TensorShape([]),
      tf.TensorShape([None]),
      tf.TensorShape([None]),
      tf.TensorShape(None),
    ),
  )
  return tf.transpose(chosen.stack())
