"""Rows that clients compute to be gathered, in one matrix from the start.

Where a round's rows are accumulated by appending (`row_accumulation`), each client's row is
written to its place in the matrix as soon as it is there, if the matrix is large. Rows and matrix
are then never both held. Between the two, TFF's compiled computations only rearrange: a row goes
through zips and maps as a place in the matrix, and becomes a tensor of its own for whatever else
reads it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_robust.aggregators import column_blocks
from tff_robust.runtime import (
  flat_values,
  graph_calls,
  invocation,
  local_function,
  row_accumulation,
  row_places,
)

_Path = tuple[int, ...]

# Entries of a matrix from which on it is worth the calls of TensorFlow that it takes.
_FEWEST_ENTRIES = graph_calls.LARGE_ENTRIES
# Entries that the work of a client, and a rule's of a block, may need at a time.
_ENTRIES_FOR_WORK = 1 << 23


def is_large(row: row_places.RowResult, num_clients: int) -> bool:
  """Tells whether rows of so many clients are written into their matrix one by one."""
  return row.width * num_clients >= _FEWEST_ENTRIES


@dataclasses.dataclass(frozen=True)
class RowWriter:
  """A client's function whose result has a row that is gathered.

  Attributes:
    function: The function.
    row: The row in its result.
    call: The invocation that it belongs to.
  """

  function: local_function.LocalFunction
  row: row_places.RowResult
  call: invocation.Invocation

  @property
  def is_worthwhile(self) -> bool:
    """Whether the rows of this invocation's clients are to be written one by one.

    What draws with a seed is left alone: in the graph that writes, its numbers would start again.
    """
    return is_large(self.row, self.call.num_clients) and not self.function.goes_on()

  def begin(self) -> Callable[[tuple[int, Any]], Any]:
    """Makes a matrix; returns the function of (index of a client, its argument).

    In a result of it, the row is a `RowPlace` of the matrix. Both must be called in
    `Invocation.run`.

    Raises:
      ComputationError: If there is no memory for the matrix.
    """
    call, width = self.call, self.row.width
    with self.function.explained(call.cancellation):
      # TensorFlow's allocator for oneDNN never gives back memory, and takes the place of a matrix
      # that is gone for whatever is next. Smaller places that are free are taken first.
      room = column_blocks.unwritten([max(_ENTRIES_FOR_WORK, width * (call.client_threads + 2))])
      matrix = column_blocks.unwritten([call.num_clients, width])
    del room

    def write(indexed: tuple[int, Any]) -> Any:
      index, argument = indexed
      return self.function.place_row(
        argument, matrix, index, position=self.row.position, cancellation=call.cancellation
      )

    return write


def find(block: Any) -> Mapping[int, row_places.RowResult]:
  """Finds what computes rows that a compiled computation gathers.

  Returns:
    For each such function of a client, by the identity of its building block, where in its
    result the row is.
  """
  blocks = list(_all_blocks(block))
  local_values = {
    name: value
    for inner in blocks
    if isinstance(inner, tff.framework.Block)
    for name, value in inner.locals
  }
  found: dict[int, row_places.RowResult] = {}
  for call in blocks:
    argument = _argument_of('federated_aggregate', call)
    if argument is None or not row_accumulation.appends(argument[2]):
      continue
    source = _source(argument[0], (row_accumulation.ROW_INDEX,), local_values)
    if source is not None:
      function, path = source
      row = _row_result(function.type_signature.result, path)
      if row is not None:
        found[id(function)] = row
  return found


def _all_blocks(block: Any) -> Iterator[Any]:
  yield block
  for child in block.children():
    yield from _all_blocks(child)


def _argument_of(uri: str, call: Any) -> Any:
  """Returns the argument of a call of an intrinsic, if `call` is one with several arguments."""
  framework = tff.framework
  if not isinstance(call, framework.Call) or not isinstance(call.function, framework.Intrinsic):
    return None
  fits = call.function.uri == uri and isinstance(call.argument, framework.Struct)
  return call.argument if fits else None


def _source(value: Any, path: _Path, local_values: Mapping[str, Any]) -> tuple[Any, _Path] | None:
  """Follows a part of clients' values back to the function that computes it."""
  framework = tff.framework
  if isinstance(value, framework.Reference):
    known = local_values.get(value.name)
    return None if known is None else _source(known, path, local_values)
  if isinstance(value, framework.Selection):
    return _source(value.source, (value.as_index(), *path), local_values)
  if isinstance(value, framework.Struct):
    return _source(value[path[0]], path[1:], local_values) if path else None
  zipped = _argument_of('federated_zip_at_clients', value)
  if zipped is not None:
    return _source(zipped, path, local_values)
  mapped = _argument_of('federated_map', value)
  if mapped is None:
    return None
  function, argument = mapped
  if not local_function.only_rearranges(function):
    return function, path
  if not isinstance(function, framework.Lambda):
    return None
  before = _before(function.result, path, function.parameter_name, {})
  return None if before is None else _source(argument, before, local_values)


def _before(
  value: Any, path: _Path, parameter: str, local_values: Mapping[str, Any]
) -> _Path | None:
  """Returns where in its parameter a function that only rearranges has a part of its result."""
  framework = tff.framework
  if isinstance(value, framework.Block):
    return _before(value.result, path, parameter, {**local_values, **dict(value.locals)})
  if isinstance(value, framework.Selection):
    return _before(value.source, (value.as_index(), *path), parameter, local_values)
  if isinstance(value, framework.Struct):
    return _before(value[path[0]], path[1:], parameter, local_values) if path else None
  if value.name == parameter:
    return path
  # It may also come from around the function.
  known = local_values.get(value.name)
  return None if known is None else _before(known, path, parameter, local_values)


def _row_result(value_type: tff.Type, path: _Path) -> row_places.RowResult | None:
  """Says where a part of a value is, if that is a float32 vector of known length."""
  position = 0
  for index in path:
    if not isinstance(value_type, tff.StructType):
      return None
    position += sum(len(flat_values.flat_specs(value_type[before])) for before in range(index))
    value_type = value_type[index]
  if not isinstance(value_type, tff.TensorType) or value_type.dtype.type is not np.float32:
    return None
  shape = value_type.shape
  if shape is None or len(shape) != 1 or shape[0] is None:
    return None
  return row_places.RowResult(position, shape[0])
