"""What a robust aggregation rule is: explicit state in, explicit state out.

A rule is a pair of pure functions over flat updates, without placements. The one
factory (`tff_robust.factories.byzantine_robust`) lifts it into TFF.
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
      rows also report `selected` (bool [n], in the row order of the input) and
      `score_gap` (float64 [], the lowest score among the rows left out minus the
      highest among those selected).
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
