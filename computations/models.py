"""Image classifiers as functional TFF models: weights in, logits out, no state."""

import collections
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from computations import architectures, layered_model
from tff_robust import checks, seeds
from tff_robust.privacy import affine_layers

_ACTIVATIONS = {'relu': tf.nn.relu, 'tanh': tf.nn.tanh}


def build_model(
  name: str,
  *,
  input_shape: tuple[int, ...],
  num_classes: int,
  seed: int,
  activation: str = 'relu',
  input_mean: Sequence[float] | np.ndarray | None = None,
  input_std: Sequence[float] | np.ndarray | None = None,
) -> layered_model.LayeredModel:
  """Returns a classifier that reads stored pixels and gives logits.

  Weights start Glorot uniform (X. Glorot and Y. Bengio, AISTATS 2010, equation 16,
  https://proceedings.mlr.press/v9/glorot10a.html), biases at zero. The loss is the mean
  cross-entropy of the softmax over a batch, and 0 for an empty batch. Every example is
  processed independently of the others in its batch, so a gradient per example exists.

  Args:
    name: One of `architectures.MODELS`.
    input_shape: Height, width and channels of an image.
    num_classes: Number of classes.
    seed: Run seed from which the initial weights are drawn.
    activation: 'relu' or 'tanh', after every layer but the last. A bounded activation
      suits training with clipped and noised gradients (N. Papernot et al., AAAI 2021,
      https://arxiv.org/abs/2007.14191).
    input_mean: Subtracted from each channel; None for zeros. See
      `tff_robust.data.load.channel_statistics`.
    input_std: Divides each channel; None for ones.

  Returns:
    A model on `<x=uint8[?,H,W,C],y=int32[?]>`; its `predict_on_batch` takes float32 images
    too. Trainable weights are a tuple of float32 arrays, kernel and bias of each layer in
    turn; there are no others.

  Raises:
    ValueError: If a name is unknown, batch normalisation is asked for, images are too small
      for the model, or a channel constant is unusable.
  """
  architecture = architectures.architecture(name)
  checks.known_name('activation', activation, architectures.ACTIVATIONS)
  shapes = architectures.weight_shapes(name, input_shape=input_shape, num_classes=num_classes)
  mean = _per_channel('input_mean', input_mean, input_shape[-1], 0.0)
  std = _per_channel('input_std', input_std, input_shape[-1], 1.0)
  if not (std > 0).all():
    raise ValueError(f'input_std={std.tolist()} must be above 0 in every channel.')
  activate = _ACTIVATIONS[activation]

  def predict(layers: affine_layers.Layers, weights: Any, x: tf.Tensor) -> tf.Tensor:
    remaining = iter(weights)
    num_examples = tf.shape(x)[0]
    if not x.shape[0]:
      # A batch drawn at random may be empty, and the fused convolutions of TensorFlow on CPUs
      # fail on that: one blank image stands in and its logits are cut off.
      x = tf.pad(x, [[0, tf.cast(num_examples < 1, tf.int32)]] + [[0, 0]] * len(input_shape))
    hidden = (tf.cast(x, tf.float32) - mean) / std
    for filters in architecture.convolutions:
      if filters == architectures.POOL:
        hidden = tf.nn.max_pool2d(hidden, ksize=2, strides=2, padding='VALID')
      else:
        hidden = activate(layers.conv2d(hidden, next(remaining), next(remaining)))
    kernel = next(remaining)
    hidden = tf.reshape(hidden, [-1, kernel.shape[0]])
    for _ in architecture.dense:
      hidden = activate(layers.dense(hidden, kernel, next(remaining)))
      kernel = next(remaining)
    return layers.dense(hidden, kernel, next(remaining))[:num_examples]

  return layered_model.LayeredModel(
    initial_weights=_initial_weights(shapes, seed),
    predict_fn=predict,
    loss_fn=_mean_cross_entropy,
    input_spec=collections.OrderedDict(
      x=tf.TensorSpec([None, *input_shape], tf.uint8), y=tf.TensorSpec([None], tf.int32)
    ),
  )


def num_parameters(model: tff.learning.models.FunctionalModel) -> int:
  """Returns the number of trainable parameters, the d of a flattened update."""
  trainable, _ = model.initial_weights
  return sum(int(np.size(weight)) for weight in tf.nest.flatten(trainable))


def _mean_cross_entropy(
  output: tf.Tensor, label: tf.Tensor, sample_weight: tf.Tensor | None = None
) -> tf.Tensor:
  """float32 []: mean cross-entropy of softmax(output float32 [m, classes]); 0 if m is 0."""
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=output)
  if sample_weight is None:
    return tf.reduce_sum(losses) / tf.cast(tf.maximum(tf.size(losses), 1), losses.dtype)
  weights = tf.cast(sample_weight, losses.dtype)
  return tf.math.divide_no_nan(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))


def _initial_weights(shapes: Sequence[tuple[int, ...]], seed: int) -> tuple[np.ndarray, ...]:
  weights = []
  for position, shape in enumerate(shapes):
    if len(shape) == 1:
      weights.append(np.zeros(shape, np.float32))
      continue
    # Each layer draws for itself: a wider layer leaves the others' draws as they are.
    generator = seeds.host_generator(seed, seeds.Purpose.INITIAL_WEIGHTS, position)
    receptive_field = math.prod(shape[:-2])
    limit = math.sqrt(6.0 / (receptive_field * (shape[-2] + shape[-1])))
    weights.append(generator.uniform(-limit, limit, shape).astype(np.float32))
  return tuple(weights)


def _per_channel(
  argument: str, given: Sequence[float] | np.ndarray | None, channels: int, default: float
) -> np.ndarray:
  if given is None:
    return np.full(channels, default, np.float32)
  values = np.asarray(given, np.float32)
  if values.shape != (channels,) or not np.isfinite(values).all():
    raise ValueError(
      f'{argument}={np.asarray(given).tolist()} must have one finite number for each of the'
      f' {channels} channels.'
    )
  return values
