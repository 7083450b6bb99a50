"""The networks and data of the benchmark, in TensorFlow alone."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from binaries.benchmarks import work as work_lib

FED_SGD_RATE = 0.1
FED_AVG_RATE = 0.01
L2_NORM_CLIP = 1.0
NOISE_MULTIPLIER = 1.0
_CHANNELS = (32, 64, 64, 128)


def initial_weights(work: work_lib.RoundWork) -> tuple[np.ndarray, ...]:
  """Returns kernel and bias of each layer: Glorot uniform and zero, always the same.

  Four 3x3 convolutions with 32, 64, 64 and 128 channels, of which the first three are
  followed by a 2x2 max pooling, and a dense layer: 150,666 weights. With `hidden_units`, a
  dense network with one hidden layer.
  """
  height, width, channels = work_lib.IMAGE_SHAPE
  shapes: list[tuple[int, ...]] = []
  if work.hidden_units:
    shapes += [(height * width * channels, work.hidden_units)]
    features = work.hidden_units
  else:
    for filters in _CHANNELS:
      shapes.append((3, 3, channels, filters))
      channels = filters
    features = (height // 8) * (width // 8) * channels
  shapes.append((features, work_lib.NUM_CLASSES))
  generator = np.random.default_rng(1)
  weights: list[np.ndarray] = []
  for shape in shapes:
    limit = math.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
    weights.append(generator.uniform(-limit, limit, shape).astype(np.float32))
    weights.append(np.zeros(shape[-1], np.float32))
  return tuple(weights)


def _conv2d(inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
  return tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, 1, 'SAME'), bias)


def _dense(inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
  return tf.nn.bias_add(tf.matmul(inputs, kernel), bias)


def logits(
  weights: Sequence[Any],
  x: tf.Tensor,
  *,
  conv2d: Callable[..., tf.Tensor] = _conv2d,
  dense: Callable[..., tf.Tensor] = _dense,
) -> tf.Tensor:
  """Returns float32 [m, classes] for images [m, 32, 32, 3] of any dtype.

  Args:
    weights: Kernel and bias of each layer.
    x: The images.
    conv2d: `(inputs, kernel, bias)` to a 'SAME' convolution.
    dense: `(inputs, kernel, bias)` to a dense layer.
  """
  hidden = tf.cast(x, tf.float32) * (1 / 127.5) - 1.0
  layers = list(zip(weights[::2], weights[1::2], strict=True))
  for position, (kernel, bias) in enumerate(layers[:-1]):
    if len(kernel.shape) == 4:
      hidden = tf.nn.relu(conv2d(hidden, kernel, bias))
      if position < len(layers) - 2:
        hidden = tf.nn.max_pool2d(hidden, 2, 2, 'VALID')
    else:
      hidden = tf.reshape(hidden, [-1, kernel.shape[0]])
      hidden = tf.nn.relu(dense(hidden, kernel, bias))
  kernel, bias = layers[-1]
  return dense(tf.reshape(hidden, [-1, kernel.shape[0]]), kernel, bias)


def mean_cross_entropy(output: tf.Tensor, label: tf.Tensor, sample_weight: Any = None) -> tf.Tensor:
  """Returns float32 []; the weights of examples that `tff.learning` allows are not used."""
  del sample_weight
  return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=output))


def client_arrays(work: work_lib.RoundWork) -> tuple[np.ndarray, np.ndarray]:
  """Returns uint8 [clients, examples, 32, 32, 3] and int32 [clients, examples], random."""
  generator = np.random.default_rng(0)
  shape = (work.num_clients, work.num_batches * work.batch_size)
  x = generator.integers(0, 256, (*shape, *work_lib.IMAGE_SHAPE), dtype=np.uint8)
  return x, generator.integers(0, work_lib.NUM_CLASSES, shape, dtype=np.int32)


def distance_moved(weights: Sequence[Any], initial: Sequence[np.ndarray]) -> float:
  """Returns the norm by which training moved the weights; brings them to the host."""
  pairs = zip(weights, initial, strict=True)
  return math.sqrt(sum(float(np.sum(np.square(np.asarray(w) - w0))) for w, w0 in pairs))
