"""Accuracy and loss of a model on examples in memory."""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust import checks, processor

Evaluate = Callable[[Any, Any, Any], Mapping[str, float]]


def build_evaluate(
  model: tff.learning.models.FunctionalModel, *, batch_size: int = 500
) -> Evaluate:
  """Returns a function that evaluates weights in TensorFlow, outside any federated context.

  The function takes `tff.learning.models.ModelWeights` (or any pair of trainable and
  non-trainable weights, as arrays or tensors), images uint8 [m, H, W, C] and labels
  int32 [m], and returns

  - `accuracy`, the share of examples whose largest logit is at the label; an example with a
    NaN among its logits predicts nothing and counts as a guess, right once in as many times as
    there are classes, so that a model which has diverged is at the level of chance;
  - `loss`, the mean cross-entropy of the softmax, computed in float64: finite wherever
    logits are, infinite or NaN where they are not;
  - `num_examples`.

  Pass tensors instead of arrays to keep the images on the device between calls.

  Args:
    model: The model whose forward pass is evaluated.
    batch_size: Examples of one forward pass. Results do not depend on it beyond rounding.

  Raises:
    ValueError: If `batch_size` is below 1; from the function, if there is no example.
  """
  checks.at_least('batch_size', batch_size, 1)
  image_spec, label_spec = model.input_spec['x'], model.input_spec['y']

  @tf.function(autograph=False)
  def sums(weights: Any, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    def sums_of_batch(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      labels = y[start : start + batch_size]
      logits = tf.cast(
        model.predict_on_batch(weights, x[start : start + batch_size], training=False), tf.float64
      )
      is_guess = tf.reduce_any(tf.math.is_nan(logits), axis=1)
      is_hit = tf.argmax(logits, axis=1, output_type=labels.dtype) == labels
      chance = 1.0 / tf.cast(tf.shape(logits)[1], tf.float64)
      losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
      correct = tf.where(is_guess, chance, tf.cast(is_hit, tf.float64))
      return tf.reduce_sum(correct), tf.reduce_sum(losses)

    # Side by side: an operation alone does not keep all cores busy.
    correct, loss = tf.map_fn(
      sums_of_batch,
      tf.range(0, tf.shape(y)[0], batch_size),
      fn_output_signature=(tf.float64, tf.float64),
      parallel_iterations=processor.num_cores(),
    )
    return tf.reduce_sum(correct), tf.reduce_sum(loss)

  def evaluate(weights: Any, x: Any, y: Any) -> Mapping[str, float]:
    trainable, non_trainable = weights
    tensors = tf.nest.map_structure(tf.convert_to_tensor, (tuple(trainable), tuple(non_trainable)))
    images = tf.convert_to_tensor(x, image_spec.dtype)
    labels = tf.convert_to_tensor(y, label_spec.dtype)
    num_examples = int(labels.shape[0])
    if num_examples < 1 or int(images.shape[0]) != num_examples:
      raise ValueError(
        f'x has {images.shape[0]} examples and y has {num_examples}; both must have the same'
        ' number, at least 1.'
      )
    correct, loss = sums(tensors, images, labels)
    return collections.OrderedDict(
      accuracy=float(correct) / num_examples,
      loss=float(loss) / num_examples,
      num_examples=num_examples,
    )

  return evaluate
