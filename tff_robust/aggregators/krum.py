"""Krum and Multi-Krum: the updates with the closest neighbours.

Peva Blanchard, El Mahdi El Mhamdi, Rachid Guerraoui, Julien Stainer, "Machine Learning
with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017.
https://papers.nips.cc/paper/2017/hash/f4b9ec30ad9f68f89b29639786cb62ef-Abstract.html
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import averages, demands, distances, rule, score_search


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which Krum is defined, 2f + 3."""
  return 2 * max_byzantine + 3


def without_self(squared_distances: tf.Tensor) -> tf.Tensor:
  """Returns [n, n - 1]: each row's entries for the other rows, by leaving out the diagonal."""
  num_rows = tf.shape(squared_distances)[0]
  shifted = tf.reshape(squared_distances, [-1])[1:]
  return tf.reshape(
    tf.reshape(shifted, [num_rows - 1, num_rows + 1])[:, :-1], [num_rows, num_rows - 1]
  )


def neighbour_sums(squared_distances: tf.Tensor, num_neighbours: Any) -> tf.Tensor:
  """Returns float64 [n]: the sum of each row's smallest distances to other rows.

  Args:
    squared_distances: float64 [n, n].
    num_neighbours: int32 [], how many of the n - 1 others count.
  """
  nearest = -tf.math.top_k(-without_self(squared_distances), k=num_neighbours).values
  return tf.reduce_sum(nearest, axis=1)


def scores(updates: signatures.Updates, *, max_byzantine: int) -> tf.Tensor:
  """Krum scores: squared distances to the n - f - 2 closest other updates, summed.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 3.

  Returns:
    float64 [n]. A row with a NaN or an infinity has score +inf. With f or fewer such
    rows the others' scores are finite, and are those of the same stack without these
    rows and f lowered by their number.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 3.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  updates = demands.enough_clients(
    updates, rule='krum', max_byzantine=max_byzantine, required=required_clients
  )
  return _scores(updates, max_byzantine)[0]


def _scores(updates: tf.Tensor, max_byzantine: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the scores, and which rows are finite."""
  num_neighbours = tf.shape(updates)[0] - max_byzantine - 2
  squared = distances.squared_distances(updates)
  return neighbour_sums(squared, num_neighbours), tf.math.is_finite(tf.linalg.diag_part(squared))


def _require_selectable(updates: tf.Tensor, *, max_byzantine: int, num_selected: int) -> tf.Tensor:
  num_clients = updates.shape[0]
  if num_clients is not None:
    checks.at_most(
      'num_selected', num_selected, num_clients - max_byzantine, 'clients_per_round - max_byzantine'
    )
    return updates
  num_clients = tf.shape(updates)[0]
  message = (
    f'aggregator multi_krum with num_selected={num_selected} and max_byzantine={max_byzantine}'
    f' needs at least {num_selected + max_byzantine} clients a round; lower num_selected.'
    ' Clients of this round:'
  )
  enough = tf.debugging.Assert(num_clients >= num_selected + max_byzantine, [message, num_clients])
  with tf.control_dependencies([enough]):
    return tf.identity(updates)


def _select(
  updates: signatures.Updates, *, name: str, max_byzantine: int, num_selected: int
) -> tuple[signatures.Aggregate, Mapping[str, tf.Tensor]]:
  """Averages the `num_selected` rows of lowest score."""
  updates = demands.enough_clients(
    updates, rule=name, max_byzantine=max_byzantine, required=required_clients
  )
  updates = _require_selectable(updates, max_byzantine=max_byzantine, num_selected=num_selected)
  num_clients = tf.shape(updates)[0]
  krum_scores, finite = score_search.lowest_scores(
    updates,
    lambda: _scores(updates, max_byzantine),
    num_neighbours=num_clients - max_byzantine - 2,
    num_selected=num_selected,
  )
  num_nonfinite = tf.math.count_nonzero(~finite, dtype=tf.int32)
  rejected = num_nonfinite > max_byzantine
  # top_k lists the lower of two equal indices first: the smallest row index wins ties.
  negated, order = tf.math.top_k(-krum_scores, k=num_clients)
  chosen = order[:num_selected]
  selected = tf.scatter_nd(chosen[:, tf.newaxis], tf.ones([num_selected], tf.int32), [num_clients])
  selected = tf.cast(selected, tf.bool) & ~rejected
  best_left_out = tf.concat([-negated, [float('inf')]], 0)[num_selected]
  gap_defined = tf.math.is_finite(best_left_out) & ~rejected
  score_gap = tf.where(gap_defined, best_left_out + negated[num_selected - 1], 0.0)
  if num_selected == 1:
    aggregate = tf.gather(updates, chosen[0])
  else:
    aggregate = averages.weighted_average(updates, tf.cast(selected, tf.float64))
  return tf.where(rejected, 0.0, aggregate), {
    'num_nonfinite': num_nonfinite,
    'round_rejected': rejected,
    'selected': selected,
    'score_gap': score_gap,
  }


def krum(updates: signatures.Updates, *, max_byzantine: int) -> signatures.Aggregate:
  """The update whose n - f - 2 closest other updates are closest, in squared distance.

  Ties go to the smallest row index. A row with a NaN or an infinity is infinitely far
  from all others and is never chosen; with more than f of them the aggregate is all
  zeros. The weights of clients play no part.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 3.

  Returns:
    float32 [d], one row of `updates`, bit for bit.

  Guarantees:
    For independent, identically distributed honest rows with mean g and variance s**2
    in each coordinate, (alpha, f)-Byzantine resilience if eta(n, f) sqrt(d) s < |g|,
    with eta**2 = 2 (n - f + (f (n - f - 2) + f**2 (n - f - 1)) / (n - 2f - 2)): proposition 1
    of the paper. Nothing is promised beyond that condition: an attacker close to the centre
    of widely spread honest rows is chosen.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 3.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  return _select(updates, name='krum', max_byzantine=max_byzantine, num_selected=1)[0]


def multi_krum(
  updates: signatures.Updates, *, max_byzantine: int, num_selected: int
) -> signatures.Aggregate:
  """The average of the updates with the `num_selected` lowest Krum scores.

  Scores are computed once, as in the paper; nothing is scored again after a selection.
  `num_selected=1` is Krum.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 3.
    num_selected: How many rows are averaged, from 1 to n - f.

  Returns:
    float32 [d], summed in float64.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 3 or num_selected > n - f.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  checks.whole_at_least('num_selected', num_selected, 1)
  return _select(
    updates, name='multi_krum', max_byzantine=max_byzantine, num_selected=num_selected
  )[0]


def build_multi_krum(*, max_byzantine: int, num_selected: int) -> rule.AggregationRule:
  """Returns the rule `multi_krum`, which also measures `selected` and `score_gap`.

  `score_gap` is 0 where no finite score was left out.

  Raises:
    ValueError: If f is not a whole number of at least 0, or `num_selected` not one of at least 1.
  """
  checks.whole_at_least('num_selected', num_selected, 1)
  return _build('multi_krum', max_byzantine=max_byzantine, num_selected=num_selected)


def build_krum(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns the rule `krum`, which also measures `selected` and `score_gap`.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  return _build('krum', max_byzantine=max_byzantine, num_selected=1)


def _build(name: str, *, max_byzantine: int, num_selected: int) -> rule.AggregationRule:
  checks.whole_at_least('max_byzantine', max_byzantine, 0)

  def apply(
    state: Any, updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> rule.RuleOutput:
    del weights, seed  # Krum reads neither.
    aggregate, measurements = _select(
      updates, name=name, max_byzantine=max_byzantine, num_selected=num_selected
    )
    return rule.RuleOutput(state, aggregate, measurements)

  return rule.AggregationRule(name, lambda dimension: (), apply)
