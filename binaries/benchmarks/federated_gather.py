"""A rule as an aggregation of TensorFlow Federated, with rows that start at clients."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from binaries.benchmarks import gather_rows, rule_builder
from binaries.benchmarks import work as work_lib
from tff_robust.aggregators import mean
from tff_robust.factories import byzantine_robust
from tff_robust.preaggregators import preaggregator


def build(work: work_lib.GatherWork | work_lib.RuleWork) -> Callable[[], float]:
  """Returns one aggregation; each client cuts its row out of a vector that it is sent."""
  vector, stride = _windows(isinstance(work, work_lib.RuleWork), work.num_clients, work.dimension)
  row_type = tff.TensorType(np.float32, [work.dimension])
  process = _factory(work).create(row_type)

  @tff.tensorflow.computation(tff.TensorType(np.float32, vector.shape), np.int32)
  def row_of(vector: tf.Tensor, client: tf.Tensor) -> tf.Tensor:
    start = stride * client
    return tf.ensure_shape(vector[start : start + work.dimension], [work.dimension])

  @tff.federated_computation(
    process.initialize.type_signature.result,
    tff.FederatedType(tff.TensorType(np.float32, vector.shape), tff.SERVER),
    tff.FederatedType(np.int32, tff.CLIENTS),
  )
  def aggregate(state: Any, vector: Any, clients: Any) -> Any:
    rows = tff.federated_map(row_of, (tff.federated_broadcast(vector), clients))
    return process.next(state, rows)

  clients = list(range(work.num_clients))
  state = process.initialize()

  def run() -> float:
    nonlocal state
    output = aggregate(state, vector, clients)
    state = output.state
    return float(np.linalg.norm(np.asarray(output.result)))

  return run


@functools.lru_cache(maxsize=1)
def _windows(independent: bool, num_clients: int, dimension: int) -> tuple[tf.Tensor, int]:
  """Returns the vector of which rows are windows, and how far apart these start."""
  if independent:
    return tf.constant(gather_rows.independent(num_clients, dimension).ravel()), dimension
  return tf.constant(gather_rows.noise(num_clients, dimension)), gather_rows.STRIDE


def _factory(
  work: work_lib.GatherWork | work_lib.RuleWork,
) -> tff.aggregators.UnweightedAggregationFactory:
  """Returns the aggregation; a pre-aggregator is followed by the mean."""
  if isinstance(work, work_lib.GatherWork):
    return byzantine_robust.krum_factory(work.max_byzantine)
  if work.kind == 'aggregator':
    rule = rule_builder.rule(work)
  else:
    rule = preaggregator.compose([rule_builder.step(work)], mean.build_mean())
  return byzantine_robust.ByzantineRobustFactory(rule)
