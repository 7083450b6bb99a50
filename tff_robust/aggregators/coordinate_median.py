"""The coordinate-wise median.

Dong Yin, Yudong Chen, Kannan Ramchandran, Peter Bartlett, "Byzantine-Robust Distributed
Learning: Towards Optimal Statistical Rates", ICML 2018, definition 1.
https://proceedings.mlr.press/v80/yin18a.html
"""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import demands, finite_rows, order_statistics, rule


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which the rule is defined, 2f + 1."""
  return 2 * max_byzantine + 1


def _coordinate_median(updates: signatures.Updates, max_byzantine: int) -> finite_rows.Outcome:
  updates = demands.enough_clients(
    updates,
    rule='coordinate_median',
    max_byzantine=max_byzantine,
    required=required_clients,
  )

  def of_finite(kept: tf.Tensor, remaining: tf.Tensor) -> finite_rows.Outcome:
    del remaining
    aggregate = order_statistics.map_columns(
      lambda ranks: ranks.median(), kept, most_rows=updates.shape[0]
    )
    return aggregate, {}

  return finite_rows.aggregate(updates, of_finite, max_byzantine=max_byzantine)


def coordinate_median(updates: signatures.Updates, *, max_byzantine: int) -> signatures.Aggregate:
  """The median of each coordinate.

  For an even number of rows the mean of the two middle values. f is only a demand on n.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.

  Returns:
    float32 [d]; all zeros if more than f rows hold a NaN or an infinity. Up to f such
    rows are dropped, and f is lowered by their number.

  Guarantees:
    In each coordinate the aggregate lies between the smallest and the largest honest value.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 1.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  return _coordinate_median(updates, max_byzantine)[0]


def build_coordinate_median(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns the rule `coordinate_median`.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  return finite_rows.build_rule(
    'coordinate_median', lambda updates, seed: _coordinate_median(updates, max_byzantine)
  )
