"""Minimum-diameter averaging (MDA): the mean of the tightest n - f updates.

El Mahdi El Mhamdi, Rachid Guerraoui, Arsany Guirguis, Le Nguyen Hoang, Sebastien Rouault,
"Genuinely Distributed Byzantine Machine Learning", PODC 2020 (Distributed Computing 35,
2022). https://arxiv.org/abs/1905.03853
"""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import averages, conflicts, demands, distances, finite_rows, rule

_NAME = 'minimum_diameter_averaging'


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which the rule is defined, 2f + 1."""
  return 2 * max_byzantine + 1


def _smallest_diameter(squared: tf.Tensor, num_removed: tf.Tensor) -> tf.Tensor:
  """Returns float64 []: the smallest squared diameter of n - num_removed rows.

  It is one of the distances: found by bisection of the sorted distances.
  """
  levels = tf.sort(tf.reshape(squared, [-1]))

  def bisect(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    middle = (low + high) // 2
    reachable = conflicts.can_resolve(squared > levels[middle], num_removed)
    return tf.where(reachable, low, middle + 1), tf.where(reachable, middle, high)

  low, _ = tf.while_loop(
    lambda low, high: low < high, bisect, (tf.constant(0), tf.size(levels) - 1)
  )
  return levels[low]


def _average(updates: signatures.Updates, max_byzantine: int) -> finite_rows.Outcome:
  updates = demands.enough_clients(
    updates, rule=_NAME, max_byzantine=max_byzantine, required=required_clients
  )

  def of_finite(kept: tf.Tensor, remaining: tf.Tensor) -> finite_rows.Outcome:
    squared = distances.squared_distances(kept)
    too_far = squared > _smallest_diameter(squared, remaining)
    selected = conflicts.first_without_conflict(too_far, remaining)
    average = averages.weighted_average(kept, tf.cast(selected, tf.float64))
    return average, {'selected': selected}

  return finite_rows.aggregate(updates, of_finite, max_byzantine=max_byzantine)


def minimum_diameter_averaging(
  updates: signatures.Updates, *, max_byzantine: int
) -> signatures.Aggregate:
  """The mean of the n - f updates whose largest distance to each other is smallest.

  Exact: the smallest diameter is found by bisection of the pairwise distances, each
  decided by a search whose length grows with f, not with the number of subsets
  (f = 11 of n = 25 has 4,457,400 subsets and takes a fraction of a second). Several
  subsets often have the same diameter, because it is one pair's distance; the
  lexicographically first is averaged, so the order of rows matters.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.

  Returns:
    float32 [d]; all zeros if more than f rows hold a NaN or an infinity. Up to f such
    rows are dropped, and f is lowered by their number.

  Guarantees:
    Any Byzantine row that is averaged is within the honest diameter of an honest row.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 1.
    tf.errors.InvalidArgumentError: If that turns out at run time, or if the search is
      undecided between more than 262,144 ways, which cannot happen with f up to 25.
  """
  return _average(updates, max_byzantine)[0]


def build_minimum_diameter_averaging(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns the rule `minimum_diameter_averaging`, which also measures `selected`.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  return finite_rows.build_rule(_NAME, lambda updates, seed: _average(updates, max_byzantine))
