"""A rule as the aggregation of a learning process whose clients are known by their ids.

The rows that a rule sees are sorted by client id, so ties and reported ids never depend
on the order in which clients answered. The rule gets rows and weights, nothing else; a
rooted rule also gets what the server's root set tells about the model of the round.
"""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from computations import observation, root_set
from tff_robust import seeds
from tff_robust.aggregators import rule as rule_lib
from tff_robust.factories import flat, gather

_WEIGHT_TYPE = tff.TensorType(np.float32)


class _Parts(NamedTuple):
  """What an aggregation is made of, whether or not its rule is rooted.

  Attributes:
    initialize: The state at the server.
    state_type: Its type.
    collect: `(messages, weights)` at clients to rows at the server.
    gathered_type: Type of the rows.
    apply: `(rule, state, rows) -> (state, aggregate, measurements)`, in TensorFlow.
  """

  initialize: tff.Computation
  state_type: tff.Type
  collect: Callable[[Any, Any], Any]
  gathered_type: tff.Type
  apply: Callable[[rule_lib.AggregationRule, Any, Any], tuple[Any, Any, Any]]


def _build_parts(
  init: Callable[[int], Any],
  *,
  message_type: tff.Type,
  trainable_type: tff.Type,
  seed: int,
  with_gram: bool = False,
) -> _Parts:
  dimension = message_type.message.shape[0]
  collect_rows = gather.build_gather(message_type.message)

  @tff.tensorflow.computation
  def initial_state() -> Any:
    return collections.OrderedDict(
      rule=init(dimension),
      seed=tf.constant(seeds.tensor_seed(seed)),
      round=tf.constant(0, tf.int64),
    )

  def apply(
    rule: rule_lib.AggregationRule, state: Any, gathered: Any
  ) -> tuple[Any, Any, collections.OrderedDict[str, Any]]:
    draw = seeds.fold(state['seed'], seeds.Purpose.RULE, state['round'])
    output = rule.apply(state['rule'], gathered['updates'], gathered['weights'], draw)
    following = collections.OrderedDict(
      rule=output.state, seed=state['seed'], round=state['round'] + 1
    )
    measurements = collections.OrderedDict(
      rule=collections.OrderedDict(output.measurements, client_ids=gathered['client_ids']),
      observer=observation.observe(
        gathered['updates'], gathered['is_byzantine'], output.aggregate, with_gram=with_gram
      ),
    )
    return following, flat.unflatten(output.aggregate, trainable_type), measurements

  @tff.federated_computation(message_type, _WEIGHT_TYPE)
  def row_of(message: Any, weight: Any) -> Any:
    return collections.OrderedDict(
      update=message['message'],
      weight=weight,
      client_id=message['client_id'],
      is_byzantine=message['is_byzantine'],
    )

  @tff.federated_computation
  def initialize() -> Any:
    return tff.federated_eval(initial_state, tff.SERVER)

  return _Parts(
    initialize,
    initial_state.type_signature.result,
    lambda messages, weights: collect_rows(tff.federated_map(row_of, (messages, weights))),
    collect_rows.type_signature.result.member,
    apply,
  )


def build_aggregation(
  rule: rule_lib.AggregationRule,
  *,
  message_type: tff.Type,
  trainable_type: tff.Type,
  seed: int,
  with_gram: bool = False,
) -> tff.templates.AggregationProcess:
  """Lifts a rule to an aggregation of identified messages.

  Args:
    rule: The rule.
    message_type: `<message=float32[d],client_id=int64,is_byzantine=bool>`.
    trainable_type: Type of the model's trainable weights, into which the aggregate is cut.
    seed: The run's seed, from which the rule's draws are folded.
    with_gram: Whether the observer also measures the inner products of all messages.

  Returns:
    A weighted aggregation process from messages at clients to `trainable_type` at the
    server. Its measurements are `rule` (what the rule measured, and `client_ids`, int64
    [n], in the order of the rule's rows) and `observer` (see `observation.observe`).
  """
  parts = _build_parts(
    rule.init,
    message_type=message_type,
    trainable_type=trainable_type,
    seed=seed,
    with_gram=with_gram,
  )

  @tff.tensorflow.computation(parts.state_type, parts.gathered_type)
  @tf.function(autograph=False)
  def aggregate(state: Any, gathered: Any) -> Any:
    return parts.apply(rule, state, gathered)

  @tff.federated_computation(
    tff.FederatedType(parts.state_type, tff.SERVER),
    tff.FederatedType(message_type, tff.CLIENTS),
    tff.FederatedType(_WEIGHT_TYPE, tff.CLIENTS),
  )
  def next_fn(state: Any, messages: Any, weights: Any) -> Any:
    gathered = parts.collect(messages, weights)
    return tff.templates.MeasuredProcessOutput(*tff.federated_map(aggregate, (state, gathered)))

  return tff.templates.AggregationProcess(parts.initialize, next_fn)


def build_rooted_aggregation(
  rule: rule_lib.RootedRule,
  *,
  look: root_set.Look,
  message_type: tff.Type,
  weights_type: tff.Type,
  seed: int,
) -> tff.templates.AggregationProcess:
  """Lifts a rooted rule to an aggregation that is also given the model.

  Args:
    rule: The rule.
    look: What the root set tells about a model, from `root_set.build_look`.
    message_type: `<message=float32[d],client_id=int64,is_byzantine=bool>`.
    weights_type: `ModelWeights` of the model, into whose trainable part the aggregate is cut.
    seed: The run's seed, from which the draws of rule and server are folded.

  Returns:
    A process for `rooted_learning_process.compose`: as that of `build_aggregation`, except
    that its `next` takes, after messages and weights, the model of the round at the server.
  """
  parts = _build_parts(
    rule.init, message_type=message_type, trainable_type=weights_type.trainable, seed=seed
  )

  @tff.tensorflow.computation(parts.state_type, parts.gathered_type, weights_type)
  @tf.function(autograph=False)
  def aggregate(state: Any, gathered: Any, model: Any) -> Any:
    draw = seeds.fold(state['seed'], seeds.Purpose.ROOT_BATCHES, state['round'])
    return parts.apply(rule_lib.bind(rule, look(model.trainable, draw)), state, gathered)

  @tff.federated_computation(
    tff.FederatedType(parts.state_type, tff.SERVER),
    tff.FederatedType(message_type, tff.CLIENTS),
    tff.FederatedType(_WEIGHT_TYPE, tff.CLIENTS),
    tff.FederatedType(weights_type, tff.SERVER),
  )
  def next_fn(state: Any, messages: Any, weights: Any, model: Any) -> Any:
    gathered = parts.collect(messages, weights)
    return tff.templates.MeasuredProcessOutput(
      *tff.federated_map(aggregate, (state, gathered, model))
    )

  return tff.templates.AggregationProcess(parts.initialize, next_fn)
