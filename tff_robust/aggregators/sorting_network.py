"""Sorts many columns at once by comparing whole rows, in an order that no value changes.

K. E. Batcher, "Sorting networks and their applications", AFIPS 1968: the odd-even merge
sort, for any number of rows. https://doi.org/10.1145/1468075.1468121

A comparison is an elementwise minimum and maximum of two rows, which a processor does for
many columns in one instruction, where a selection in each column alone compares one number
after another.
"""

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

# A network of more rows calls one function for both halves, which keeps graphs small.
_MOST_IN_ONE_GRAPH = 25


def sort(rows: Sequence[tf.Tensor]) -> list[tf.Tensor]:
  """Returns rows of the same shape in which each column ascends.

  Args:
    rows: float32 [width] each, without NaN; infinities are allowed.
  """
  half = len(rows) // 2
  if not half:
    return list(rows)
  sort_half = sort if len(rows) <= _MOST_IN_ONE_GRAPH else _as_function
  return _merge(sort_half(rows[:half]), sort_half(rows[half:]))


def _as_function(rows: Sequence[tf.Tensor]) -> list[tf.Tensor]:
  return list(_sort_function(len(rows))(*rows))


@functools.cache
def _sort_function(size: int) -> Any:
  return tf.function(
    lambda *rows: sort(rows),
    autograph=False,
    input_signature=[tf.TensorSpec([None])] * size,
    experimental_attributes={'_noinline': True},
  )


def _merge(first: list[tf.Tensor], second: list[tf.Tensor]) -> list[tf.Tensor]:
  """Merges ascending rows: those at even places, those at odd places, then neighbours."""
  if not first or not second:
    return first + second
  if len(first) == len(second) == 1:
    return [tf.minimum(first[0], second[0]), tf.maximum(first[0], second[0])]
  even = _merge(first[::2], second[::2])
  odd = _merge(first[1::2], second[1::2])
  merged = even[:1]
  for low, high in zip(odd, even[1:], strict=False):
    merged += [tf.minimum(low, high), tf.maximum(low, high)]
  return merged + odd[len(even) - 1 :] + even[len(odd) + 1 :]
