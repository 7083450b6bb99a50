"""A rule as the aggregation of a learning process whose clients are known by their ids.

The rows that a rule sees are sorted by client id, so ties and reported ids never depend
on the order in which clients answered. The rule gets rows and weights, nothing else.
"""

import collections
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from computations import observation
from tff_robust import seeds
from tff_robust.aggregators import rule as rule_lib
from tff_robust.factories import flat, gather


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
  dimension = message_type.message.shape[0]
  collect = gather.build_gather(message_type.message)
  gathered_type = collect.type_signature.result.member
  weight_type = tff.TensorType(np.float32)

  @tff.tensorflow.computation
  def initial_state() -> Any:
    return collections.OrderedDict(
      rule=rule.init(dimension),
      seed=tf.constant(seeds.tensor_seed(seed)),
      round=tf.constant(0, tf.int64),
    )

  state_type = initial_state.type_signature.result

  @tff.tensorflow.computation(state_type, gathered_type)
  @tf.function(autograph=False)
  def aggregate(state: Any, gathered: Any) -> Any:
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

  @tff.tensorflow.computation(message_type, weight_type)
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

  @tff.federated_computation(
    tff.FederatedType(state_type, tff.SERVER),
    tff.FederatedType(message_type, tff.CLIENTS),
    tff.FederatedType(weight_type, tff.CLIENTS),
  )
  def next_fn(state: Any, messages: Any, weights: Any) -> Any:
    gathered = collect(tff.federated_map(row_of, (messages, weights)))
    following, result, measurements = tff.federated_map(aggregate, (state, gathered))
    return tff.templates.MeasuredProcessOutput(following, result, measurements)

  return tff.templates.AggregationProcess(initialize, next_fn)
