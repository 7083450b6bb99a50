"""The mean around the median (MeaMed), coordinate-wise.

Cong Xie, Oluwasanmi Koyejo, Indranil Gupta, "Generalized Byzantine-tolerant SGD", 2018.
https://arxiv.org/abs/1802.10116
"""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import demands, finite_rows, order_statistics, rule


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which the rule is defined, 2f + 1."""
  return 2 * max_byzantine + 1


def _meamed(updates: signatures.Updates, max_byzantine: int) -> finite_rows.Outcome:
  updates = demands.enough_clients(
    updates,
    rule='meamed',
    max_byzantine=max_byzantine,
    required=required_clients,
  )

  def of_finite(kept: tf.Tensor, remaining: tf.Tensor) -> finite_rows.Outcome:
    num_averaged = tf.shape(kept)[0] - remaining

    def of_ranks(ranks: order_statistics.Ranks) -> tf.Tensor:
      return ranks.mean_around(ranks.median(), num_averaged)

    return order_statistics.map_columns(of_ranks, kept, most_rows=updates.shape[0]), {}

  return finite_rows.aggregate(updates, of_finite, max_byzantine=max_byzantine)


def meamed(updates: signatures.Updates, *, max_byzantine: int) -> signatures.Aggregate:
  """The mean of the n - f values of each coordinate that are closest to its median.

  Values equally far from the median that compete for the last places share them equally;
  the paper leaves that case open.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.

  Returns:
    float32 [d]; all zeros if more than f rows hold a NaN or an infinity. Up to f such
    rows are dropped, and f is lowered by their number.

  Guarantees:
    In each coordinate the aggregate is within the honest values' range of the median: a
    Byzantine value that counts is no further from it than the furthest honest value.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 1.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  return _meamed(updates, max_byzantine)[0]


def build_meamed(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns the rule `meamed`.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  return finite_rows.build_rule('meamed', lambda updates, seed: _meamed(updates, max_byzantine))
