"""A rule as a `tf.function` on a stack that is already there, without TensorFlow Federated."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from binaries.benchmarks import gather_rows, rule_builder
from binaries.benchmarks import work as work_lib


def build(work: work_lib.RuleWork, *, device: str) -> Callable[[], float]:
  """Returns one application of a rule or pre-aggregator, measurements included."""
  place = None if device == 'auto' else f'/{device}'
  function = tf.function(_function(work), autograph=False)
  with tf.device(place):
    stack = _stack(work.num_clients, work.dimension, place)

  def run() -> float:
    with tf.device(place):
      result, *_ = function(stack)
      row = result if result.shape.rank == 1 else result[0]
      # A number that hangs on the result, so that an accelerator has finished.
      return float(np.linalg.norm(row.numpy()[: work.dimension]))

  return run


@functools.lru_cache(maxsize=1)
def _stack(num_clients: int, dimension: int, place: str | None) -> tf.Tensor:
  """Returns float32 [n, d], kept for the next rule of the same size."""
  del place  # Only part of the key.
  return tf.constant(gather_rows.independent(num_clients, dimension))


def _function(work: work_lib.RuleWork) -> Callable[[tf.Tensor], Any]:
  if work.implementation == 'matmul':
    return lambda stack: (tf.matmul(stack, stack, transpose_b=True),)
  seed = tf.constant([1, 2], tf.int64)
  weights = tf.ones([work.num_clients])
  if work.kind == 'preaggregator':
    step = rule_builder.step(work)
    return lambda stack: step.apply(stack, weights, seed)
  rule = rule_builder.rule(work)
  state = rule.init(work.dimension)

  def apply(stack: tf.Tensor) -> Any:
    output = rule.apply(state, stack, weights, seed)
    return output.aggregate, dict(output.measurements)

  return apply
