"""TFF's federated intrinsics on values in this process.

Results are accumulated in the order of clients, so that they do not depend on threads.
Each intrinsic takes its argument out of a list that alone holds it, and lets go of the
members that it has used: a large cohort's updates are not held twice.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import invocation, local_function, marshalling, sequences

Federated = marshalling.Federated
Intrinsic = Callable[[invocation.Invocation, list[Any], tff.FunctionType], Federated]


def _members(value: Federated, num_clients: int) -> list[Any]:
  return [value.at(client) for client in range(num_clients)]


def _map(call: invocation.Invocation, argument: list[Any], _: tff.FunctionType) -> Federated:
  """Each client computes, also where all have the same argument: it may draw at random."""
  function, value = argument.pop()
  members = _members(value, call.num_clients)
  del value
  if local_function.only_rearranges(getattr(function, 'block', None)):
    return Federated([function(member) for member in members], False)
  row_writer = getattr(function, 'row_writer', None)
  if row_writer is not None and row_writer.is_worthwhile:
    write = call.run(lambda writer: writer.begin(), row_writer)
    # The only list of them, from which each goes when its client has run.
    members = list(enumerate(members))
    return Federated(call.run_all(write, members), False)
  return Federated(call.run_all(function, members), False)


def _map_all_equal(
  call: invocation.Invocation, argument: list[Any], _: tff.FunctionType
) -> Federated:
  function, value = argument.pop()
  return Federated([call.run(function, value.at(0))], True)


def _at_all(call: invocation.Invocation, argument: list[Any], _: tff.FunctionType) -> Federated:
  del call
  return Federated([argument.pop()], True)


def _broadcast(call: invocation.Invocation, argument: list[Any], _: tff.FunctionType) -> Federated:
  del call
  return argument.pop()


def _eval_at_clients(
  call: invocation.Invocation, argument: list[Any], _: tff.FunctionType
) -> Federated:
  return Federated(call.run_all(argument.pop(), [None] * call.num_clients), False)


def _eval_at_server(
  call: invocation.Invocation, argument: list[Any], _: tff.FunctionType
) -> Federated:
  return Federated([call.run(argument.pop(), None)], True)


def _zip(
  call: invocation.Invocation, argument: list[Any], signature: tff.FunctionType
) -> Federated:
  """Turns a structure of federated values into a federated structure."""

  def pick(value: Any, client: int) -> Any:
    if isinstance(value, Federated):
      return value.at(client)
    return tuple([pick(element, client) for element in value])

  values = argument.pop()
  if signature.result.all_equal:
    return Federated([pick(values, 0)], True)
  return Federated([pick(values, client) for client in range(call.num_clients)], False)


def _aggregate(call: invocation.Invocation, argument: list[Any], _: tff.FunctionType) -> Federated:
  """Accumulates in the order of clients; one process needs no merging."""
  value, so_far, function, _merge, report = argument.pop()
  # A function that is an argument of the computation takes one member at a time.
  accumulate = getattr(
    function, 'accumulate', lambda so_far, pending: function((so_far, pending.pop()))
  )
  members = _members(value, call.num_clients)
  del value
  members.reverse()
  while members:
    so_far = call.run(functools.partial(accumulate, so_far), members)
  return Federated([call.run(report, so_far)], True)


def _select(
  call: invocation.Invocation, argument: list[Any], signature: tff.FunctionType
) -> Federated:
  """Each client gets the slices of the server's value that its keys select."""
  keys, _max_key, server_value, select = argument.pop()
  slice_type = signature.result.member.element

  def select_all(client_keys: tf.Tensor) -> tf.Tensor:
    slices = [call.run(select, (server_value.at(0), key)) for key in tf.unstack(client_keys)]
    return sequences.from_elements(slices, slice_type)

  return Federated([select_all(member) for member in _members(keys, call.num_clients)], False)


INTRINSICS: Mapping[str, Intrinsic] = {
  'federated_aggregate': _aggregate,
  'federated_apply': _map_all_equal,
  'federated_broadcast': _broadcast,
  'federated_eval_at_clients': _eval_at_clients,
  'federated_eval_at_server': _eval_at_server,
  'federated_map': _map,
  'federated_map_all_equal': _map_all_equal,
  'federated_select': _select,
  'federated_value_at_clients': _at_all,
  'federated_value_at_server': _at_all,
  'federated_zip_at_clients': _zip,
  'federated_zip_at_server': _zip,
}
