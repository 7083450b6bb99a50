"""Order statistics of each coordinate: medians, trimmed means and means around a centre.

Up to a hundred rows are sorted by a network, several times faster than values can be
selected in each coordinate alone, which is what happens to more rows.
"""

from collections.abc import Callable
from typing import Protocol

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks, ranks_by_selection, ranks_by_sorting

# Networks for numbers of rows that are not known while tracing; the last is the largest.
_SIZES = (25, 50, 100)


class Ranks(Protocol):
  """The order statistics of a block of finite updates, float32 [n, width]."""

  def median(self) -> tf.Tensor:
    """Returns float64 [width]: the median, for even n the mean of the two middle values."""

  def trimmed_mean(self, num_trimmed: tf.Tensor) -> tf.Tensor:
    """Returns float64 [width]: the mean without the `num_trimmed` values at either end."""

  def mean_around(self, centre: tf.Tensor, num_averaged: tf.Tensor) -> tf.Tensor:
    """Returns float64 [width]: the mean of the `num_averaged` values closest to `centre`.

    Values equally far from the centre that compete for the last places share them equally,
    so the order of the values never matters.
    """


def map_columns(
  of_ranks: Callable[[Ranks], tf.Tensor],
  updates: signatures.Updates,
  *,
  rows: tf.Tensor | None = None,
  most_rows: int | None = None,
) -> signatures.Aggregate:
  """Returns the concatenation, as float32 [d], of `of_ranks` over blocks of columns.

  Args:
    of_ranks: Order statistics of a block -> float64 [width].
    updates: float32 [n, d], finite.
    rows: int32 [m], which rows count; None for all.
    most_rows: No more rows than this count, as far as that is known while tracing.
  """

  def chosen(block: tf.Tensor) -> tf.Tensor:
    return block if rows is None else tf.gather(block, rows)

  def by_selection() -> tf.Tensor:
    def of_block(block: tf.Tensor) -> tf.Tensor:
      ranks = ranks_by_selection.RanksBySelection(chosen(block))
      return tf.cast(of_ranks(ranks), tf.float32)

    return column_blocks.map_columns(of_block, updates)

  def by_sorting(size: int) -> tf.Tensor:
    def of_block(block: tf.Tensor) -> tf.Tensor:
      ranks = ranks_by_sorting.RanksBySorting(chosen(block), size)
      return tf.cast(of_ranks(ranks), tf.float32)

    return column_blocks.map_columns(
      of_block, updates, columns_per_block=column_blocks.MOST_COLUMNS
    )

  if most_rows is not None:
    return by_sorting(most_rows) if most_rows <= _SIZES[-1] else by_selection()
  num_rows = tf.shape(updates)[0] if rows is None else tf.size(rows)
  branches = [lambda size=size: by_sorting(size) for size in _SIZES]
  too_small = tf.reduce_sum(tf.cast(tf.constant(_SIZES) < num_rows, tf.int32))
  return tf.switch_case(too_small, [*branches, by_selection])
