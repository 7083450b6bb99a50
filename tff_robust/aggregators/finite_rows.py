"""Rules on the finite rows of a round: drop what is not finite and lower f by as many.

A row with a NaN or an infinity is surely not honest, so a rule declared for f Byzantine
rows among n is applied to the n - t finite rows with f - t. With more than f of them, or
with none left where a rule declares no f, the round is rejected.
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import demands, rule

# What a rule measured of its rows; `selected` is bool, one entry a row.
Outcome = tuple[signatures.Aggregate, Mapping[str, tf.Tensor]]


def aggregate(
  updates: signatures.Updates,
  function: Callable[[tf.Tensor, tf.Tensor], Outcome],
  *,
  max_byzantine: int | None = None,
) -> Outcome:
  """Applies `function` to the finite rows.

  Args:
    updates: float32 [n, d], already known to be enough rows.
    function: `(finite updates, remaining f as int32 []) -> (aggregate, measurements)`. Is
      given zeros when the round is rejected, and its aggregate is then not used.
    max_byzantine: Declared Byzantine clients, f, or None for a rule that declares none.

  Returns:
    float32 [d], zeros if the round is rejected, and the measurements with
    `num_nonfinite` and `round_rejected`.
  """
  finite = demands.finite_rows(updates)
  num_nonfinite = tf.math.count_nonzero(~finite, dtype=tf.int32)
  if max_byzantine is None:
    rejected = ~tf.reduce_any(finite)
    remaining = tf.constant(0)
  else:
    rejected = num_nonfinite > max_byzantine
    remaining = tf.where(rejected, max_byzantine, max_byzantine - num_nonfinite)
  used = finite | rejected

  def drop() -> tf.Tensor:
    # Plain zeros of a known shape would be made in advance, and kept.
    nothing = (finite & ~rejected)[:, tf.newaxis]
    return tf.cond(
      rejected,
      lambda: tf.where(nothing, updates, 0.0),
      lambda: tf.boolean_mask(updates, finite),
    )

  kept = tf.cond(tf.equal(num_nonfinite, 0), lambda: updates, drop)
  result, measurements = function(kept, remaining)
  measurements = dict(measurements)
  if 'selected' in measurements:
    rows = tf.where(used)
    chosen = tf.cast(measurements['selected'], tf.int32)
    spread = tf.scatter_nd(rows, chosen, tf.shape(finite, out_type=tf.int64))
    measurements['selected'] = (spread > 0) & ~rejected
  if 'score_gap' in measurements:
    measurements['score_gap'] = tf.where(
      rejected, tf.constant(0.0, tf.float64), measurements['score_gap']
    )
  return tf.where(rejected, 0.0, result), {
    'num_nonfinite': num_nonfinite,
    'round_rejected': rejected,
    **measurements,
  }


def build_rule(
  name: str, function: Callable[[signatures.Updates, signatures.Seed], Outcome]
) -> rule.AggregationRule:
  """Returns the stateless rule that applies `(updates, seed) -> outcome` without weights."""

  def apply(
    state: Any, updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> rule.RuleOutput:
    del weights  # What clients claim about themselves plays no part.
    return rule.RuleOutput(state, *function(updates, seed))

  return rule.AggregationRule(name, lambda dimension: (), apply)


def build_simple_rule(
  name: str,
  function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
  *,
  max_byzantine: int,
  required_clients: int | None = None,
) -> rule.AggregationRule:
  """Returns the stateless rule that a function of the finite rows and f makes.

  The shortest way to a rule that keeps every promise about non-finite rows and numbers of
  clients.

  Args:
    name: The registry name.
    function: `(finite rows float32 [n - t, d], f - t as int32 []) -> [d]`, where t rows hold a
      NaN or an infinity.
    max_byzantine: Declared Byzantine clients, f.
    required_clients: The smallest n for which the rule is defined at this f, by default 2f + 1.

  Raises:
    ValueError: If f is negative.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  required = 2 * max_byzantine + 1 if required_clients is None else required_clients

  def outcome(updates: signatures.Updates, seed: signatures.Seed) -> Outcome:
    del seed  # Nothing is drawn.
    updates = demands.enough_clients(
      updates, rule=name, max_byzantine=max_byzantine, required=required
    )
    return aggregate(
      updates,
      lambda kept, remaining: (tf.cast(function(kept, remaining), tf.float32), {}),
      max_byzantine=max_byzantine,
    )

  return build_rule(name, outcome)
