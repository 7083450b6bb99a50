"""A round of a learning process of TensorFlow Federated in the context that is installed."""

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from binaries.benchmarks import network
from binaries.benchmarks import work as work_lib
from computations import client_values, layered_model, learning_process
from tff_robust import config
from tff_robust.data import client_data
from tff_robust.privacy import affine_layers
from tff_robust.runtime import resident


def build(work: work_lib.RoundWork) -> Callable[[], float]:
  """Returns a function that trains one more round and says how far the model has moved."""
  model = _model(work)
  x, y = network.client_arrays(work)
  if work.implementation == 'tff':
    process, clients = _tff_process(work, model), _batched(work, x, y)
  elif work.resident:
    process, clients = _resident(work, model, x, y)
  else:
    process, clients = _our_process(work, model), _sequences(x, y)
  initial = model.initial_weights[0]
  state = process.initialize()

  def run() -> float:
    nonlocal state
    state = process.next(state, clients).state
    return network.distance_moved(state.global_model_weights.trainable, initial)

  return run


def _model(work: work_lib.RoundWork) -> tff.learning.models.FunctionalModel:
  def predict(layers: affine_layers.Layers, weights: Any, x: tf.Tensor) -> tf.Tensor:
    return network.logits(weights, x, conv2d=layers.conv2d, dense=layers.dense)

  return layered_model.LayeredModel(
    initial_weights=network.initial_weights(work),
    predict_fn=predict,
    loss_fn=tf.function(network.mean_cross_entropy),
    input_spec=collections.OrderedDict(
      x=tf.TensorSpec([None, *work_lib.IMAGE_SHAPE], tf.uint8), y=tf.TensorSpec([None], tf.int32)
    ),
  )


def _tff_process(
  work: work_lib.RoundWork, model: tff.learning.models.FunctionalModel
) -> tff.learning.templates.LearningProcess:
  build_sgd = tff.learning.optimizers.build_sgdm
  if work.algorithm == 'fed_sgd':
    return tff.learning.algorithms.build_fed_sgd(
      model, server_optimizer_fn=build_sgd(network.FED_SGD_RATE)
    )
  return tff.learning.algorithms.build_weighted_fed_avg(
    model,
    client_optimizer_fn=build_sgd(network.FED_AVG_RATE),
    server_optimizer_fn=build_sgd(1.0),
  )


def _our_process(
  work: work_lib.RoundWork,
  model: tff.learning.models.FunctionalModel,
  source: client_values.ExampleSource | None = None,
) -> tff.learning.templates.LearningProcess:
  training: dict[str, Any] = {'server_learning_rate': network.FED_SGD_RATE}
  if work.algorithm == 'fed_avg':
    training = {'client_learning_rate': network.FED_AVG_RATE, 'server_learning_rate': 1.0}
  privacy: dict[str, Any] = {}
  if work.private:
    privacy = {
      'l2_norm_clip': network.L2_NORM_CLIP, 'noise_multiplier': network.NOISE_MULTIPLIER
    }  # fmt: skip
  experiment = config.ExperimentConfig(
    seed=0,
    data=config.DataConfig(num_clients=work.num_clients),
    training=config.TrainingConfig(
      algorithm=work.algorithm,
      clients_per_round=work.num_clients,
      batch_size=work.batch_size,
      num_rounds=1,
      **training,
    ),
    privacy=config.PrivacyConfig(**privacy),
  )
  return learning_process.build_learning_process(experiment, model=model, source=source)


def _batched(work: work_lib.RoundWork, x: np.ndarray, y: np.ndarray) -> list[tf.data.Dataset]:
  return [
    tf.data.Dataset.from_tensor_slices(collections.OrderedDict(x=rows, y=labels)).batch(
      work.batch_size
    )
    for rows, labels in zip(x, y, strict=True)
  ]


def _flat(x: np.ndarray, y: np.ndarray) -> client_data.FederatedDataset:
  num_clients, num_examples = y.shape
  indices = np.arange(y.size).reshape(num_clients, num_examples)
  return client_data.FederatedDataset(x.reshape(-1, *x.shape[2:]), y.ravel(), list(indices))


def _sequences(x: np.ndarray, y: np.ndarray) -> list[Any]:
  clients = _flat(x, y)
  return [clients.client_value(client, False) for client in range(clients.num_clients)]


def _resident(
  work: work_lib.RoundWork,
  model: tff.learning.models.FunctionalModel,
  x: np.ndarray,
  y: np.ndarray,
) -> tuple[tff.learning.templates.LearningProcess, list[Any]]:
  clients = _flat(x, y)
  source = client_values.IndexSource(
    resident.ResidentArray(x.reshape(-1, *x.shape[2:])), resident.ResidentArray(y.ravel())
  )
  values = [clients.client_indices_value(client, False) for client in range(clients.num_clients)]
  return _our_process(work, model, source), values
