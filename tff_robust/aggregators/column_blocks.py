"""Work on wide matrices a block of columns at a time.

Updates have few rows and many columns. Everything that needs float64, or a sorted
copy, takes one block of columns after another, so that its temporaries stay small
beside the stack of updates itself.
"""

from collections.abc import Callable

import tensorflow as tf

from tff_robust import signatures

COLUMNS_PER_BLOCK = 16_384


def _num_columns(updates: signatures.Updates) -> tf.Tensor:
  return tf.shape(updates)[1]


def _fits_one_block(updates: signatures.Updates, columns_per_block: int) -> bool:
  width = updates.shape[1]
  return width is not None and width <= columns_per_block


def total(
  block_fn: Callable[[tf.Tensor], tf.Tensor],
  updates: signatures.Updates,
  *,
  initial: tf.Tensor,
  columns_per_block: int = COLUMNS_PER_BLOCK,
) -> tf.Tensor:
  """Returns `initial` plus the sum of `block_fn` over blocks of columns.

  Args:
    block_fn: `float32 [n, width] -> tensor` of the dtype and shape of `initial`.
    updates: float32 [n, d].
    initial: What an empty sum is.
    columns_per_block: The largest width that `block_fn` is given.

  Returns:
    A tensor like `initial`.
  """
  if _fits_one_block(updates, columns_per_block):
    return initial + block_fn(updates)

  def add_block(start: tf.Tensor, partial: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    stop = start + columns_per_block
    block = block_fn(updates[:, start:stop])
    return stop, tf.ensure_shape(partial + block, initial.shape)

  _, result = tf.while_loop(
    lambda start, _: start < _num_columns(updates),
    add_block,
    (tf.constant(0), initial),
    parallel_iterations=1,
  )
  return result


def map_columns(
  block_fn: Callable[[tf.Tensor], tf.Tensor],
  updates: signatures.Updates,
  *,
  columns_per_block: int = COLUMNS_PER_BLOCK,
  parallel_blocks: int = 2,
) -> tf.Tensor:
  """Returns the concatenation of `block_fn` over blocks of columns.

  Args:
    block_fn: `float32 [n, width] -> float32 [width]`.
    updates: float32 [n, d].
    columns_per_block: The largest width that `block_fn` is given.
    parallel_blocks: How many blocks a graph may have in flight at once.

  Returns:
    float32 [d].
  """
  if _fits_one_block(updates, columns_per_block):
    return block_fn(updates)
  num_blocks = (_num_columns(updates) + columns_per_block - 1) // columns_per_block

  def write_block(index: tf.Tensor, blocks: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
    start = index * columns_per_block
    block = block_fn(updates[:, start : start + columns_per_block])
    return index + 1, blocks.write(index, block)

  _, blocks = tf.while_loop(
    lambda index, _: index < num_blocks,
    write_block,
    (
      tf.constant(0),
      tf.TensorArray(tf.float32, size=num_blocks, infer_shape=False, element_shape=[None]),
    ),
    parallel_iterations=parallel_blocks,
  )
  return tf.ensure_shape(blocks.concat(), [updates.shape[1]])


def map_matrix(
  block_fn: Callable[[tf.Tensor], tf.Tensor],
  updates: signatures.Updates,
  *,
  columns_per_block: int = COLUMNS_PER_BLOCK,
) -> tf.Tensor:
  """Returns the concatenation, along columns, of `block_fn` over blocks of columns.

  Args:
    block_fn: `float32 [n, width] -> float32 [m, width]`.
    updates: float32 [n, d].
    columns_per_block: The largest width that `block_fn` is given.

  Returns:
    float32 [m, d].
  """
  if _fits_one_block(updates, columns_per_block):
    return block_fn(updates)
  num_blocks = (_num_columns(updates) + columns_per_block - 1) // columns_per_block

  def write_block(index: tf.Tensor, blocks: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
    start = index * columns_per_block
    block = block_fn(updates[:, start : start + columns_per_block])
    return index + 1, blocks.write(index, tf.transpose(block))

  blocks = tf.TensorArray(
    tf.float32, size=num_blocks, infer_shape=False, element_shape=[None, None]
  )
  _, blocks = tf.while_loop(
    lambda index, _: index < num_blocks, write_block, (tf.constant(0), blocks)
  )
  return tf.ensure_shape(tf.transpose(blocks.concat()), [None, updates.shape[1]])
