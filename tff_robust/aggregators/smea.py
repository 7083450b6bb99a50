"""Smallest maximum eigenvalue averaging (SMEA), over all subsets.

Youssef Allouah, Rachid Guerraoui, Nirupam Gupta, Rafael Pinot, John Stephan, "On the
Privacy-Robustness-Utility Trilemma in Distributed Learning", ICML 2023.
https://proceedings.mlr.press/v202/allouah23a.html
"""

import numpy as np
import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import (
  averages,
  demands,
  distances,
  finite_rows,
  rule,
  subset_limit,
  subsets,
)

# Entries of the subsets' Gram matrices that are in memory at once.
_ENTRIES_PER_CHUNK = 2**21


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which the rule is defined, 2f + 1."""
  return 2 * max_byzantine + 1


def _top_eigenvalues(gram: tf.Tensor, chosen: tf.Tensor, subset_size: tf.Tensor) -> tf.Tensor:
  """Returns float64 [b]: the top eigenvalue of each subset's scatter matrix."""
  indices = tf.reshape(tf.where(chosen)[:, 1], [-1, subset_size])
  grams = tf.gather(tf.gather(gram, indices), indices, axis=2, batch_dims=1)
  grams -= tf.reduce_mean(grams, axis=1, keepdims=True)
  grams -= tf.reduce_mean(grams, axis=2, keepdims=True)
  return tf.linalg.eigvalsh(grams)[:, -1]


def _best_subset(gram: tf.Tensor, max_byzantine: tf.Tensor) -> tf.Tensor:
  """Returns bool [n]: the first of the subsets of n - f rows of smallest top eigenvalue."""
  num_rows = tf.shape(gram)[0]
  subset_size = num_rows - max_byzantine
  triangle = subsets.binomials(num_rows)
  num_subsets = triangle[num_rows, max_byzantine]
  few = tf.debugging.Assert(
    num_subsets <= subset_limit.MAX_SUBSETS,
    [
      f'aggregator smea searches at most {subset_limit.MAX_SUBSETS} subsets; use caf, or lower'
      ' max_byzantine. Subsets of this round:',
      num_subsets,
    ],
  )
  with tf.control_dependencies([few]):
    num_subsets = tf.identity(num_subsets)
  chunk = tf.cast(tf.maximum(_ENTRIES_PER_CHUNK // (subset_size * subset_size), 1), tf.float64)

  def search(
    start: tf.Tensor, best: tf.Tensor, winner: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    numbers = tf.range(start, tf.minimum(start + chunk, num_subsets), dtype=tf.float64)
    values = _top_eigenvalues(gram, subsets.members(numbers, triangle, subset_size), subset_size)
    index = tf.argmin(values)
    better = values[index] < best
    return (
      start + chunk,
      tf.where(better, values[index], best),
      tf.where(better, numbers[index], winner),
    )

  start = tf.constant(0.0, tf.float64)
  _, _, winner = tf.while_loop(
    lambda start, *_: start < num_subsets,
    search,
    (start, tf.constant(np.inf, tf.float64), start),
  )
  return subsets.members(winner[tf.newaxis], triangle, subset_size)[0]


def _smea(updates: signatures.Updates, max_byzantine: int) -> finite_rows.Outcome:
  updates = demands.enough_clients(
    updates, rule='smea', max_byzantine=max_byzantine, required=required_clients
  )
  if updates.shape[0] is not None:
    subset_limit.check('smea', num_clients=updates.shape[0], max_byzantine=max_byzantine)

  def of_finite(kept: tf.Tensor, remaining: tf.Tensor) -> finite_rows.Outcome:
    selected = _best_subset(distances.central_gram(kept), remaining)
    average = averages.weighted_average(kept, tf.cast(selected, tf.float64))
    return average, {'selected': selected}

  return finite_rows.aggregate(updates, of_finite, max_byzantine=max_byzantine)


def smea(updates: signatures.Updates, *, max_byzantine: int) -> signatures.Aggregate:
  """The mean of the n - f updates whose covariance has the smallest top eigenvalue.

  Exact: the top eigenvalue of every subset, by way of its (n - f) x (n - f) inner
  products. Ties go to the lexicographically first subset, as far as rounding leaves equal
  eigenvalues equal. The number of subsets, n over f, is limited to 200,000 (f = 5 of 25 has
  53,130); `caf` is the polynomial rule with
  the same purpose.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.

  Returns:
    float32 [d]; all zeros if more than f rows hold a NaN or an infinity. Up to f such
    rows are dropped, and f is lowered by their number.

  Guarantees:
    (f, kappa)-robust against the honest covariance's top eigenvalue, with
    kappa = 4f / (n - f) * (1 + f / (n - 2f))**2.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 1, or the subsets are too many.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  return _smea(updates, max_byzantine)[0]


def build_smea(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns the rule `smea`, which also measures `selected`.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  return finite_rows.build_rule('smea', lambda updates, seed: _smea(updates, max_byzantine))
