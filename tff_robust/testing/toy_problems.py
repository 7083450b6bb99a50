"""Problems small enough to check by hand, for tests of rules, attacks and processes."""

import collections
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff


class Blobs(NamedTuple):
  """Points around class centres, dealt to clients.

  Attributes:
    x: float32 [clients, examples, features].
    y: int32 [clients, examples].
  """

  x: np.ndarray
  y: np.ndarray


def blobs(
  *,
  num_clients: int,
  examples_per_client: int,
  num_features: int = 4,
  num_classes: int = 3,
  spread: float = 0.5,
  seed: int = 0,
) -> Blobs:
  """Returns Gaussian clouds around unit vectors, one cloud a class; clients are alike."""
  generator = np.random.default_rng(seed)
  y = generator.integers(0, num_classes, (num_clients, examples_per_client)).astype(np.int32)
  centres = np.eye(num_classes, num_features)
  x = centres[y] + spread * generator.standard_normal((*y.shape, num_features))
  return Blobs(x.astype(np.float32), y)


def softmax_regression(
  *, num_features: int = 4, num_classes: int = 3
) -> tff.learning.models.FunctionalModel:
  """Returns softmax regression with zero initial weights: `num_features + 1` times classes."""
  initial = (
    np.zeros([num_features, num_classes], np.float32),
    np.zeros([num_classes], np.float32),
  )

  def predict(weights: Any, x: tf.Tensor, training: bool) -> tf.Tensor:
    del training
    kernel, bias = weights[0]
    return tf.matmul(x, kernel) + bias

  def loss(output: tf.Tensor, label: tf.Tensor, sample_weight: Any = None) -> tf.Tensor:
    del sample_weight
    return tf.reduce_mean(
      tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=output)
    )

  return tff.learning.models.FunctionalModel(
    initial_weights=(initial, ()),
    predict_on_batch_fn=tf.function(predict),
    loss_fn=tf.function(loss),
    input_spec=collections.OrderedDict(
      x=tf.TensorSpec([None, num_features], tf.float32), y=tf.TensorSpec([None], tf.int32)
    ),
  )


def client_value(
  x: np.ndarray, y: np.ndarray, *, client_id: int, is_byzantine: bool = False
) -> dict[str, tf.data.Dataset]:
  """Returns `<examples=D*,identity=I*>` of one client as data sets."""
  examples = collections.OrderedDict(x=x, y=y)
  identity = collections.OrderedDict(
    client_id=np.array([client_id], np.int64), is_byzantine=np.array([is_byzantine])
  )
  return collections.OrderedDict(
    examples=tf.data.Dataset.from_tensor_slices(examples),
    identity=tf.data.Dataset.from_tensor_slices(identity),
  )


def cohort(problem: Blobs, *, num_byzantine: int = 0) -> list[dict[str, tf.data.Dataset]]:
  """Returns the values of all clients of a problem; the first `num_byzantine` are Byzantine."""
  return [
    client_value(x, y, client_id=index, is_byzantine=index < num_byzantine)
    for index, (x, y) in enumerate(zip(problem.x, problem.y, strict=True))
  ]
