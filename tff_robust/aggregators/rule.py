"""What a robust aggregation rule is: explicit state in, explicit state out.

A rule is a pair of pure functions over flat updates, without placements. The one
factory (`tff_robust.factories.byzantine_robust`) lifts it into TFF.

A rooted rule also looks at examples that the server itself holds, its root set. It becomes
a rule once it is bound to what the root set tells in a round; aggregations of TFF never
see the model, so only `computations.learning_process` can do that.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tff_robust import signatures


class RuleOutput(NamedTuple):
  """Result of one application of a rule.

  Attributes:
    state: The rule's next state, of the same structure, shapes and dtypes as the
      state that it was given (`()` for a stateless rule).
    aggregate: float32 [d].
    measurements: What the rule observed, by name. Every rule reports
      `num_nonfinite` (int32 [], rows that held a NaN or an infinity) and
      `round_rejected` (bool [], True when no answer is defined, in which case the
      aggregate is all zeros and the model stays where it is). Rules that select
      rows also report `selected` (bool [n], in the row order of the input) and, where they
      rank rows, `score_gap` (float64 [], the lowest score among the rows left out minus the
      highest among those selected; the other way round for `zeno`, whose best scores are
      the highest).
  """

  state: Any
  aggregate: signatures.Aggregate
  measurements: Mapping[str, tf.Tensor]


class AggregationRule(NamedTuple):
  """A named rule with its options already bound.

  Attributes:
    name: The registry name, used in error messages.
    init: `dimension (Python int) -> state`.
    apply: `(state, updates float32 [n, d], weights float32 [n], seed int64 [2]) ->
      RuleOutput`. Must be traceable by `tf.function` with n unknown, must not depend
      on row order except to break ties (smallest row index wins; rows arrive sorted by
      client id), must be deterministic given its seed.
  """

  name: str
  init: Callable[[int], Any]
  apply: Callable[[Any, signatures.Updates, signatures.Weights, signatures.Seed], RuleOutput]


class RootView(NamedTuple):
  """What the server's root set tells about the model that enters a round.

  Attributes:
    update: float32 [d], what an honest client that held the root set would send, without
      noise for differential privacy and without worker momentum.
    loss_after: `step float32 [d] -> float64 []`: the mean loss on the root set of the model
      from which `step` is subtracted.
    learning_rate: What the server multiplies the aggregate by before it subtracts it.
  """

  update: signatures.Aggregate
  loss_after: Callable[[tf.Tensor], tf.Tensor]
  learning_rate: float = 1.0


class RootedRule(NamedTuple):
  """A named rule that looks at a root set, with its options already bound.

  Attributes:
    name: As of an `AggregationRule`.
    init: As of an `AggregationRule`.
    apply: As of an `AggregationRule`, with the `RootView` of the round as its last argument.
  """

  name: str
  init: Callable[[int], Any]
  apply: Callable[
    [Any, signatures.Updates, signatures.Weights, signatures.Seed, RootView], RuleOutput
  ]


def bind(rooted: RootedRule, root: RootView) -> AggregationRule:
  """Returns the rule that a rooted rule is in the round of which `root` tells."""

  def apply(
    state: Any, updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> RuleOutput:
    return rooted.apply(state, updates, weights, seed, root)

  return AggregationRule(rooted.name, rooted.init, apply)
