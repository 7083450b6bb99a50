"""The weighted mean of federated averaging: no robustness, the point of comparison.

H. Brendan McMahan, Eider Moore, Daniel Ramage, Seth Hampson, Blaise Aguera y Arcas,
"Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS
2017, algorithm 1. https://proceedings.mlr.press/v54/mcmahan17a.html
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import averages, demands, rule


def _mean(
  updates: signatures.Updates, weights: signatures.Weights | None
) -> tuple[signatures.Aggregate, Mapping[str, tf.Tensor]]:
  updates = demands.as_updates(updates)
  if weights is None:
    weights = tf.ones(tf.shape(updates)[:1])
  weights = demands.one_each_row('weights', weights, updates)
  weighable = demands.usable_weights(weights)

  def over(usable: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    counted = tf.where(usable, tf.cast(weights, tf.float64), 0.0)
    return averages.weighted_average(updates, counted), usable

  aggregate, usable = over(weighable)
  # An entry that is not finite shows in the average, unless its row weighs nothing: mostly
  # the rows need not be looked at twice.
  all_shown = tf.reduce_all(weighable & (weights > 0))
  aggregate, usable = tf.cond(
    all_shown & tf.math.is_finite(tf.reduce_sum(aggregate)),
    lambda: (aggregate, usable),
    lambda: over(weighable & demands.finite_rows(updates)),
  )
  return aggregate, {
    'num_nonfinite': tf.math.count_nonzero(~usable, dtype=tf.int32),
    'round_rejected': ~tf.reduce_any(usable & (weights > 0)),
  }


def mean(
  updates: signatures.Updates, weights: signatures.Weights | None = None
) -> signatures.Aggregate:
  """The mean of the updates, weighted by n_k / m_t.

  n_k is the weight of row k (its number of examples) and m_t the sum of the weights of
  the rows that count. A row with a NaN or an infinity, or whose weight is negative or
  not finite, does not count. If no weight is left, the aggregate is all zeros.

  Args:
    updates: float32 [n, d].
    weights: float32 [n], or None for equal weights.

  Returns:
    float32 [d], summed in float64.

  Guarantees:
    None: a single row moves the mean anywhere (breakdown point 0).

  Raises:
    ValueError: If it is known while tracing that there is not one weight a row.
  """
  return _mean(updates, weights)[0]


def build_mean() -> rule.AggregationRule:
  """Returns the rule `mean`, which counts dropped rows in `num_nonfinite`."""

  def apply(
    state: Any, updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> rule.RuleOutput:
    del seed  # Nothing is drawn.
    aggregate, measurements = _mean(updates, weights)
    return rule.RuleOutput(state, aggregate, measurements)

  return rule.AggregationRule('mean', lambda dimension: (), apply)
