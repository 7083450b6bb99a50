"""The weights of a functional model as TFF values."""

from typing import Any

import tensorflow as tf
import tensorflow_federated as tff


def initial_weights(model: tff.learning.models.FunctionalModel) -> tff.Computation:
  """Returns the computation `( -> ModelWeights)` of the model's initial weights."""

  @tff.tensorflow.computation
  def compute() -> Any:
    return tff.learning.models.ModelWeights(
      *tf.nest.map_structure(tf.convert_to_tensor, model.initial_weights)
    )

  return compute


def weights_type(model: tff.learning.models.FunctionalModel) -> tff.Type:
  """Returns the `ModelWeights` type of the model."""
  return initial_weights(model).type_signature.result
