"""Runs a compiled TFF computation: a few structural blocks and the federated intrinsics.

What has no placement runs in TensorFlow (`local_function`). Here are placements: which
client computes what, and in which order results are accumulated (always the order of
clients, so that a result does not depend on threads).
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import (
  errors,
  invocation,
  local_function,
  marshalling,
  sequences,
  tff_internals,
)

Federated = marshalling.Federated


class Program:
  """A compiled computation with its TensorFlow functions, for any number of calls.

  Attributes:
    type_signature: The TFF type of the computation.
  """

  def __init__(self, comp: Any) -> None:
    """Compiles a computation.

    Args:
      comp: A `tff.framework.ConcreteComputation`.
    """
    self._block = tff_internals.compile_computation(comp)
    self.type_signature = comp.type_signature
    self._functions: dict[int, local_function.LocalFunction | None] = {}

  def bind(self, call: invocation.Invocation) -> Callable[[Any], Any]:
    """Returns the computation as a callable of its argument, for one invocation."""
    return _Interpreter(call, self.local_function).evaluate(self._block, {})

  def local_function(self, block: Any) -> local_function.LocalFunction | None:
    """Returns a block as a TensorFlow function; None where it is none."""
    # Blocks live as long as this program, so that their identity is a key.
    if id(block) not in self._functions:
      function = local_function.LocalFunction(block) if local_function.is_local(block) else None
      self._functions.setdefault(id(block), function)
    return self._functions[id(block)]


class _Interpreter:
  """Evaluates building blocks in one invocation."""

  def __init__(
    self,
    call: invocation.Invocation,
    local: Callable[[Any], local_function.LocalFunction | None],
  ) -> None:
    self._call = call
    self._local = local

  def evaluate(self, block: Any, scope: Mapping[str, Any]) -> Any:
    """Returns the value of a block in a scope; functions are Python callables."""
    framework = tff.framework
    if isinstance(block, framework.CompiledComputation | framework.Lambda):
      local = self._local(block)
      if local is not None:
        return local
    if isinstance(block, framework.Call):
      argument = None if block.argument is None else self.evaluate(block.argument, scope)
      return self.evaluate(block.function, scope)(argument)
    if isinstance(block, framework.Reference):
      return scope[block.name]
    if isinstance(block, framework.Struct):
      return tuple([self.evaluate(element, scope) for element in block])
    if isinstance(block, framework.Selection):
      return self.evaluate(block.source, scope)[block.as_index()]
    if isinstance(block, framework.Lambda):
      return lambda argument: self.evaluate(block.result, {**scope, block.parameter_name: argument})
    if isinstance(block, framework.Block):
      scope = dict(scope)
      for name, value in block.locals:
        scope[name] = self.evaluate(value, scope)
      return self.evaluate(block.result, scope)
    if isinstance(block, framework.Literal):
      return marshalling.embed(block.value, block.type_signature)
    if isinstance(block, framework.Intrinsic):
      return self._intrinsic(block)
    raise errors.ComputationError(
      f'The accelerated context does not run building blocks of kind {type(block).__name__}'
      f' ({block.type_signature}).'
    )

  def _intrinsic(self, block: Any) -> Callable[[Any], Any]:
    local = self._local(block)
    if local is not None:
      return local
    if block.uri not in _INTRINSICS:
      secure = ' It has no secure aggregation, nor has the native context.'
      raise errors.ComputationError(
        f'The accelerated context does not run {block.uri!r}.'
        + (secure if 'secure' in block.uri else '')
      )
    intrinsic = _INTRINSICS[block.uri]
    return lambda argument: intrinsic(self._call, argument, block.type_signature)


def _map_members(
  call: invocation.Invocation, function: Callable[[Any], Any], value: Federated
) -> Federated:
  return Federated(call.run_all(function, value.values), value.all_equal)


def _federated_map(call: invocation.Invocation, argument: Any, _: tff.Type) -> Federated:
  """Each client computes, also where all have the same argument: it may draw at random."""
  function, value = argument
  members = [value.at(client) for client in range(call.num_clients)]
  return Federated(call.run_all(function, members), False)


def _federated_map_all_equal(call: invocation.Invocation, argument: Any, _: tff.Type) -> Federated:
  return _map_members(call, *argument)


def _federated_at_all(call: invocation.Invocation, argument: Any, _: tff.Type) -> Federated:
  del call
  return Federated([argument], True)


def _federated_broadcast(call: invocation.Invocation, argument: Any, _: tff.Type) -> Federated:
  del call
  return argument


def _federated_eval_at_clients(
  call: invocation.Invocation, argument: Any, _: tff.Type
) -> Federated:
  return Federated(call.run_all(argument, [None] * call.num_clients), False)


def _federated_eval_at_server(call: invocation.Invocation, argument: Any, _: tff.Type) -> Federated:
  return Federated([call.run(argument, None)], True)


def _federated_zip(call: invocation.Invocation, argument: Any, _: tff.Type) -> Federated:
  """Turns a structure of federated values into a federated structure."""

  def all_equal(value: Any) -> bool:
    if isinstance(value, Federated):
      return value.all_equal
    return all([all_equal(element) for element in value])

  def pick(value: Any, client: int) -> Any:
    if isinstance(value, Federated):
      return value.at(client)
    return tuple([pick(element, client) for element in value])

  if all_equal(argument):
    return Federated([pick(argument, 0)], True)
  return Federated([pick(argument, client) for client in range(call.num_clients)], False)


def _federated_aggregate(call: invocation.Invocation, argument: Any, _: tff.Type) -> Federated:
  """Accumulates in the order of clients; one process needs no merging."""
  value, so_far, accumulate, _merge, report = argument
  for client in range(call.num_clients):
    so_far = call.run(accumulate, (so_far, value.at(client)))
  return Federated([call.run(report, so_far)], True)


def _federated_select(call: invocation.Invocation, argument: Any, signature: tff.Type) -> Federated:
  """Each client gets the slices of the server's value that its keys select."""
  keys, _max_key, server_value, select = argument
  slice_type = signature.result.member.element

  def select_all(client_keys: tf.Tensor) -> tf.Tensor:
    slices = [call.run(select, (server_value.at(0), key)) for key in tf.unstack(client_keys)]
    return sequences.from_elements(slices, slice_type)

  members = [keys.at(client) for client in range(call.num_clients)]
  return Federated([select_all(member) for member in members], False)


_INTRINSICS: Mapping[str, Callable[[invocation.Invocation, Any, Any], Federated]] = {
  'federated_aggregate': _federated_aggregate,
  'federated_apply': _federated_map_all_equal,
  'federated_broadcast': _federated_broadcast,
  'federated_eval_at_clients': _federated_eval_at_clients,
  'federated_eval_at_server': _federated_eval_at_server,
  'federated_map': _federated_map,
  'federated_map_all_equal': _federated_map_all_equal,
  'federated_select': _federated_select,
  'federated_value_at_clients': _federated_at_all,
  'federated_value_at_server': _federated_at_all,
  'federated_zip_at_clients': _federated_zip,
  'federated_zip_at_server': _federated_zip,
}
