"""What a pre-aggregator is, and how it is put before a rule."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import demands, rule

Rule = TypeVar('Rule', rule.AggregationRule, rule.RootedRule)

# What a rule measures of each row that it gets.
_BY_ROW = ('selected', 'trust')


def _nothing(before: tf.Tensor, after: tf.Tensor) -> Mapping[str, tf.Tensor]:
  del before, after
  return {}


class PreAggregator(NamedTuple):
  """A named transformation of a round's updates, with its options already bound.

  Attributes:
    name: The registry name, used in error messages.
    apply: `(updates float32 [n, d], weights float32 [n], seed int64 [2]) -> (updates
      float32 [m, d], weights float32 [m])`. A row with a NaN or an infinity makes every
      row that it enters non-finite, and no other; so does a weight that is negative or not
      finite with the weights that it enters.
    keeps_rows: Whether row i of the result belongs to client i.
    measure: `(updates that came in, updates that went out) -> measurements`, which join
      those of the rule.
  """

  name: str
  apply: Callable[
    [signatures.Updates, signatures.Weights, signatures.Seed],
    tuple[signatures.Updates, signatures.Weights],
  ]
  keeps_rows: bool = True
  measure: Callable[[signatures.Updates, signatures.Updates], Mapping[str, tf.Tensor]] = _nothing


def _fold(seed: signatures.Seed, index: int) -> tf.Tensor:
  return tf.random.experimental.stateless_fold_in(seed, tf.constant(index, tf.int64))


def _count_nonfinite(updates: tf.Tensor) -> tf.Tensor:
  return tf.math.count_nonzero(~demands.finite_rows(updates), dtype=tf.int32)


def compose(preaggregators: Sequence[PreAggregator], before: Rule) -> Rule:
  """Returns the rule that applies pre-aggregators in order, and then a rule.

  The rule must be declared for the rows that it gets: after `bucketing` these are the
  buckets. `num_nonfinite` counts the clients' rows that are not finite, and the finite rows that
  the rule drops for a weight that some client cannot have: after `bucketing` these are buckets.
  What a pre-aggregator measures joins what the rule does. Where rows no longer belong to
  clients, what is measured of each row (`selected`, `trust`) is not reported.

  Args:
    preaggregators: Applied first to last. Each draws from a seed of its own, and so does the
      rule.
    before: The rule; a rooted rule stays rooted.
  """
  name = '+'.join([*(step.name for step in preaggregators), before.name])
  if isinstance(before, rule.RootedRule):

    def apply_rooted(
      state: Any,
      updates: signatures.Updates,
      weights: signatures.Weights,
      seed: signatures.Seed,
      root: rule.RootView,
    ) -> rule.RuleOutput:
      bound = compose(preaggregators, rule.bind(before, root))
      return bound.apply(state, updates, weights, seed)

    return rule.RootedRule(name, before.init, apply_rooted)
  keeps_rows = all(step.keeps_rows for step in preaggregators)

  def apply(
    state: Any, updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> rule.RuleOutput:
    updates = demands.as_updates(updates)
    num_nonfinite = _count_nonfinite(updates)
    weights = demands.one_each_row('weights', weights, updates)
    all_usable = tf.reduce_all(demands.usable_weights(weights))
    measured: dict[str, tf.Tensor] = {}
    for index, step in enumerate(preaggregators):
      draw = _fold(seed, index)
      incoming = updates
      updates, weights = step.apply(incoming, weights, draw)
      measured.update(step.measure(incoming, updates))
    # One more: the rule's own draws must not be those of a pre-aggregator.
    output = before.apply(state, updates, weights, _fold(seed, len(preaggregators)))
    measurements = {**output.measurements, **measured}
    if 'num_nonfinite' in output.measurements:
      num_dropped = tf.cast(output.measurements['num_nonfinite'], tf.int32)
      # Mostly all weights can be used, and the rows need not be looked at once more.
      num_nonfinite += tf.cond(
        all_usable,
        lambda: tf.constant(0),
        lambda: tf.maximum(num_dropped - _count_nonfinite(updates), 0),
      )
    measurements['num_nonfinite'] = num_nonfinite
    if not keeps_rows:
      measurements = {key: found for key, found in measurements.items() if key not in _BY_ROW}
    return rule.RuleOutput(output.state, output.aggregate, measurements)

  return rule.AggregationRule(name, before.init, apply)
