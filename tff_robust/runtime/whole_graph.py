"""A whole computation as one TensorFlow graph, where that is faster.

The interpreter calls TensorFlow from Python several times for every client. Where clients
have little to do, as in a round of FedSGD on a small model, the calls take longer than the work.
So once a computation has been quick a few times for a number of clients, the interpreter runs
once more with symbolic tensors: what it does becomes one graph, of which each later call is one
call. The first calls of the graph are timed; if it is the slower way, it is given up.

The functions of the graph are those that the interpreter calls, unmerged, and clients are
accumulated in the same order, so results are the same to the last bit. Only a stateful random
operation with a seed would start from it again, in the middle of a run: what holds one stays
interpreted. TensorFlow loses 16 bytes for every tensor that it hands to Python; a graph hands
over its result alone.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import (
  errors,
  flat_values,
  graph_calls,
  invocation,
  local_function,
  marshalling,
  tensorflow_internals,
)

# A client that takes longer has no use for it, and one graph holds every client's work.
_QUICK_SECONDS_PER_CLIENT = 0.02
_MAX_CLIENTS = 512
# A graph that seems slower by less than this stays: it may not be, and saves calls from Python.
_MARGIN = 1.05
# Graphs of a computation, one a number of clients.
_MAX_GRAPHS = 4


class TracingInvocation(invocation.Invocation):
  """A call whose values are symbolic; clients run side by side as far as in any other call."""

  def __init__(self, call: invocation.Invocation) -> None:
    """Takes over what a real call has."""
    super().__init__(
      num_clients=call.num_clients, pool=None, device=call.device, intrinsics=call.intrinsics
    )
    self._lanes = call.client_threads

  def run_all(self, function: Callable[[Any], Any], arguments: list[Any]) -> list[Any]:
    """Adds the work of each client; so many wait for those before them."""
    results: list[Any] = []
    for client, argument in enumerate(arguments):
      before = results[client - self._lanes] if client >= self._lanes else ()
      with tf.control_dependencies(flat_values.flatten(before, [])):
        results.append(self.run(function, argument))
      arguments[client] = None
    return results


class WholeGraphs:
  """The graphs of one computation, by the number of clients."""

  def __init__(self, type_signature: tff.FunctionType, block: Any) -> None:
    """Prepares graphs for a computation; none is made before it has been called.

    Args:
      type_signature: Of the computation.
      block: The computation as a building block, compiled.
    """
    self._type = type_signature
    self._block = block
    self._possible = _has_form(type_signature.parameter) and _has_form(type_signature.result)
    self._lock = threading.Lock()
    self._interpreted_seconds: dict[Any, list[float]] = {}
    self._graph_seconds: dict[Any, list[float]] = {}
    self._graphs: dict[Any, tensorflow_internals.FlatFunction | None] = {}

  def run(
    self,
    call: invocation.Invocation,
    interpret: Callable[[invocation.Invocation], Callable[[Any], Any]],
    argument: Any,
  ) -> Any:
    """Returns the result of the computation, by a graph or else by the interpreter.

    Args:
      call: The invocation.
      interpret: Invocation to the computation as a callable of its argument.
      argument: In the executor's form.
    """
    key = call.num_clients, call.device
    graph_failed = False
    begin = time.perf_counter()
    if len(self._interpreted_seconds.get(key, ())) >= graph_calls.calls_before(call.num_clients):
      graph = self._graph(key, call, interpret)
      begin = time.perf_counter()
      if graph is not None:
        try:
          result = self._call(graph, call, argument)
          self._compare(key, begin)
          return result
        except tf.errors.OpError as error:
          if call.cancellation.is_cancelled:
            raise errors.CallInterruptedError('The computation was interrupted.') from error
          # The interpreter fails as well, and knows whose fault it is.
          graph_failed = True
    result = interpret(call)(argument)
    if graph_failed:  # It does not: the fault is the graph's, which may need too much memory.
      self._graphs[key] = None
    if self._is_candidate(key):
      seconds = _seconds_since(begin)
      if seconds < _QUICK_SECONDS_PER_CLIENT * call.num_clients:
        self._interpreted_seconds.setdefault(key, []).append(seconds)
    return result

  def _is_candidate(self, key: Any) -> bool:
    seconds = self._interpreted_seconds
    is_open = len(seconds.get(key, ())) < graph_calls.calls_before(key[0])
    return self._possible and is_open and 1 < key[0] <= _MAX_CLIENTS

  def _compare(self, key: Any, begin: float) -> None:
    """Gives the graph up if its first calls took longer than those before it."""
    taken = self._graph_seconds.setdefault(key, [])
    if len(taken) > graph_calls.CALLS_COMPARED:
      return
    taken.append(_seconds_since(begin))
    # In its first call, TensorFlow prepares the graph. Of as many calls either way the fastest say
    # most: whatever else the machine does only adds to the others.
    compared, before = taken[1:], self._interpreted_seconds[key][-graph_calls.CALLS_COMPARED :]
    if len(compared) == graph_calls.CALLS_COMPARED and min(compared) > _MARGIN * min(before):
      self._graphs[key] = None

  def _graph(
    self,
    key: Any,
    call: invocation.Invocation,
    interpret: Callable[[invocation.Invocation], Callable[[Any], Any]],
  ) -> tensorflow_internals.FlatFunction | None:
    """Returns the graph, made at its first call; None where it cannot be made."""
    with self._lock:
      if key not in self._graphs:
        if sum(made is not None for made in self._graphs.values()) >= _MAX_GRAPHS:
          return None
        self._graphs[key] = self._trace(call, interpret)
      return self._graphs[key]

  def _trace(
    self,
    call: invocation.Invocation,
    interpret: Callable[[invocation.Invocation], Callable[[Any], Any]],
  ) -> tensorflow_internals.FlatFunction | None:
    if local_function.draws_with_a_seed(self._block):
      return None
    tracing = TracingInvocation(call)
    parameter, num_clients = self._type.parameter, call.num_clients

    def whole(*tensors: tf.Tensor) -> list[tf.Tensor]:
      argument = None if parameter is None else _unflatten(tensors, parameter, num_clients)
      return _flatten(interpret(tracing)(argument), self._type.result, num_clients)

    specs = () if parameter is None else _specs(parameter, num_clients)
    try:
      # A `tf.function` would make the clients wait for each other: it keeps all calls of functions
      # that have a state in order. Those of clients touch nothing in common.
      return tensorflow_internals.FlatFunction(tf.compat.v1.wrap_function(whole, specs))
    except (errors.ComputationError, tf.errors.OpError, TypeError, ValueError):
      return None  # What needs values while it is interpreted stays interpreted.

  def _call(
    self, graph: tensorflow_internals.FlatFunction, call: invocation.Invocation, argument: Any
  ) -> Any:
    parameter, num_clients = self._type.parameter, call.num_clients
    tensors = [] if parameter is None else _flatten(argument, parameter, num_clients)
    results = call.run(lambda tensors: graph(tensors, call.cancellation), tensors)
    return _unflatten(results, self._type.result, num_clients)


def _seconds_since(begin: float) -> float:
  """Returns how long it took until the devices had done what they were given."""
  if tf.config.get_visible_devices('GPU'):
    tf.test.experimental.sync_devices()  # A GPU goes on when its operations have returned.
  return time.perf_counter() - begin


def _has_form(value_type: tff.Type | None) -> bool:
  """Tells whether values of a type are tensors at known places."""
  if isinstance(value_type, tff.FederatedType):
    return flat_values.has_tensors_only(value_type.member)
  if isinstance(value_type, tff.StructType):
    return all(_has_form(element_type) for _, element_type in flat_values.elements(value_type))
  return flat_values.has_tensors_only(value_type)


def _num_members(value_type: tff.FederatedType, num_clients: int) -> int:
  return 1 if value_type.all_equal or value_type.placement is tff.SERVER else num_clients


def _specs(value_type: tff.Type, num_clients: int) -> tuple[tf.TensorSpec, ...]:
  if isinstance(value_type, tff.FederatedType):
    return flat_values.flat_specs(value_type.member) * _num_members(value_type, num_clients)
  if isinstance(value_type, tff.StructType):
    parts = [
      _specs(element_type, num_clients) for _, element_type in flat_values.elements(value_type)
    ]
    return tuple([spec for part in parts for spec in part])
  return flat_values.flat_specs(value_type)


def _flatten(value: Any, value_type: tff.Type, num_clients: int) -> list[Any]:
  """Returns the tensors of a value, as many as its type says.

  Raises:
    ComputationError: If a value has another number of members than its type.
  """
  if isinstance(value_type, tff.FederatedType):
    expected = _num_members(value_type, num_clients)
    if len(value.values) != expected:
      raise errors.ComputationError(
        f'A value of {len(value.values)} members stands where {value_type} has {expected}.'
      )
    return flat_values.flatten(tuple(value.values), [])
  if isinstance(value_type, tff.StructType):
    types = [element_type for _, element_type in flat_values.elements(value_type)]
    parts = [_flatten(part, t, num_clients) for part, t in zip(value, types, strict=True)]
    return [tensor for part in parts for tensor in part]
  return flat_values.flatten(value, [])


def _unflatten(tensors: Sequence[Any], value_type: tff.Type, num_clients: int) -> Any:
  """Builds a value from its tensors.

  Raises:
    ComputationError: If there are more or fewer tensors than the type has.
  """
  expected = len(_specs(value_type, num_clients))
  if len(tensors) != expected:
    raise errors.ComputationError(
      f'{len(tensors)} tensors stand where {value_type} has {expected} at {num_clients} clients.'
    )
  return _build(iter(tensors), value_type, num_clients)


def _build(tensors: Iterator[Any], value_type: tff.Type, num_clients: int) -> Any:
  if isinstance(value_type, tff.FederatedType):
    members = [
      _build(tensors, value_type.member, num_clients)
      for _ in range(_num_members(value_type, num_clients))
    ]
    return marshalling.Federated(members, value_type.all_equal)
  if isinstance(value_type, tff.StructType):
    return tuple(
      [
        _build(tensors, element_type, num_clients)
        for _, element_type in flat_values.elements(value_type)
      ]
    )
  return next(tensors)
