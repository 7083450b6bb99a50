"""The baselines: the same arithmetic as a `tf.function`, without TensorFlow Federated."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from binaries.benchmarks import gather_rows, network
from binaries.benchmarks import work as work_lib
from tff_robust import processor
from tff_robust.aggregators import krum as krum_lib


def _on(device: str) -> Any:
  return tf.device(None if device == 'auto' else f'/{device}')


def training_round(work: work_lib.RoundWork, *, device: str) -> Callable[[], float]:
  """Returns FedSGD or FedAvg without privacy, clients mapped in one `tf.function`."""
  initial = network.initial_weights(work)
  x, y = network.client_arrays(work)
  batches = (work.num_clients, work.num_batches, work.batch_size)
  cores = processor.num_cores()
  with _on(device):
    features = tf.constant(x.reshape(*batches, *work_lib.IMAGE_SHAPE))
    labels = tf.constant(y.reshape(batches))

  # A graph of its own, as in our client work: as part of the loop over clients or batches, its
  # gradients of poolings sometimes miss oneDNN.
  @tf.function(autograph=False, experimental_attributes={'_noinline': True})
  def gradient(weights: Sequence[tf.Tensor], x: tf.Tensor, y: tf.Tensor) -> Any:
    with tf.GradientTape() as tape:
      tape.watch(weights)
      loss = network.mean_cross_entropy(network.logits(weights, x), y)
    return tape.gradient(loss, weights)

  def client(weights: Sequence[tf.Tensor], x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
    if work.algorithm == 'fed_sgd':
      return gradient(weights, x[0], y[0])

    def step(position: tf.Tensor, trained: Any) -> tuple[tf.Tensor, Any]:
      gradients = gradient(trained, x[position], y[position])
      pairs = zip(trained, gradients, strict=True)
      return position + 1, [w - network.FED_AVG_RATE * g for w, g in pairs]

    _, trained = tf.while_loop(
      lambda position, _: position < work.num_batches, step, (0, list(weights))
    )
    return [before - after for before, after in zip(weights, trained, strict=True)]

  rate = network.FED_SGD_RATE if work.algorithm == 'fed_sgd' else 1.0

  @tf.function
  def train(weights: list[tf.Tensor], features: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
    updates = tf.map_fn(
      lambda pair: client(weights, *pair),
      (features, labels),
      fn_output_signature=[tf.TensorSpec(weight.shape, tf.float32) for weight in initial],
      parallel_iterations=cores,
    )
    pairs = zip(weights, updates, strict=True)
    return [weight - rate * tf.reduce_mean(update, axis=0) for weight, update in pairs]

  with _on(device):
    weights = [tf.constant(weight) for weight in initial]

  def run() -> float:
    nonlocal weights
    with _on(device):
      weights = train(weights, features, labels)
    return network.distance_moved(weights, initial)

  return run


def krum(work: work_lib.GatherWork, *, device: str) -> Callable[[], float]:
  """Returns the rule as a `tf.function` on a matrix that is already there."""
  rule = tf.function(lambda rows: krum_lib.krum(rows, max_byzantine=work.max_byzantine))
  with _on(device):
    stack = tf.constant(np.stack(gather_rows.rows(work.num_clients, work.dimension)))

  def run() -> float:
    with _on(device):
      return float(np.linalg.norm(rule(stack).numpy()))

  return run
