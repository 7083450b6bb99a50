"""Bulyan on Krum: select with Krum again and again, then average around the median.

El Mahdi El Mhamdi, Rachid Guerraoui, Sebastien Rouault, "The Hidden Vulnerability of
Distributed Learning in Byzantium", ICML 2018, section 4.
https://proceedings.mlr.press/v80/mhamdi18a.html
"""

import numpy as np
import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import (
  demands,
  distances,
  finite_rows,
  krum,
  order_statistics,
  rule,
)

_INFINITY = np.float64('inf')


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which Bulyan is defined, 4f + 3."""
  return 4 * max_byzantine + 3


def _iterated_krum(
  squared_distances: tf.Tensor, max_byzantine: tf.Tensor, num_selected: tf.Tensor
) -> tf.Tensor:
  """Returns bool [n]: rows won by Krum on the remaining rows, one after another.

  Among r remaining rows, a score sums the r - f - 2 smallest distances to other
  remaining rows (none, when that is not positive).
  """
  num_rows = tf.shape(squared_distances)[0]
  others = tf.linalg.set_diag(squared_distances, tf.fill([num_rows], _INFINITY))

  def select(step: tf.Tensor, selected: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    reachable = tf.where(selected[tf.newaxis, :], _INFINITY, others)
    num_neighbours = tf.maximum(num_rows - step - max_byzantine - 2, 0)
    scores = krum.neighbour_sums(
      tf.linalg.set_diag(reachable, tf.zeros([num_rows], tf.float64)), num_neighbours
    )
    winner = tf.argmin(tf.where(selected, _INFINITY, scores), output_type=tf.int32)
    return step + 1, selected | tf.equal(tf.range(num_rows), winner)

  _, selected = tf.while_loop(
    lambda step, _: step < num_selected,
    select,
    (tf.constant(0), tf.fill([num_rows], False)),
    shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
  )
  return selected


def _bulyan(updates: signatures.Updates, max_byzantine: int) -> finite_rows.Outcome:
  updates = demands.enough_clients(
    updates,
    rule='bulyan',
    max_byzantine=max_byzantine,
    required=required_clients,
  )

  def of_finite(kept: tf.Tensor, remaining: tf.Tensor) -> finite_rows.Outcome:
    num_selected = tf.shape(kept)[0] - 2 * remaining
    selected = _iterated_krum(distances.squared_distances(kept), remaining, num_selected)
    rows = tf.where(selected)[:, 0]

    def of_ranks(ranks: order_statistics.Ranks) -> tf.Tensor:
      return ranks.mean_around(ranks.median(), num_selected - 2 * remaining)

    # A row that is dropped takes one from f, and so adds one to the rows that are selected.
    num_rows = updates.shape[0]
    most_rows = None if num_rows is None else num_rows - max_byzantine
    aggregate = order_statistics.map_columns(of_ranks, kept, rows=rows, most_rows=most_rows)
    return aggregate, {'selected': selected}

  return finite_rows.aggregate(updates, of_finite, max_byzantine=max_byzantine)


def bulyan(updates: signatures.Updates, *, max_byzantine: int) -> signatures.Aggregate:
  """The mean around the median of the rows that Krum selects one after another.

  n - 2f times, Krum selects among the rows not yet selected, by the same distances but
  with as many fewer neighbours as rows are gone. Then, in each coordinate, the n - 4f
  selected values closest to the selected rows' median are averaged. A row is selected
  once. Ties in Krum go to the smallest row index; values equally far from the median
  that compete for the last places share them equally, which the paper leaves open.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 4f + 3.

  Returns:
    float32 [d]; all zeros if more than f rows hold a NaN or an infinity. Up to f such
    rows are dropped, and f is lowered by their number.

  Guarantees:
    In each coordinate the aggregate is as close to an honest value as a median of
    selected rows: a single coordinate cannot be moved far, as it can be with Krum.

  Raises:
    ValueError: If n is known while tracing and n < 4f + 3.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  return _bulyan(updates, max_byzantine)[0]


def build_bulyan(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns the rule `bulyan`, which also measures `selected`.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  return finite_rows.build_rule('bulyan', lambda updates, seed: _bulyan(updates, max_byzantine))
