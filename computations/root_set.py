"""What the server's root set tells about the model that enters a round.

The examples are constants of the server's computation, a part of its graph rather than of
its state: a root set is meant to be small.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from computations import local_training
from computations import weights as weights_lib
from tff_robust import signatures
from tff_robust.aggregators import rule as rule_lib
from tff_robust.factories import flat
from tff_robust.privacy import dp_gradient

_EXAMPLES_PER_BATCH = 250

Look = Callable[[local_training.Weights, signatures.Seed], rule_lib.RootView]


class RootSet(NamedTuple):
  """The examples that the server holds.

  Attributes:
    x: [m, ...] features, in the dtype in which clients store them.
    y: int32 [m] labels.
  """

  x: np.ndarray
  y: np.ndarray


def build_look(
  model: tff.learning.models.FunctionalModel,
  root: RootSet,
  *,
  training: local_training.LocalTraining,
  mechanism: dp_gradient.GradientMechanism | None = None,
  learning_rate: float = 1.0,
) -> Look:
  """Returns the function from a round's model to what the root set tells about it.

  Args:
    model: The model that is trained.
    root: The examples that the server holds.
    training: What a client computes in a round; the server does the same on the root set, so
      with 'fed_avg' it takes as many steps as a client with that many examples.
    mechanism: How clients clip and noise gradients. The server clips in the same way, so that
      lengths compare, and adds no noise, as its data stays where it is.
    learning_rate: Of the server.

  Returns:
    `(trainable weights, seed int64 [2] of the server's batches) -> RootView`.

  Raises:
    ValueError: If the root set is empty, or features and labels differ in number.
  """
  num_examples = len(root.y)
  if not num_examples or len(root.x) != num_examples:
    raise ValueError(
      f'the root set has {len(root.x)} features and {num_examples} labels; both must have the'
      ' same number, at least 1.'
    )
  if mechanism is not None:
    mechanism = dataclasses.replace(mechanism, noise_multiplier=0.0)
  update = local_training.build_client_update(model, training, mechanism)
  trainable_type = weights_lib.weights_type(model).trainable

  def look(weights: local_training.Weights, seed: signatures.Seed) -> rule_lib.RootView:
    weights = list(weights)
    x, y = tf.constant(root.x), tf.constant(root.y, tf.int32)

    def loss_after(step: tf.Tensor) -> tf.Tensor:
      parts = tf.nest.flatten(flat.unflatten(step, trainable_type))
      moved = [leaf - part for leaf, part in zip(weights, parts, strict=True)]

      def add_batch(start: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        stop = start + _EXAMPLES_PER_BATCH
        labels = y[start:stop]
        output = model.predict_on_batch((moved, ()), x[start:stop], training=False)
        mean = tf.cast(model.loss(output, labels), tf.float64)
        return stop, total + mean * tf.cast(tf.shape(labels)[0], tf.float64)

      _, total = tf.while_loop(
        lambda start, _: start < num_examples,
        add_batch,
        (tf.constant(0), tf.constant(0.0, tf.float64)),
        parallel_iterations=1,
      )
      return total / num_examples

    # Without noise nothing is drawn from the second seed.
    return rule_lib.RootView(update(weights, x, y, seed, seed).message, loss_after, learning_rate)

  return look
