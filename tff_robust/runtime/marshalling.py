"""Values as they cross from Python into the executor, and back.

`flat_values` says what values without placement look like inside; a federated value is
a `Federated`, and a function is a Python callable of one value.
"""

import dataclasses
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import flat_values, row_places, sequences


@dataclasses.dataclass(frozen=True)
class Federated:
  """A value at clients or at the server.

  Attributes:
    values: One member a client, or exactly one where all are equal.
    all_equal: Whether `values` holds one member that stands for all.
  """

  values: Sequence[Any]
  all_equal: bool

  def at(self, client: int) -> Any:
    """Returns the member of one client."""
    return self.values[0] if self.all_equal else self.values[client]


def embed(value: Any, value_type: tff.Type) -> Any:
  """Turns a Python value into the executor's form.

  Args:
    value: A tensor, array, number, string, list or dataset, or a structure of those.
    value_type: The TFF type that it is to have.

  Raises:
    TypeError: If the value does not fit the type.
  """
  if isinstance(value_type, tff.TensorType):
    return _embed_tensor(value, value_type)
  if isinstance(value_type, tff.StructType):
    parts = flat_values.struct_values(value, value_type)
    types = [element_type for _, element_type in flat_values.elements(value_type)]
    return tuple([embed(part, t) for part, t in zip(parts, types, strict=True)])
  if isinstance(value_type, tff.SequenceType):
    return _embed_sequence(value, value_type.element)
  if isinstance(value_type, tff.FederatedType):
    if value_type.all_equal:
      return Federated([embed(value, value_type.member)], True)
    return Federated([embed(member, value_type.member) for member in value], False)
  raise TypeError(f'A value of type {value_type} cannot be an argument here.')


def conform(value: Any, value_type: tff.Type | None, num_clients: int) -> Any:
  """Gives each client its member where all have one in common but the type lets them differ.

  TFF takes an all-equal value wherever clients' values may differ, so a value can know more
  than its type. Who takes values apart by their type needs as many members as it says.

  Args:
    value: In the executor's form.
    value_type: The type that it is to have; None where there is no value.
    num_clients: Clients of the call.
  """
  if isinstance(value_type, tff.FederatedType):
    differs = value_type.placement is tff.CLIENTS and not value_type.all_equal
    if differs and isinstance(value, Federated) and value.all_equal:
      return Federated([value.values[0]] * num_clients, False)
  elif isinstance(value_type, tff.StructType) and isinstance(value, tuple):
    types = [element_type for _, element_type in flat_values.elements(value_type)]
    return tuple([conform(part, t, num_clients) for part, t in zip(value, types, strict=True)])
  return value


def export(value: Any, value_type: tff.Type) -> Any:
  """Turns the executor's form into what TFF returns to Python; tensors stay tensors."""
  if isinstance(value_type, tff.StructType):
    return tff.structure.Struct(
      (name, export(element, element_type))
      for element, (name, element_type) in zip(value, flat_values.elements(value_type), strict=True)
    )
  if isinstance(value_type, tff.SequenceType):
    return sequences.to_dataset(value, value_type.element)
  if isinstance(value_type, tff.FederatedType):
    if value_type.all_equal:
      return export(value.values[0], value_type.member)
    return [export(member, value_type.member) for member in value.values]
  if isinstance(value_type, tff.FunctionType):
    raise TypeError(f'A computation cannot return a function ({value_type}) to Python.')
  return row_places.read(value)


def _embed_tensor(value: Any, tensor_type: tff.TensorType) -> tf.Tensor:
  spec = flat_values.tensor_spec(tensor_type)
  if isinstance(value, tf.Variable):
    value = value.read_value()
  if not isinstance(value, tf.Tensor):
    value = tf.convert_to_tensor(_to_array(value, tensor_type), spec.dtype)
  if value.dtype != spec.dtype:
    raise TypeError(f'A tensor of dtype {value.dtype.name} is not of type {tensor_type}.')
  if not spec.shape.is_compatible_with(value.shape):
    raise TypeError(f'A value of shape {tuple(value.shape)} is not of type {tensor_type}.')
  return value


def _to_array(value: Any, tensor_type: tff.TensorType) -> Any:
  """Converts what is not a tensor; refuses where that would change a value."""
  dtype = tensor_type.dtype
  if dtype.type is np.str_:
    # NumPy's own strings end before their last zeros.
    array = value if isinstance(value, np.ndarray) else np.array(value, object)
    if array.size and not isinstance(array.flat[0], str | bytes):
      raise TypeError(f'A value of dtype {array.dtype} is not of type {tensor_type}.')
    return value if isinstance(value, str | bytes) else array.astype(object)
  array = np.asarray(value)
  if array.dtype == dtype:
    return array
  if array.size == 0 and not isinstance(value, np.ndarray):
    return array.astype(dtype)  # NumPy makes an empty list float64.
  # NumPy has no way from signed to unsigned integers that keeps the kind; the values decide.
  are_integers = array.dtype.kind in 'iu' and dtype.kind in 'iu'
  if not (are_integers or np.can_cast(array.dtype, dtype, 'same_kind')):
    raise TypeError(f'A value of dtype {array.dtype} is not of type {tensor_type}.')
  with np.errstate(over='ignore'):
    converted = array.astype(dtype)
  if are_integers:
    # 64 bits there and back give the same again also where the sign was lost on the way.
    fits = (converted.astype(array.dtype) == array) & ((converted < 0) == (array < 0))
  elif dtype.kind in 'fc' and array.dtype.kind in 'iu':
    # NumPy calls every float64 safe. A long double holds all integers of 64 bits.
    is_safe = array.dtype.itemsize < 8 and np.can_cast(array.dtype, dtype)
    exact = np.longdouble
    fits = is_safe or converted.real.astype(exact) == array.astype(exact)
  elif dtype.kind in 'fc' and array.dtype.kind in 'fc':
    fits = np.isfinite(converted) | ~np.isfinite(array)
  else:
    return converted
  if not np.all(fits):
    raise TypeError(f'A value of dtype {array.dtype} does not fit into type {tensor_type}.')
  return converted


# Datasets that were taken in, as sequences of a type: clients bring the same ones every round.
_sequences: weakref.WeakKeyDictionary[tf.data.Dataset, tuple[tff.Type, tf.Tensor]] = (
  weakref.WeakKeyDictionary()
)


def _embed_sequence(value: Any, element_type: tff.Type) -> tf.Tensor:
  if isinstance(value, tf.data.Dataset):
    known_type, sequence = _sequences.get(value, (None, None))
    if known_type is element_type:
      return sequence
    if not sequences.spec_fits(value.element_spec, element_type):
      raise TypeError(
        f'A dataset with elements {value.element_spec} is not a sequence of {element_type}.'
      )
    sequence = sequences.from_dataset(value, element_type)
    if tf.executing_eagerly():
      _sequences[value] = element_type, sequence
    return sequence
  if not isinstance(value, list | tuple):
    raise TypeError(
      f'A sequence of {element_type} is a tf.data.Dataset or a list, not {type(value).__name__}.'
    )
  return sequences.from_elements([embed(element, element_type) for element in value], element_type)
