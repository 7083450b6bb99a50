"""What one client computes in a round, as a pure TensorFlow function.

`fed_sgd` takes one minibatch gradient at the broadcast weights; `fed_avg` runs local SGD
from them. With a `GradientMechanism` every step is a step of DP-SGD. All draws come from
the given seeds, so the same client in the same round of the same run always does the same.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

from computations import layered_model
from tff_robust import checks, seeds, signatures
from tff_robust.factories import flat
from tff_robust.privacy import dp_gradient, layerwise_gradients, per_example_gradients

Weights = Sequence[tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalTraining:
  """Plain values that fix a client's computation.

  Attributes:
    algorithm: 'fed_sgd' or 'fed_avg'.
    batch_size: Examples a minibatch, B; the expected size under Poisson sampling.
    batch_sampling: 'shuffle' (fed_avg: each local epoch is a fresh permutation cut into
      batches; fed_sgd: B examples without replacement) or 'poisson' (every example joins a
      batch independently with probability min(1, B / n_k); sums are divided by B).
    local_epochs: Passes over the client's examples in a round, for 'fed_avg'.
    learning_rate: Of local SGD, for 'fed_avg'.
  """

  algorithm: str
  batch_size: int
  batch_sampling: str = 'shuffle'
  local_epochs: int = 1
  learning_rate: float = 1.0

  def __post_init__(self) -> None:
    checks.known_name('algorithm', self.algorithm, ('fed_sgd', 'fed_avg'))
    checks.known_name('batch_sampling', self.batch_sampling, ('shuffle', 'poisson'))
    checks.at_least('batch_size', self.batch_size, 1)
    checks.at_least('local_epochs', self.local_epochs, 1)
    checks.positive('learning_rate', self.learning_rate)


class LocalResult(NamedTuple):
  """What a client has when its local training is over.

  Attributes:
    message: float32 [d], the flattened gradient ('fed_sgd') or the flattened difference
      between broadcast and trained weights ('fed_avg'): both are subtracted by the server.
      It is never sanitised: a diverged client sends what it got.
    loss_sum: float32 [], cross-entropy summed over the examples that were used.
    num_used: float32 [], how many examples were used, counted once for every use.
  """

  message: tf.Tensor
  loss_sum: tf.Tensor
  num_used: tf.Tensor


ClientUpdate = Callable[..., LocalResult]


def shuffled_batch(
  num_examples: tf.Tensor, batch_size: int, step: tf.Tensor, seed: signatures.Seed
) -> tf.Tensor:
  """Returns the example indices of a step when every epoch is a permutation cut into batches.

  Args:
    num_examples: int32 [], n_k.
    batch_size: B; the last batch of an epoch holds the remainder.
    step: int64 [], counted from 0 over all epochs.
    seed: int64 [2] of this client and round.

  Returns:
    int32 [at most B].
  """
  steps_per_epoch = tf.maximum(tf.cast(num_batches(num_examples, batch_size), tf.int64), 1)
  epoch, position = step // steps_per_epoch, tf.cast(step % steps_per_epoch, tf.int32)
  order = tf.random.experimental.stateless_shuffle(
    tf.range(num_examples), seed=seeds.fold(seed, epoch)
  )
  return order[position * batch_size : (position + 1) * batch_size]


def poisson_batch(
  num_examples: tf.Tensor, batch_size: int, step: tf.Tensor, seed: signatures.Seed
) -> tf.Tensor:
  """Returns example indices of a Poisson sample with rate min(1, B / n_k).

  Args:
    num_examples: int32 [], n_k.
    batch_size: The expected size B.
    step: int64 [], counted from 0.
    seed: int64 [2] of this client and round.

  Returns:
    int32 [m] with m random, possibly 0.
  """
  rate = tf.cast(batch_size, tf.float32) / tf.cast(tf.maximum(num_examples, 1), tf.float32)
  draws = tf.random.stateless_uniform([num_examples], seed=seeds.fold(seed, step))
  return tf.cast(tf.where(draws < rate)[:, 0], tf.int32)


def num_batches(num_examples: tf.Tensor, batch_size: int) -> tf.Tensor:
  """Returns ceil(n_k / B), int32 []."""
  return (num_examples + batch_size - 1) // batch_size


def _with_penalty(
  gradients: Weights, trained: Weights, initial: Weights, weight: tf.Tensor
) -> list[tf.Tensor]:
  """Returns the gradient of (1 - weight) loss + weight |trained - initial|^2."""
  return [
    (1.0 - weight) * gradient + tf.math.multiply_no_nan(2.0 * (now - before), weight)
    for gradient, now, before in zip(gradients, trained, initial, strict=True)
  ]


def build_client_update(
  model: tff.learning.models.FunctionalModel,
  training: LocalTraining,
  mechanism: dp_gradient.GradientMechanism | None = None,
) -> ClientUpdate:
  """Returns the function that one client runs in a round.

  Args:
    model: The model; only its trainable weights are trained. With a mechanism, a
      `LayeredModel` has its gradients clipped layer by layer.
    training: The client's algorithm.
    mechanism: Clips and noises each step's gradient, or None to train without
      differential privacy. Its expected batch size must be `training.batch_size`.

  Returns:
    `(weights, x [n_k, ...], y int32 [n_k], batch_seed, noise_seed, anomaly_weight=None) ->
    LocalResult`, with seeds int64 [2] that are specific to run, round and client. A client with
    an anomaly weight, float32 [], trains on (1 - weight) times its loss plus weight times the
    squared distance of its model from `weights`. A client of 'fed_sgd' does not leave them, and
    takes none.

  Raises:
    ValueError: If the mechanism was made for another expected batch size.
  """
  if mechanism is not None and mechanism.expected_batch_size != training.batch_size:
    raise ValueError(
      f'expected_batch_size={mechanism.expected_batch_size} of the mechanism must equal'
      f' batch_size={training.batch_size}.'
    )
  select = poisson_batch if training.batch_sampling == 'poisson' else shuffled_batch

  def loss(weights: Weights, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return model.loss(model.predict_on_batch((weights, ()), x, training=True), y)

  record_loss: per_example_gradients.LossFn | layerwise_gradients.LayeredLoss = loss
  if isinstance(model, layered_model.LayeredModel):
    record_loss = layerwise_gradients.LayeredLoss(model.loss_sum)

  def plain_gradient(weights: Weights, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, Any]:
    # An empty batch has no mean: its examples contribute nothing.
    size = tf.shape(x)[0]
    count = tf.cast(size, tf.float32)
    divisor = (
      float(training.batch_size) if training.batch_sampling == 'poisson' else tf.maximum(count, 1.0)
    )
    with tf.GradientTape() as tape:
      tape.watch(weights)
      mean_loss = loss(weights, x, y)
      # Scaled here, where it is one number.
      objective = tf.math.multiply_no_nan(mean_loss, count / divisor)
    gradients = tape.gradient(objective, weights)
    # Zero times anything is zero here; a choice takes several times as long.
    is_used = tf.cast(size > 0, tf.float32)
    kept = tf.nest.map_structure(lambda leaf: tf.math.multiply_no_nan(leaf, is_used), gradients)
    return tf.math.multiply_no_nan(mean_loss, count), kept

  def gradient(
    weights: Weights, x: tf.Tensor, y: tf.Tensor, seed: signatures.Seed
  ) -> tuple[tf.Tensor, Any]:
    if mechanism is None:
      return plain_gradient(weights, x, y)
    return mechanism.noised_gradient(record_loss, weights, x, y, seed)

  def step_gradient(
    weights: Weights,
    x: tf.Tensor,
    y: tf.Tensor,
    step: tf.Tensor,
    batch_seed: signatures.Seed,
    noise_seed: signatures.Seed,
  ) -> tuple[tf.Tensor, tf.Tensor, Any]:
    chosen = select(tf.shape(x)[0], training.batch_size, step, batch_seed)
    loss_sum, gradients = gradient(
      weights, tf.gather(x, chosen), tf.gather(y, chosen), seeds.fold(noise_seed, step)
    )
    return loss_sum, tf.cast(tf.shape(chosen)[0], tf.float32), gradients

  def fed_sgd(
    weights: Weights,
    x: tf.Tensor,
    y: tf.Tensor,
    batch_seed: signatures.Seed,
    noise_seed: signatures.Seed,
  ) -> LocalResult:
    loss_sum, used, gradients = step_gradient(
      list(weights), x, y, tf.constant(0, tf.int64), batch_seed, noise_seed
    )
    return LocalResult(flat.flatten(gradients), loss_sum, used)

  optimizer = tff.learning.optimizers.build_sgdm(training.learning_rate)

  def fed_avg(
    weights: Weights,
    x: tf.Tensor,
    y: tf.Tensor,
    batch_seed: signatures.Seed,
    noise_seed: signatures.Seed,
    anomaly_weight: tf.Tensor | None = None,
  ) -> LocalResult:
    initial = list(weights)
    specs = [tf.TensorSpec(weight.shape, weight.dtype) for weight in initial]
    # A graph of its own, in which nothing goes round: in one that does, TensorFlow gives gradients
    # of poolings to oneDNN or not, as it happens, and without it a round takes 1.4 times as long.
    one_step = tf.function(
      step_gradient, autograph=False, experimental_attributes={'_noinline': True}
    )
    num_steps = tf.cast(
      training.local_epochs * num_batches(tf.shape(x)[0], training.batch_size), tf.int64
    )

    def body(
      step: tf.Tensor, state: Any, trained: Any, loss_sum: tf.Tensor, used: tf.Tensor
    ) -> tuple[Any, ...]:
      step_loss, step_used, gradients = one_step(trained, x, y, step, batch_seed, noise_seed)
      if anomaly_weight is not None:
        gradients = _with_penalty(gradients, trained, initial, anomaly_weight)
      state, trained = optimizer.next(state, trained, gradients)
      return step + 1, state, trained, loss_sum + step_loss, used + step_used

    _, _, trained, loss_sum, used = tf.while_loop(
      lambda step, *_: step < num_steps,
      body,
      (tf.constant(0, tf.int64), optimizer.initialize(specs), initial, 0.0, 0.0),
      parallel_iterations=1,
    )
    difference = [before - after for before, after in zip(initial, trained, strict=True)]
    return LocalResult(flat.flatten(difference), loss_sum, used)

  if training.algorithm == 'fed_sgd':
    return fed_sgd
  return fed_avg
