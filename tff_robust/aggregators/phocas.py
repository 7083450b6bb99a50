"""Phocas: the mean around the trimmed mean, coordinate-wise.

Cong Xie, Oluwasanmi Koyejo, Indranil Gupta, "Phocas: dimensional Byzantine-resilient
stochastic gradient descent", 2018. https://arxiv.org/abs/1805.09682
"""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import demands, finite_rows, order_statistics, rule


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which the rule is defined, 2f + 1."""
  return 2 * max_byzantine + 1


def _phocas(updates: signatures.Updates, max_byzantine: int) -> finite_rows.Outcome:
  updates = demands.enough_clients(
    updates,
    rule='phocas',
    max_byzantine=max_byzantine,
    required=required_clients,
  )

  def of_finite(kept: tf.Tensor, remaining: tf.Tensor) -> finite_rows.Outcome:
    num_averaged = tf.shape(kept)[0] - remaining

    def of_ranks(ranks: order_statistics.Ranks) -> tf.Tensor:
      return ranks.mean_around(ranks.trimmed_mean(remaining), num_averaged)

    return order_statistics.map_columns(of_ranks, kept, most_rows=updates.shape[0]), {}

  return finite_rows.aggregate(updates, of_finite, max_byzantine=max_byzantine)


def phocas(updates: signatures.Updates, *, max_byzantine: int) -> signatures.Aggregate:
  """The mean of the n - f values of each coordinate closest to its trimmed mean.

  Values equally far from the trimmed mean that compete for the last places share them
  equally; the paper leaves that case open.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.

  Returns:
    float32 [d]; all zeros if more than f rows hold a NaN or an infinity. Up to f such
    rows are dropped, and f is lowered by their number.

  Guarantees:
    In each coordinate a Byzantine value that counts is no further from the trimmed mean
    than the furthest honest value.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 1.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  return _phocas(updates, max_byzantine)[0]


def build_phocas(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns the rule `phocas`.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  return finite_rows.build_rule('phocas', lambda updates, seed: _phocas(updates, max_byzantine))
