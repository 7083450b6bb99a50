"""Robust aggregation rules as TFF aggregation factories.

The one adapter between rules, which are pure functions on a matrix of updates, and
`tff.aggregators`. Its products drop into any `tff.learning` process:

    tff.learning.algorithms.build_weighted_fed_avg(
      model_fn, client_optimizer_fn, model_aggregator=byzantine_robust.krum_factory(11))

A robust rule sees the individual updates: nothing here is secure aggregation.
"""

import collections
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust import checks, seeds
from tff_robust.aggregators import krum, mean
from tff_robust.aggregators import rule as rule_lib
from tff_robust.factories import flat, gather


def _checked(rule: rule_lib.AggregationRule) -> rule_lib.AggregationRule:
  """Returns a rule that needs nothing beside the updates, else raises."""
  if isinstance(rule, rule_lib.RootedRule):
    raise TypeError(
      f'rule {rule.name!r} looks at a root set and at the model, which an aggregation of TFF is'
      ' not given; train with computations.learning_process, or bind it to a RootView.'
    )
  return rule


def _build_process(
  rule: rule_lib.AggregationRule, seed: int, value_type: tff.Type, weight_type: tff.Type | None
) -> tff.templates.AggregationProcess:
  """Lifts `rule` to an aggregation process, weighted if `weight_type` is given."""
  width = flat.dimension(value_type)
  collect = gather.build_anonymous_gather(value_type)
  sent_type = collect.type_signature.parameter.member
  gathered_type = collect.type_signature.result.member

  @tff.tensorflow.computation
  def initial_state() -> Any:
    return collections.OrderedDict(rule=rule.init(width), round=tf.constant(0, tf.int64))

  state_type = initial_state.type_signature.result

  @tff.tensorflow.computation(state_type, gathered_type)
  @tf.function(autograph=False)
  def apply(state: Any, gathered: Any) -> Any:
    draw = seeds.fold(tf.constant(seeds.tensor_seed(seed)), seeds.Purpose.RULE, state['round'])
    output = rule.apply(state['rule'], gathered['updates'], gathered['weights'], draw)
    following = collections.OrderedDict(rule=output.state, round=state['round'] + 1)
    measurements = collections.OrderedDict(sorted(output.measurements.items()))
    return following, flat.unflatten(output.aggregate, value_type), measurements

  @tff.federated_computation
  def initialize() -> Any:
    return tff.federated_eval(initial_state, tff.SERVER)

  def aggregate(state: Any, sent: Any) -> tff.templates.MeasuredProcessOutput:
    following, value, measurements = tff.federated_map(apply, (state, collect(sent)))
    return tff.templates.MeasuredProcessOutput(following, value, measurements)

  if weight_type is None:

    @tff.federated_computation(
      tff.FederatedType(state_type, tff.SERVER), tff.FederatedType(value_type, tff.CLIENTS)
    )
    def next_unweighted(state: Any, value: Any) -> tff.templates.MeasuredProcessOutput:
      weight = tff.federated_value(np.float32(1.0), tff.CLIENTS)
      return aggregate(
        state, tff.federated_zip(collections.OrderedDict(update=value, weight=weight))
      )

    return tff.templates.AggregationProcess(initialize, next_unweighted)

  @tff.tensorflow.computation(value_type, weight_type)
  def weighted(value: Any, weight: Any) -> Any:
    return collections.OrderedDict(update=value, weight=tf.cast(weight, tf.float32))

  if weighted.type_signature.result != sent_type:
    raise TypeError(f'weight_type is {weight_type}; it must be a scalar number.')

  @tff.federated_computation(
    tff.FederatedType(state_type, tff.SERVER),
    tff.FederatedType(value_type, tff.CLIENTS),
    tff.FederatedType(weight_type, tff.CLIENTS),
  )
  def next_weighted(state: Any, value: Any, weight: Any) -> tff.templates.MeasuredProcessOutput:
    return aggregate(state, tff.federated_map(weighted, (value, weight)))

  return tff.templates.AggregationProcess(initialize, next_weighted)


class ByzantineRobustFactory(tff.aggregators.UnweightedAggregationFactory):
  """Lifts an aggregation rule to an unweighted TFF aggregation."""

  def __init__(self, rule: rule_lib.AggregationRule, *, seed: int = 0) -> None:
    """Binds a rule.

    Args:
      rule: The rule. Its weights are all 1.
      seed: Seed of the draws of rules that draw, folded with the round.

    Raises:
      TypeError: If the rule is a `RootedRule`.
      ValueError: If the seed is negative or no whole number.
    """
    self._rule = _checked(rule)
    checks.whole_at_least('seed', seed, 0)
    self._seed = seed

  def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
    """Creates the process for updates of `value_type`.

    Rows reach the rule in the order in which clients answer.

    Args:
      value_type: A structure of floating-point tensors of known shape.

    Returns:
      A process whose state is `<rule=...,round=int64>` and whose measurements are those
      of the rule, by name.

    Raises:
      TypeError: If `value_type` is not such a structure.
    """
    return _build_process(self._rule, self._seed, value_type, None)


class WeightedByzantineRobustFactory(tff.aggregators.WeightedAggregationFactory):
  """Lifts an aggregation rule to a weighted TFF aggregation.

  Weights reach the rule; means use them, selections and medians ignore them.
  """

  def __init__(self, rule: rule_lib.AggregationRule, *, seed: int = 0) -> None:
    """Binds a rule.

    Args:
      rule: The rule.
      seed: Seed of the draws of rules that draw, folded with the round.

    Raises:
      TypeError: If the rule is a `RootedRule`.
      ValueError: If the seed is negative or no whole number.
    """
    self._rule = _checked(rule)
    checks.whole_at_least('seed', seed, 0)
    self._seed = seed

  def create(self, value_type: tff.Type, weight_type: tff.Type) -> tff.templates.AggregationProcess:
    """Creates the process for updates of `value_type` with weights of `weight_type`.

    Args:
      value_type: A structure of floating-point tensors of known shape.
      weight_type: A scalar number.

    Returns:
      A process as that of `ByzantineRobustFactory`, whose `next` also takes weights.

    Raises:
      TypeError: If a type is not as described.
    """
    return _build_process(self._rule, self._seed, value_type, weight_type)


class EitherByzantineRobustFactory(
  ByzantineRobustFactory, tff.aggregators.WeightedAggregationFactory
):
  """Lifts an aggregation rule to whichever aggregation is asked for.

  `tff.learning` asks for a weighted factory here and for an unweighted one there
  (`build_weighted_fed_avg`, `build_unweighted_fed_avg`); this one is both. Where a
  composition of `tff.aggregators` takes either, it treats this one as unweighted.
  """

  def create(
    self, value_type: tff.Type, weight_type: tff.Type | None = None
  ) -> tff.templates.AggregationProcess:
    """Creates the weighted process if `weight_type` is given, else the unweighted one."""
    return _build_process(self._rule, self._seed, value_type, weight_type)


def krum_factory(max_byzantine: int) -> EitherByzantineRobustFactory:
  """Returns Krum as a TFF aggregation factory.

  Args:
    max_byzantine: Declared Byzantine clients of a round, f; each round then needs at
      least 2f + 3 clients.
  """
  return EitherByzantineRobustFactory(krum.build_krum(max_byzantine=max_byzantine))


def multi_krum_factory(max_byzantine: int, num_selected: int) -> EitherByzantineRobustFactory:
  """Returns Multi-Krum as a TFF aggregation factory.

  Args:
    max_byzantine: Declared Byzantine clients of a round, f; each round then needs at
      least 2f + 3 clients.
    num_selected: How many updates are averaged, at most n - f.
  """
  return EitherByzantineRobustFactory(
    krum.build_multi_krum(max_byzantine=max_byzantine, num_selected=num_selected)
  )


def mean_factory() -> EitherByzantineRobustFactory:
  """Returns the weighted mean that drops non-finite updates, as a TFF aggregation factory."""
  return EitherByzantineRobustFactory(mean.build_mean())
