"""Updates of a model as flat float32 vectors, and back.

A rule sees each update as one vector: the leaves of the structure in the order of
`tf.nest.flatten`, each in row-major order, as float32. Leaves of another floating-point
dtype are cast (a float64 entry beyond the float32 range becomes infinite, and its
update non-finite); integers are refused.
"""

import math
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust import signatures


def _specs(value_type: tff.Type) -> list[tf.TensorSpec]:
  """Returns the leaves of `value_type` in flat order, checked."""
  if not tff.types.is_structure_of_tensors(value_type):
    raise TypeError(f'value_type is {value_type}; it must be a tensor or a structure of tensors.')
  leaves = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(value_type))
  for leaf in leaves:
    if not leaf.dtype.is_floating:
      raise TypeError(
        f'value_type {value_type} has a leaf of dtype {leaf.dtype.name}; a robust rule takes'
        ' floating-point updates only.'
      )
    if not leaf.shape.is_fully_defined():
      raise TypeError(
        f'value_type {value_type} has a leaf of shape {leaf.shape}; every dimension of an'
        ' update must be known.'
      )
  return leaves


def dimension(value_type: tff.Type) -> int:
  """Returns the number of coordinates of an update of type `value_type`.

  Raises:
    TypeError: If `value_type` is not a structure of floating-point tensors of known shape.
  """
  return sum(math.prod(spec.shape) for spec in _specs(value_type))


def flatten(value: Any) -> tf.Tensor:
  """Returns a structure of floating-point tensors as one vector, float32 [d]."""
  leaves = [tf.reshape(tf.cast(leaf, tf.float32), [-1]) for leaf in tf.nest.flatten(value)]
  return leaves[0] if len(leaves) == 1 else tf.concat(leaves, axis=0)


def unflatten(vector: signatures.Aggregate, value_type: tff.Type) -> Any:
  """Returns a vector, float32 [d], as a structure of type `value_type`."""
  specs = _specs(value_type)
  parts = tf.split(vector, [math.prod(spec.shape) for spec in specs])
  leaves = [
    tf.cast(tf.reshape(part, spec.shape), spec.dtype)
    for part, spec in zip(parts, specs, strict=True)
  ]
  return tf.nest.pack_sequence_as(tff.types.type_to_tf_tensor_specs(value_type), leaves)
