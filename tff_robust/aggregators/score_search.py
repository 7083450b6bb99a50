"""Krum scores, exact where a choice depends on them, at a fraction of the price of all.

Which rows have the lowest scores is mostly plain from bounds of the distances that one
float32 product gives. Only the rows between which the bounds do not decide are scored in
float64, and with them the two whose scores differ by the gap.
"""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks, distances

# With these, oneDNN and TensorFlow may be allowed float32 products with fewer digits.
_FLOAT32_MODES = ('ONEDNN_DEFAULT_FPMATH_MODE', 'TF_SET_ONEDNN_FPMATH_MODE')

# So may TensorFlow's optimizer, with options of this prefix.
_FEWER_DIGITS = 'auto_mixed_precision'

# All distances of fewer rows, in float64, take no longer than bounds and then a few of them.
_FEWEST_ROWS = 48


def pays(updates: signatures.Updates) -> bool:
  """Tells whether bounds are valid here, where the graph is also run, and worth their price."""
  width = updates.shape[1]
  return (
    width is not None
    and width > column_blocks.UNDIVIDED_COLUMNS
    and not tf.config.get_visible_devices('GPU')
    and all(os.environ.get(mode, 'strict').lower() == 'strict' for mode in _FLOAT32_MODES)
    and not any(
      chosen
      for option, chosen in tf.config.optimizer.get_experimental_options().items()
      if option.startswith(_FEWER_DIGITS)
    )
  )


def _smallest_sums(squared_distances: tf.Tensor, num_neighbours: Any) -> tf.Tensor:
  return tf.reduce_sum(-tf.math.top_k(-squared_distances, k=num_neighbours).values, axis=1)


def _search(
  updates: signatures.Updates, num_neighbours: Any, num_selected: int
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns scores as `lowest_scores` does, and whether that succeeded."""
  num_rows = tf.shape(updates)[0]
  infinity = tf.constant(float('inf'), tf.float64)
  nobody = tf.fill([num_rows], infinity)
  low, high = (
    _smallest_sums(tf.linalg.set_diag(bound, nobody), num_neighbours)
    for bound in distances.bounds(updates)
  )
  valid = tf.reduce_all(tf.math.is_finite(high))
  # The score at the place of the last row selected is not below the first of these, and that
  # of the first row left out is not above the second.
  last_selected = tf.sort(low)[num_selected - 1]
  first_left_out = tf.concat([tf.sort(high), [infinity]], axis=0)[num_selected]
  undecided = (low <= first_left_out) & (high >= last_selected)
  rows = tf.cast(tf.where(undecided)[:, 0], tf.int32)
  few = valid & (tf.size(rows) > 0) & (tf.size(rows) <= 8 + num_rows // 8)

  def settle() -> tuple[tf.Tensor, tf.Tensor]:
    squared, trusted = distances.from_rows(updates, rows)
    exact = _smallest_sums(squared, num_neighbours)
    # Bounds serve for the others: they are on the right side of those.
    outer = tf.where(high < last_selected, high, low)
    return tf.tensor_scatter_nd_update(outer, rows[:, tf.newaxis], exact), trusted

  return tf.cond(few, settle, lambda: (nobody, tf.constant(False)))


def lowest_scores(
  updates: signatures.Updates,
  all_scores: Callable[[], tuple[tf.Tensor, tf.Tensor]],
  *,
  num_neighbours: tf.Tensor,
  num_selected: int,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Scores with which the `num_selected` lowest, and the gap to the next, are the right ones.

  Args:
    updates: float32 [n, d].
    all_scores: Returns the exact scores, float64 [n], and which rows are finite, bool [n];
      called where bounds do not decide: for rows that are identical, not finite, or very large
      or small beside their distances.
    num_neighbours: int32 [], how many of the smallest distances a score sums.
    num_selected: How many rows are chosen, from 1 to n.

  Returns:
    float64 [n], and bool [n], which rows are finite. In ascending order the first
    `num_selected` rows are those of `all_scores`, and the scores at that place and the next
    are as accurate; the others are only bounds.
  """
  if not pays(updates):
    return all_scores()
  num_rows = tf.shape(updates)[0]
  found, succeeded = tf.cond(
    num_rows >= _FEWEST_ROWS,
    lambda: _search(updates, num_neighbours, num_selected),
    lambda: (tf.zeros([num_rows], tf.float64), tf.constant(False)),
  )
  # Bounds decide only where all rows are finite.
  return tf.cond(succeeded, lambda: (found, tf.fill([num_rows], True)), all_scores)
