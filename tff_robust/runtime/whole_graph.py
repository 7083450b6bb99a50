"""A whole computation as one TensorFlow graph, where that is faster.

The interpreter calls TensorFlow from Python several times for every client. Where clients
have little to do, as in a round of FedSGD on a small model, the calls take longer than the work.
So once a computation has been quick a few times for a number of clients, the interpreter runs
once more with symbolic tensors: what it does becomes one graph, of which each later call is one
call. The first calls of the graph are timed; if it is the slower way, it is given up.

The functions of the graph are those that the interpreter calls, unmerged, and clients are
accumulated in the same order, so results are the same to the last bit. TensorFlow loses 16
bytes for every tensor that it hands to Python; a graph hands over its result alone.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import errors, flat_values, invocation, marshalling, tensorflow_internals

# A client that takes longer has no use for it, and one graph holds every client's work.
_QUICK_SECONDS_PER_CLIENT = 0.02
_MAX_CLIENTS = 64
# Calls before a graph is made, and graphs of a computation, one a number of clients.
_CALLS_BEFORE = 20
# Calls of a graph that are compared with those before it, after its first.
_CALLS_COMPARED = 5
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

  def __init__(self, type_signature: tff.FunctionType) -> None:
    """Prepares graphs for a computation; none is made before it has been called.

    Args:
      type_signature: Of the computation.
    """
    self._type = type_signature
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
    begin = time.perf_counter()
    if len(self._interpreted_seconds.get(key, ())) >= _CALLS_BEFORE:
      graph = self._graph(key, call, interpret)
      begin = time.perf_counter()
      if graph is not None:
        try:
          result = self._call(graph, call, argument)
          self._compare(key, time.perf_counter() - begin)
          return result
        except tf.errors.OpError as error:
          if call.cancellation.is_cancelled:
            raise errors.CallInterruptedError('The computation was interrupted.') from error
          # The interpreter fails as well, and knows whose fault it is.
    result = interpret(call)(argument)
    seconds = time.perf_counter() - begin
    if self._is_candidate(key) and seconds < _QUICK_SECONDS_PER_CLIENT * call.num_clients:
      self._interpreted_seconds.setdefault(key, []).append(seconds)
    return result

  def _is_candidate(self, key: Any) -> bool:
    seconds = self._interpreted_seconds
    has_place = key in seconds or len(seconds) < _MAX_GRAPHS
    is_open = len(seconds.get(key, ())) < _CALLS_BEFORE
    return self._possible and has_place and is_open and 1 < key[0] <= _MAX_CLIENTS

  def _compare(self, key: Any, seconds: float) -> None:
    """Gives the graph up if its first calls took longer than those before it."""
    taken = self._graph_seconds.setdefault(key, [])
    if len(taken) > _CALLS_COMPARED:
      return
    taken.append(seconds)
    # In its first call, TensorFlow prepares the graph. Of as many calls either way the fastest say
    # most: whatever else the machine does only adds to the others.
    compared, before = taken[1:], self._interpreted_seconds[key][-_CALLS_COMPARED:]
    if len(compared) == _CALLS_COMPARED and min(compared) > min(before):
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
        self._graphs[key] = self._trace(call, interpret)
      return self._graphs[key]

  def _trace(
    self,
    call: invocation.Invocation,
    interpret: Callable[[invocation.Invocation], Callable[[Any], Any]],
  ) -> tensorflow_internals.FlatFunction | None:
    tracing = TracingInvocation(call)
    parameter, num_clients = self._type.parameter, call.num_clients

    def whole(*tensors: tf.Tensor) -> list[tf.Tensor]:
      argument = None if parameter is None else _unflatten(iter(tensors), parameter, num_clients)
      return _flatten(interpret(tracing)(argument), [])

    specs = [] if parameter is None else _specs(parameter, num_clients)
    try:
      # A `tf.function` would make the clients wait for each other: it keeps all calls of functions
      # that have a state in order. Those of clients touch nothing in common.
      return tensorflow_internals.FlatFunction(tf.compat.v1.wrap_function(whole, specs))
    except (errors.ComputationError, tf.errors.OpError, TypeError, ValueError):
      return None  # What needs values while it is interpreted stays interpreted.

  def _call(
    self, graph: tensorflow_internals.FlatFunction, call: invocation.Invocation, argument: Any
  ) -> Any:
    tensors = [] if argument is None else _flatten(argument, [])
    results = call.run(lambda tensors: graph(tensors, call.cancellation), tensors)
    return _unflatten(iter(results), self._type.result, call.num_clients)


def _has_form(value_type: tff.Type | None) -> bool:
  """Tells whether values of a type are tensors at known places."""
  if isinstance(value_type, tff.FederatedType):
    return flat_values.has_tensors_only(value_type.member)
  if isinstance(value_type, tff.StructType):
    return all(_has_form(element_type) for _, element_type in flat_values.elements(value_type))
  return flat_values.has_tensors_only(value_type)


def _num_members(value_type: tff.FederatedType, num_clients: int) -> int:
  return 1 if value_type.all_equal else num_clients


def _specs(value_type: tff.Type, num_clients: int) -> list[tf.TensorSpec]:
  if isinstance(value_type, tff.FederatedType):
    return flat_values.flat_specs(value_type.member) * _num_members(value_type, num_clients)
  if isinstance(value_type, tff.StructType):
    parts = [
      _specs(element_type, num_clients) for _, element_type in flat_values.elements(value_type)
    ]
    return [spec for part in parts for spec in part]
  return flat_values.flat_specs(value_type)


def _flatten(value: Any, tensors: list[Any]) -> list[Any]:
  if isinstance(value, marshalling.Federated):
    for member in value.values:
      flat_values.flatten(member, tensors)
  elif isinstance(value, tuple):
    for element in value:
      _flatten(element, tensors)
  else:
    tensors.append(value)
  return tensors


def _unflatten(tensors: Any, value_type: tff.Type, num_clients: int) -> Any:
  """Builds a value from an iterator of its tensors."""
  if isinstance(value_type, tff.FederatedType):
    members = [
      _unflatten(tensors, value_type.member, num_clients)
      for _ in range(_num_members(value_type, num_clients))
    ]
    return marshalling.Federated(members, value_type.all_equal)
  if isinstance(value_type, tff.StructType):
    return tuple(
      [
        _unflatten(tensors, element_type, num_clients)
        for _, element_type in flat_values.elements(value_type)
      ]
    )
  return next(tensors)
