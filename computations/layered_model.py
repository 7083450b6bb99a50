"""Functional TFF models whose clipped gradients are cheap, because their layers are known."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.privacy import affine_layers


class LayeredModel(tff.learning.models.FunctionalModel):
  """A functional model all whose weights sit in affine layers.

  It goes wherever a `FunctionalModel` goes. Local training with differential privacy knows
  it by its type and clips gradients layer by layer; other models take a path that assumes
  nothing about them.
  """

  def __init__(
    self,
    *,
    initial_weights: Sequence[np.ndarray],
    predict_fn: Callable[[affine_layers.Layers, Any, tf.Tensor], tf.Tensor],
    loss_fn: Callable[..., tf.Tensor],
    input_spec: Any,
  ) -> None:
    """Builds the model.

    Args:
      initial_weights: Trainable weights, kernels and biases; there are no others.
      predict_fn: (layers, weights, x) -> float32 [m, ...]. Every weight is kernel or bias in
        exactly one call of `layers.conv2d` or `layers.dense`. Examples must be processed
        independently of each other, in evaluation as in training.
      loss_fn: (output, label, sample_weight=None) -> float32 [], the mean over a batch.
      input_spec: `<x, y>` of a batch.
    """

    @tf.function
    def predict_on_batch(model_weights: Any, x: tf.Tensor, training: bool = True) -> tf.Tensor:
      del training  # The same computation trains and evaluates.
      return predict_fn(affine_layers.Layers(), model_weights[0], x)

    super().__init__(
      initial_weights=(tuple(initial_weights), ()),
      predict_on_batch_fn=predict_on_batch,
      loss_fn=loss_fn,
      input_spec=input_spec,
    )
    self._predict_fn = predict_fn

  def loss_sum(
    self, layers: affine_layers.Layers, weights: Any, x: tf.Tensor, y: tf.Tensor
  ) -> tf.Tensor:
    """Returns the loss summed over a batch, float32 []; 0 for an empty one.

    Args:
      layers: Remembers the layers that are applied.
      weights: The trainable weights.
      x: [m, ...], the batch.
      y: [m, ...], its labels.
    """
    mean = self.loss(self._predict_fn(layers, weights, x), y)
    return tf.math.multiply_no_nan(mean, tf.cast(tf.shape(x)[0], mean.dtype))
