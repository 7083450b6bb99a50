"""Work on wide matrices a block of columns at a time.

Updates have few rows and many columns. Everything that needs float64, or a sorted
copy, takes one block of columns after another, so that its temporaries stay small
beside the stack of updates itself.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tff_robust import processor, signatures

# A block has so many entries, which in float64 with a copy or two stay in a core's cache; fewer
# columns than the first figure are slow to take out of a row, more than the second gain nothing.
# Blocks, but for the last, are multiples of the first.
_ENTRIES_PER_BLOCK = 400_000
FEWEST_COLUMNS = 512
MOST_COLUMNS = 16_384
# Matrices that are no wider are one block.
UNDIVIDED_COLUMNS = 4_096
# How many blocks a graph may have in flight at once: an operation on one block does not
# keep all cores busy. Sums are added in order, and do not depend on it.
PARALLEL_BLOCKS = min(max(processor.num_cores(), 4), 16)


def _num_columns(updates: signatures.Updates) -> tf.Tensor:
  return tf.shape(updates)[1]


def _fits_one_block(updates: signatures.Updates, columns_per_block: int | None) -> bool:
  width = updates.shape[1]
  return width is not None and width <= (columns_per_block or UNDIVIDED_COLUMNS)


def _width(
  updates: signatures.Updates,
  columns_per_block: int | None,
  entries_per_block: int = _ENTRIES_PER_BLOCK,
) -> tf.Tensor:
  """Returns int32 []: `columns_per_block`, or what suits the number of rows."""
  if columns_per_block is not None:
    return tf.constant(columns_per_block)
  num_rows = tf.maximum(tf.shape(updates)[0], 1)
  fitting = entries_per_block // num_rows // FEWEST_COLUMNS * FEWEST_COLUMNS
  return tf.clip_by_value(fitting, FEWEST_COLUMNS, MOST_COLUMNS)


def _whole(updates: signatures.Updates, beside: tf.Tensor | None) -> tuple[tf.Tensor, ...]:
  return (updates,) if beside is None else (updates, beside)


def _block(
  updates: signatures.Updates, beside: tf.Tensor | None, start: tf.Tensor, width: tf.Tensor
) -> tuple[tf.Tensor, ...]:
  stop = start + width
  return _whole(updates[:, start:stop], None if beside is None else beside[start:stop])


def total(
  block_fn: Callable[..., tf.Tensor],
  updates: signatures.Updates,
  *,
  initial: tf.Tensor,
  beside: tf.Tensor | None = None,
  columns_per_block: int | None = None,
  entries_per_block: int = _ENTRIES_PER_BLOCK,
) -> tf.Tensor:
  """Returns `initial` plus the sum of `block_fn` over blocks of columns.

  Args:
    block_fn: `float32 [n, width] -> tensor` of the dtype and shape of `initial`.
    updates: float32 [n, d].
    initial: What an empty sum is.
    beside: float32 [d], of which `block_fn` is then given the same columns, [width].
    columns_per_block: The largest width that `block_fn` is given; None for one that suits the
      number of rows.
    entries_per_block: How many entries a block then has, in no more than `MOST_COLUMNS`.

  Returns:
    A tensor like `initial`.
  """
  if _fits_one_block(updates, columns_per_block):
    return tf.ensure_shape(initial + block_fn(*_whole(updates, beside)), initial.shape)

  width = _width(updates, columns_per_block, entries_per_block)

  def add_block(start: tf.Tensor, partial: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    block = block_fn(*_block(updates, beside, start, width))
    return start + width, tf.ensure_shape(partial + block, initial.shape)

  _, result = tf.while_loop(
    lambda start, _: start < _num_columns(updates),
    add_block,
    (tf.constant(0), initial),
    parallel_iterations=PARALLEL_BLOCKS,
  )
  return result


def map_columns(
  block_fn: Callable[..., tf.Tensor],
  updates: signatures.Updates,
  *,
  beside: tf.Tensor | None = None,
  columns_per_block: int | None = None,
) -> tf.Tensor:
  """Returns the concatenation of `block_fn` over blocks of columns.

  Args:
    block_fn: `float32 [n, width] -> float32 [width]`.
    updates: float32 [n, d].
    beside: float32 [d], of which `block_fn` is then given the same columns, [width].
    columns_per_block: The largest width that `block_fn` is given; None for one that suits the
      number of rows.

  Returns:
    float32 [d].
  """
  if _fits_one_block(updates, columns_per_block):
    return block_fn(*_whole(updates, beside))
  width = _width(updates, columns_per_block)
  num_blocks = (_num_columns(updates) + width - 1) // width

  def write_block(index: tf.Tensor, blocks: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
    block = block_fn(*_block(updates, beside, index * width, width))
    return index + 1, blocks.write(index, block)

  _, blocks = tf.while_loop(
    lambda index, _: index < num_blocks,
    write_block,
    (
      tf.constant(0),
      tf.TensorArray(tf.float32, size=num_blocks, infer_shape=False, element_shape=[None]),
    ),
    parallel_iterations=PARALLEL_BLOCKS,
  )
  return tf.ensure_shape(blocks.concat(), [updates.shape[1]])


def map_matrix(
  block_fn: Callable[[tf.Tensor], tf.Tensor],
  updates: signatures.Updates,
  *,
  num_rows: Any,
  columns_per_block: int | None = None,
) -> tf.Tensor:
  """Returns the concatenation, along columns, of `block_fn` over blocks of columns.

  Each block is written to its place in the result, which is all the memory that it takes.

  Args:
    block_fn: `float32 [n, width] -> float32 [m, width]`.
    updates: float32 [n, d].
    num_rows: m, an int or int32 [].
    columns_per_block: The largest width that `block_fn` is given; None for one that suits the
      number of rows.

  Returns:
    float32 [m, d].
  """
  if _fits_one_block(updates, columns_per_block):
    return block_fn(updates)
  num_columns, width = _num_columns(updates), _width(updates, columns_per_block)

  def write_block(start: tf.Tensor, matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    stop = tf.minimum(start + width, num_columns)
    block = block_fn(updates[:, start:stop])
    # In place, since nothing else holds the matrix.
    return stop, tf.raw_ops.TensorStridedSliceUpdate(
      input=matrix, begin=[0, start], end=[num_rows, stop], strides=[1, 1], value=block
    )

  matrix = unwritten([num_rows, num_columns])
  _, matrix = tf.while_loop(
    lambda start, _: start < num_columns,
    write_block,
    (tf.constant(0), matrix),
    parallel_iterations=PARALLEL_BLOCKS,
  )
  return tf.ensure_shape(matrix, [None, updates.shape[1]])


def unwritten(shape: Any) -> tf.Tensor:
  """Returns a float32 tensor that occupies memory where it is written, and holds anything."""
  return tf.raw_ops.Empty(shape=shape, dtype=tf.float32, init=False)


def write_row(matrix: tf.Tensor, row: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
  """Returns `matrix` with `row` at an index, in place: nothing else may hold `matrix`."""
  return tf.raw_ops.InplaceUpdate(x=matrix, i=index[tf.newaxis], v=row[tf.newaxis])
