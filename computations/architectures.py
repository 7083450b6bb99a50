"""Layers of the models by name, and the weights they need: no TensorFlow."""

import dataclasses
import math

from tff_robust import checks

# A max pooling of 2x2 with stride 2 between convolutions.
POOL = 0


@dataclasses.dataclass(frozen=True)
class Architecture:
  """A feed-forward classifier.

  Attributes:
    convolutions: Channels of 3x3 'same' convolutions in order, `POOL` for a pooling.
    dense: Widths of hidden dense layers after flattening.
  """

  convolutions: tuple[int, ...] = ()
  dense: tuple[int, ...] = ()


ARCHITECTURES = {
  'logistic': Architecture(),
  # "2NN" of McMahan et al., AISTATS 2017: 199,210 parameters on MNIST.
  'mlp': Architecture(dense=(200, 200)),
  'small': Architecture(convolutions=(16, 16, POOL, 32, 32, POOL)),
  # Four convolutions and one fully connected layer, read literally.
  'literal': Architecture(convolutions=(64, 64, POOL, 128, 128, POOL)),
  # The network of Xie, Koyejo and Gupta, UAI 2019, without batch normalisation and dropout.
  'xie': Architecture(convolutions=(64, 64, POOL, 128, 128, POOL), dense=(128,)),
}

MODELS = tuple(ARCHITECTURES)
ACTIVATIONS = ('relu', 'tanh')


def architecture(name: str) -> Architecture:
  """Returns the architecture of a name.

  Raises:
    ValueError: If the name is unknown or asks for batch normalisation.
  """
  if name.endswith('_bn') or 'batch_norm' in name:
    plain = name.removesuffix('_bn')
    instead = plain if plain in ARCHITECTURES else 'small'
    raise ValueError(
      f'model={name!r} asks for batch normalisation, which makes the gradient of one example depend'
      ' on the others of its batch, so that clipping an example bounds nothing and no'
      f' differential-privacy guarantee holds; use {instead!r}.'
    )
  checks.known_name('model', name, ARCHITECTURES)
  return ARCHITECTURES[name]


def weight_shapes(
  name: str, *, input_shape: tuple[int, ...], num_classes: int
) -> list[tuple[int, ...]]:
  """Returns the shapes of all weights in order, kernel and bias of each layer in turn.

  Args:
    name: One of `MODELS`.
    input_shape: Height, width and channels of an image.
    num_classes: Number of logits.

  Raises:
    ValueError: If the name is not one of `MODELS`, or the images are too small to pool.
  """
  layers = architecture(name)
  if len(input_shape) != 3 or min(input_shape) < 1:
    raise ValueError(
      f'input_shape={tuple(input_shape)} must be the height, width and channels of an image.'
    )
  checks.at_least('num_classes', num_classes, 2)
  height, width, channels = input_shape
  shapes: list[tuple[int, ...]] = []
  for filters in layers.convolutions:
    if filters == POOL:
      height, width = height // 2, width // 2
    else:
      shapes += [(3, 3, channels, filters), (filters,)]
      channels = filters
  if min(height, width) < 1:
    raise ValueError(
      f'input_shape={tuple(input_shape)} is too small for model {name!r}, which halves it'
      f' {layers.convolutions.count(POOL)} times; use mlp or logistic.'
    )
  features = height * width * channels
  for units in (*layers.dense, num_classes):
    shapes += [(features, units), (units,)]
    features = units
  return shapes


def num_parameters(name: str, *, input_shape: tuple[int, ...], num_classes: int) -> int:
  """Returns the number of trainable parameters of a model without building it."""
  shapes = weight_shapes(name, input_shape=input_shape, num_classes=num_classes)
  return sum(math.prod(shape) for shape in shapes)
