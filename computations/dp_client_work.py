"""Honest client work: local training, with DP-SGD where a mechanism is given.

The process is TFF's `ClientWorkProcess`, so it composes with TFF's distributors and
finalizers. Two things differ from the client work of `tff.learning`: a message is one
flat vector that carries its sender's identity, and it is never sanitised. TFF's client
work replaces an update that holds a NaN by zeros of weight zero, and a robust rule, which
ignores weights, would count those zeros as a vote.
"""

import collections
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from computations import client_values, local_training, models
from computations import weights as weights_lib
from tff_robust import checks, seeds
from tff_robust.attacks import attack_schedule
from tff_robust.privacy import dp_gradient


def message_type(model: tff.learning.models.FunctionalModel) -> tff.Type:
  """Returns the type of what a client sends: `<message=float32[d],client_id,is_byzantine>`."""
  return tff.StructWithPythonType(
    [
      ('message', tff.TensorType(np.float32, [models.num_parameters(model)])),
      ('client_id', np.int64),
      ('is_byzantine', np.bool_),
    ],
    collections.OrderedDict,
  )


def build_dp_client_work(
  model: tff.learning.models.FunctionalModel,
  *,
  training: local_training.LocalTraining,
  seed: int,
  mechanism: dp_gradient.GradientMechanism | None = None,
  noise_source: str = 'seeded',
  source: client_values.ExampleSource | None = None,
  anomaly_weight: float = 0.0,
  schedule: attack_schedule.AttackSchedule | None = None,
) -> tff.learning.templates.ClientWorkProcess:
  """Builds the work that every client does before an attack replaces any message.

  Args:
    model: The model to train.
    training: What a client computes in a round.
    seed: The run's seed. Batches and noise are folded from it, the round and the client's
      id, so they differ between any two clients and rounds and repeat when a run repeats.
    mechanism: Clips and noises gradients, or None for no differential privacy.
    noise_source: 'seeded', or 'entropy' to draw the noise seed on every client afresh from
      TensorFlow's generator of the process, which the operating system seeds and which is not
      cryptographic; then runs do not repeat. Seeded noise hides nothing from an analyst who
      knows the seed. Batches are drawn from the run's seed in either case.
    source: Where the examples are; by default every client brings its own as a sequence.
    anomaly_weight: How compromised clients train while the attack is on, see `attack.Attack`; in
      'fed_avg' only. They train like all others at 0.
    schedule: In which rounds the attack is on; in all of them by default.

  Returns:
    A process with state `<seed=int64[2],round=int64>@SERVER` whose `next` takes the state,
    the model weights and, at clients, what the source takes. Its result holds
    `<message=float32[d],client_id=int64,is_byzantine=bool>` and the weight n_k; its
    measurements are the sums `<loss_sum,num_examples>` over honest clients.

  Raises:
    ValueError: If the noise source is not known, the mechanism was made for another expected
      batch size than `training.batch_size`, or there is an anomaly weight in 'fed_sgd'.
  """
  checks.known_name('noise_source', noise_source, ('seeded', 'entropy'))
  if anomaly_weight and training.algorithm != 'fed_avg':
    raise ValueError(
      f'anomaly_weight={anomaly_weight} has no effect with algorithm {training.algorithm!r}; leave'
      " it out or take algorithm='fed_avg'."
    )
  attacked = schedule or attack_schedule.AttackSchedule()
  client_update = local_training.build_client_update(model, training, mechanism)
  weights_type = weights_lib.weights_type(model)
  source = source or client_values.SequenceSource(model)
  state_type = tff.StructWithPythonType(
    [('seed', tff.TensorType(np.int64, [2])), ('round', np.int64)], collections.OrderedDict
  )

  @tff.tensorflow.computation
  def initial_state() -> Any:
    return collections.OrderedDict(
      seed=tf.constant(seeds.tensor_seed(seed)), round=tf.constant(0, tf.int64)
    )

  @tff.tensorflow.computation(state_type, weights_type, source.value_type)
  @tf.function(autograph=False)
  def work(state: Any, weights: Any, value: Any) -> Any:
    client = source.read(value)

    def client_seed(purpose: seeds.Purpose) -> tf.Tensor:
      return seeds.fold(state['seed'], purpose, state['round'], client.client_id)

    noise_seed = client_seed(seeds.Purpose.DP_NOISE)
    if noise_source == 'entropy':
      noise_seed = tf.raw_ops.NonDeterministicInts(shape=[2], dtype=tf.int64)
    penalty: dict[str, tf.Tensor] = {}
    if anomaly_weight:
      is_lying = tf.logical_and(client.is_byzantine, attacked.is_active(state['round']))
      penalty['anomaly_weight'] = tf.where(is_lying, anomaly_weight, 0.0)
    result = client_update(
      list(weights.trainable),
      client.x,
      client.y,
      client_seed(seeds.Purpose.BATCHES),
      noise_seed,
      **penalty,
    )
    sent = collections.OrderedDict(
      message=result.message,
      client_id=client.client_id,
      is_byzantine=client.is_byzantine,
    )
    num_examples = tf.cast(tf.shape(client.x)[0], tf.float32)
    honest = tf.logical_not(client.is_byzantine)
    measured = collections.OrderedDict(
      loss_sum=tf.where(honest, result.loss_sum, 0.0),
      num_examples=tf.where(honest, result.num_used, 0.0),
    )
    return tff.learning.templates.ClientResult(sent, num_examples), measured

  @tff.tensorflow.computation(state_type)
  def advance(state: Any) -> Any:
    return collections.OrderedDict(seed=state['seed'], round=state['round'] + 1)

  @tff.federated_computation
  def initialize() -> Any:
    return tff.federated_eval(initial_state, tff.SERVER)

  @tff.federated_computation(
    tff.FederatedType(state_type, tff.SERVER),
    tff.FederatedType(weights_type, tff.CLIENTS),
    tff.FederatedType(source.value_type, tff.CLIENTS),
  )
  def next_fn(state: Any, weights: Any, values: Any) -> Any:
    result, measured = tff.federated_map(work, (tff.federated_broadcast(state), weights, values))
    return tff.templates.MeasuredProcessOutput(
      tff.federated_map(advance, state), result, tff.federated_sum(measured)
    )

  return tff.learning.templates.ClientWorkProcess(initialize, next_fn)
