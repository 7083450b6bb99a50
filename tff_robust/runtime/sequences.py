"""TFF sequences as datasets: made from elements, mapped, reduced.

`tf.data` and the executor hold the elements of a sequence in different containers:
dictionaries and tuples there, plain tuples here. `to_element` and `from_element`
translate between them.
"""

import collections
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import flat_values


def to_element(value: Any, element_type: tff.Type) -> Any:
  """Puts a value into the containers of `tf.data`."""
  if not isinstance(element_type, tff.StructType):
    return value
  parts = [
    to_element(part, part_type)
    for part, (_, part_type) in zip(value, flat_values.elements(element_type), strict=True)
  ]
  names = [name for name, _ in flat_values.elements(element_type)]
  if all(name is None for name in names):
    return tuple(parts)
  if any(name is None for name in names):
    raise TypeError(f'tf.data has no container with some elements unnamed, as in {element_type}.')
  return collections.OrderedDict(zip(names, parts, strict=True))


def from_element(element: Any, element_type: tff.Type) -> Any:
  """Takes a value out of the containers of `tf.data`."""
  if not isinstance(element_type, tff.StructType):
    return element
  return tuple(
    [
      from_element(part, part_type)
      for part, (_, part_type) in zip(
        flat_values.struct_values(element, element_type),
        flat_values.elements(element_type),
        strict=True,
      )
    ]
  )


def element_spec(element_type: tff.Type) -> Any:
  """Returns the `element_spec` of a dataset with elements of a TFF type."""
  specs = flat_values.flat_specs(element_type)
  return to_element(flat_values.unflattener(element_type)(specs), element_type)


def spec_fits(spec: Any, element_type: tff.Type) -> bool:
  """Tells whether a dataset with an `element_spec` is a sequence of a TFF type."""
  if isinstance(element_type, tff.TensorType):
    expected = flat_values.tensor_spec(element_type)
    return (
      isinstance(spec, tf.TensorSpec)
      and spec.dtype == expected.dtype
      and bool(expected.shape.is_compatible_with(spec.shape))
    )
  if isinstance(spec, tf.TypeSpec):
    return False
  try:
    parts = flat_values.struct_values(spec, element_type)
  except TypeError:
    return False
  types = [part_type for _, part_type in flat_values.elements(element_type)]
  return all(spec_fits(part, t) for part, t in zip(parts, types, strict=True))


def from_dataset(dataset: tf.data.Dataset, element_type: tff.Type) -> tf.Tensor:
  """Returns a dataset whose `element_spec` fits a TFF type as a sequence of that type.

  A sequence keeps no containers, only tensors in the order of `tf.nest`: that of their keys in
  dictionaries, and of their places in tuples, also in those with names.
  """

  def put_into_containers(*element: Any) -> Any:
    value = element if type(dataset.element_spec) is tuple else element[0]
    return to_element(from_element(value, element_type), element_type)

  if not _same_containers(dataset.element_spec, element_spec(element_type)):
    return tf.data.experimental.to_variant(dataset.map(put_into_containers))
  return tf.data.experimental.to_variant(dataset)


def _same_containers(spec: Any, expected: Any) -> bool:
  """Tells whether `tf.nest` takes two structures with the same elements in the same order."""
  if isinstance(expected, tf.TypeSpec):
    return True
  if isinstance(expected, tuple):
    return isinstance(spec, tuple) and all(map(_same_containers, spec, expected))
  return isinstance(spec, Mapping) and all(_same_containers(spec[k], expected[k]) for k in expected)


def to_dataset(sequence: tf.Tensor, element_type: tff.Type) -> tf.data.Dataset:
  """Returns the dataset behind a sequence."""
  return tf.data.experimental.from_variant(sequence, element_spec(element_type))


def from_elements(values: Sequence[Any], element_type: tff.Type) -> tf.Tensor:
  """Returns a sequence of values, whose shapes may differ (last batches)."""
  unflatten = flat_values.unflattener(element_type)

  def slices(columns: Sequence[tf.Tensor]) -> tf.Tensor:
    dataset = tf.data.Dataset.from_tensor_slices(to_element(unflatten(columns), element_type))
    return tf.data.experimental.to_variant(dataset)

  if not values:
    specs = flat_values.flat_specs(element_type)
    return slices([tf.zeros([0, *[size or 0 for size in s.shape]], s.dtype) for s in specs])
  runs: list[list[list[tf.Tensor]]] = []
  for value in values:
    row = flat_values.flatten(value, [])
    if runs and all(a.shape == b.shape for a, b in zip(runs[-1][0], row, strict=True)):
      runs[-1].append(row)
    else:
      runs.append([row])
  pieces = [
    to_dataset(slices([tf.stack(column) for column in zip(*run, strict=True)]), element_type)
    for run in runs
  ]
  whole = functools.reduce(lambda first, second: first.concatenate(second), pieces)
  return tf.data.experimental.to_variant(whole)


def map_elements(
  function: Callable[[Any], Any], sequence: tf.Tensor, function_type: tff.FunctionType
) -> tf.Tensor:
  """Returns the sequence of what `function` makes of each element."""

  def call(*element: Any) -> Any:
    # `tf.data` unpacks tuples, and only tuples, into arguments.
    value = element if isinstance(to_spec, tuple) else element[0]
    return to_element(function(from_element(value, function_type.parameter)), function_type.result)

  to_spec = element_spec(function_type.parameter)
  mapped = to_dataset(sequence, function_type.parameter).map(call)
  return tf.data.experimental.to_variant(mapped)


def reduce_elements(
  sequence: tf.Tensor,
  zero: Any,
  operation: Callable[[Any], Any],
  element_type: tff.Type,
  zero_type: tff.Type,
) -> Any:
  """Returns `zero` after `operation(<so far, element>)` for each element in order."""
  unflatten = flat_values.unflattener(zero_type)

  def step(so_far: Any, element: Any) -> Any:
    value = operation((unflatten(so_far), from_element(element, element_type)))
    return tuple(flat_values.flatten(value, []))

  flat_zero = tuple(flat_values.flatten(zero, []))
  return unflatten(to_dataset(sequence, element_type).reduce(flat_zero, step))


def sum_elements(sequence: tf.Tensor, element_type: tff.Type) -> Any:
  """Returns the sum of the elements."""
  specs = flat_values.flat_specs(element_type)
  unflatten = flat_values.unflattener(element_type)
  if not all(spec.shape.is_fully_defined() for spec in specs):
    raise TypeError(f'A sum of elements of type {element_type} needs their shapes.')

  def add(pair: Any) -> Any:
    columns = zip(flat_values.flatten(pair[0], []), flat_values.flatten(pair[1], []), strict=True)
    return unflatten([a + b for a, b in columns])

  zero = unflatten([tf.zeros(spec.shape, spec.dtype) for spec in specs])
  return reduce_elements(sequence, zero, add, element_type, element_type)
