"""Comparative gradient elimination (CGE): the mean of the shortest updates.

Nirupam Gupta, Nitin H. Vaidya, "Fault-tolerance in distributed optimization: the case
of redundancy", PODC 2020; Nirupam Gupta, Shuo Liu, Nitin H. Vaidya, "Byzantine
fault-tolerant distributed machine learning with norm-based comparative gradient
elimination", DSN-W 2021. https://arxiv.org/abs/2008.04699
"""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import averages, demands, finite_rows, row_norms, rule

_NAME = 'comparative_gradient_elimination'


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which the rule is defined, 2f + 1."""
  return 2 * max_byzantine + 1


def _eliminate(updates: signatures.Updates, max_byzantine: int) -> finite_rows.Outcome:
  updates = demands.enough_clients(
    updates, rule=_NAME, max_byzantine=max_byzantine, required=required_clients
  )

  def of_finite(kept: tf.Tensor, remaining: tf.Tensor) -> finite_rows.Outcome:
    num_rows = tf.shape(kept)[0]
    shortest = tf.math.top_k(-row_norms.norms(kept), k=num_rows - remaining).indices
    selected = tf.scatter_nd(shortest[:, tf.newaxis], tf.ones_like(shortest), [num_rows]) > 0
    average = averages.weighted_average(kept, tf.cast(selected, tf.float64))
    return average, {'selected': selected}

  return finite_rows.aggregate(updates, of_finite, max_byzantine=max_byzantine)


def comparative_gradient_elimination(
  updates: signatures.Updates, *, max_byzantine: int
) -> signatures.Aggregate:
  """The mean of the n - f updates of smallest Euclidean norm.

  Ties go to the smallest row index; entries below 2**-126 may count as zero in a norm. (The
  papers add the n - f updates; dividing by their number only rescales the learning rate.)

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.

  Returns:
    float32 [d]; all zeros if more than f rows hold a NaN or an infinity. Up to f such
    rows are dropped, and f is lowered by their number.

  Guarantees:
    The aggregate is no longer than the longest honest update. An attack that sends
    short vectors is always kept: a weak inner-product manipulation is never eliminated.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 1.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  return _eliminate(updates, max_byzantine)[0]


def build_comparative_gradient_elimination(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns the rule `comparative_gradient_elimination`, which also measures `selected`.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  return finite_rows.build_rule(_NAME, lambda updates, seed: _eliminate(updates, max_byzantine))
