"""A row of a matrix, in the place of a tensor of its own, and where such a row comes from."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tff_robust.aggregators import column_blocks


class RowResult(NamedTuple):
  """Where in the result of a client's function a row is.

  Attributes:
    position: Which of the result's tensors it is, depth first.
    width: Its coordinates, d.
  """

  position: int
  width: int


@dataclasses.dataclass(frozen=True)
class RowPlace:
  """One row of a matrix that is written row by row, in any order.

  Attributes:
    matrix: float32 [n, d].
    index: Which row.
  """

  matrix: tf.Tensor
  index: int

  def read(self) -> tf.Tensor:
    """Returns the row, float32 [d]; it must have been written."""
    with tf.device(self.matrix.device):
      return self.matrix[self.index]


def read(value: Any) -> Any:
  """Returns the row of a `RowPlace`, and anything else as it is."""
  return value.read() if isinstance(value, RowPlace) else value


def stack(rows: Sequence[Any]) -> tf.Tensor:
  """Returns rows as float32 [n, d]; without a copy if they are all the rows of one matrix.

  Args:
    rows: Tensors float32 [d] or `RowPlace`s, at least one.
  """
  first = rows[0]
  if isinstance(first, RowPlace) and first.matrix.shape[0] == len(rows):
    are_all = all(
      isinstance(row, RowPlace) and row.matrix is first.matrix and row.index == position
      for position, row in enumerate(rows)
    )
    if are_all:
      return first.matrix
  tensors = [read(row) for row in rows]
  return _written_side_by_side(tensors) if tf.is_symbolic_tensor(tensors[0]) else tf.stack(tensors)


def _written_side_by_side(rows: Sequence[tf.Tensor]) -> tf.Tensor:
  """Returns rows as a matrix in a graph, where each is copied as soon as it is there.

  A stack would wait for all of them, and then copy them on one core.
  """
  matrix = column_blocks.unwritten(tf.concat([[len(rows)], tf.shape(rows[0])], axis=0))
  written = [column_blocks.write_row(matrix, row, tf.constant(i)) for i, row in enumerate(rows)]
  with tf.control_dependencies(written):
    return tf.identity(matrix)
