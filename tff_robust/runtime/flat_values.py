"""Structures of tensors as flat lists, by their TFF type.

Inside the executor a struct is a tuple (its type knows the names), a sequence is the
variant tensor of a `tf.data.Dataset`, and a tensor is a `tf.Tensor`.
"""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import row_places

# What is found out about a type is asked for in every call.
_once_a_type = functools.lru_cache(maxsize=4096)


@_once_a_type
def elements(struct_type: tff.StructType) -> tuple[tuple[str | None, tff.Type], ...]:
  """Returns names and types of the elements of a struct type."""
  return tuple(tff.structure.iter_elements(struct_type))


def struct_values(value: Any, struct_type: tff.StructType) -> list[Any]:
  """Returns the elements of a Python container in the order of a struct type.

  Raises:
    TypeError: If number or names of the elements do not fit.
  """
  expected = elements(struct_type)
  if type(value) is collections.OrderedDict and list(value) == [name for name, _ in expected]:
    return list(value.values())  # What `from_container` finds, sooner.
  found = tff.structure.to_elements(tff.structure.from_container(value))
  if len(found) != len(expected):
    raise TypeError(
      f'A value of {len(found)} elements does not fit {struct_type}, which has {len(expected)}.'
    )
  for (name, _), (expected_name, _) in zip(found, expected, strict=True):
    if name is not None and name != expected_name:
      raise TypeError(f'Element {name!r} stands where {struct_type} has {expected_name!r}.')
  return [element for _, element in found]


def in_order(value: Any, value_type: tff.Type) -> Any:
  """Returns a value whose containers have become tuples, in the order of a type.

  Args:
    value: A value of Python; what is in its containers stays what it is.
    value_type: Its TFF type.

  Raises:
    TypeError: If number or names of the elements of a container do not fit.
  """
  if not isinstance(value_type, tff.StructType):
    return value
  parts = struct_values(value, value_type)
  return tuple([in_order(p, t) for p, (_, t) in zip(parts, elements(value_type), strict=True)])


def has_tensors_only(value_type: tff.Type | None) -> bool:
  """Tells whether values of a type (None: no value) consist of tensors and sequences."""
  if value_type is None or isinstance(value_type, tff.TensorType | tff.SequenceType):
    return True
  return isinstance(value_type, tff.StructType) and all(
    has_tensors_only(element_type) for _, element_type in elements(value_type)
  )


@_once_a_type
def tensor_spec(tensor_type: tff.TensorType) -> tf.TensorSpec:
  """Returns shape and dtype of a TFF tensor type for TensorFlow."""
  is_string = tensor_type.dtype.type is np.str_
  return tf.TensorSpec(tensor_type.shape, tf.string if is_string else tensor_type.dtype.type)


@_once_a_type
def flat_specs(value_type: tff.Type) -> tuple[tf.TensorSpec, ...]:
  """Returns the tensors behind a value without placement, depth first."""
  if isinstance(value_type, tff.StructType):
    return tuple([spec for _, t in elements(value_type) for spec in flat_specs(t)])
  if isinstance(value_type, tff.SequenceType):
    return (tf.TensorSpec([], tf.variant),)
  return (tensor_spec(value_type),)


def flatten(value: Any, tensors: list[Any]) -> list[Any]:
  """Appends the tensors of a value to `tensors`, depth first; returns the list."""
  if isinstance(value, tuple):
    for element in value:
      flatten(element, tensors)
  else:
    tensors.append(row_places.read(value))
  return tensors


@_once_a_type
def unflattener(value_type: tff.Type) -> Callable[[Sequence[Any]], Any]:
  """Returns the inverse of `flatten` for values of one type."""
  if not isinstance(value_type, tff.StructType):
    return lambda tensors: tensors[0]
  parts, start = [], 0
  for _, element_type in elements(value_type):
    size = len(flat_specs(element_type))
    parts.append((unflattener(element_type), start, start + size))
    start += size
  return lambda tensors: tuple([build(tensors[start:stop]) for build, start, stop in parts])
