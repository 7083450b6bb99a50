"""TFF's federated intrinsics with the clients spread over several workers.

An aggregation is accumulated on each worker, and the workers' accumulators are merged here in the
order of workers, which is the order of clients: results do not depend on who answers first. What
is at the server is computed as in one process.
"""

import functools
from collections.abc import Mapping
from typing import Any

import tensorflow_federated as tff

from tff_robust.runtime import (
  errors,
  federated_intrinsics,
  local_function,
  marshalling,
  remote_invocation,
  remote_worker,
)

Federated = marshalling.Federated


def _block(function: Any) -> Any:
  """Returns the building block of a function that is to run on workers."""
  block = getattr(function, 'block', None)
  if block is None or not local_function.is_local(block):
    raise errors.ComputationError(
      'Workers run functions of tensors that need nothing from outside; this computation'
      f' maps {getattr(block, "type_signature", "a function that it was given")}.'
    )
  return block


def _reference(parameter_type: tff.Type) -> Any:
  return tff.framework.Reference('clients', parameter_type)


def _concrete(parameter: Any, result: Any) -> Any:
  """Returns a computation from building blocks."""
  name, parameter_type = (None, None) if parameter is None else (
    parameter.name, parameter.type_signature
  )  # fmt: skip
  return tff.framework.ConcreteComputation(
    computation_proto=tff.framework.Lambda(name, parameter_type, result).proto,
    context_stack=tff.framework.get_context_stack(),
  )


def _map(
  call: remote_invocation.RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> Any:
  function, value = argument.pop()
  if isinstance(value, Federated):
    return Federated([call.run(function, value.at(0))], True)
  parameter_type = signature.parameter[1]
  block = _block(function)

  def build() -> Any:
    clients = _reference(parameter_type)
    intrinsic = tff.framework.Intrinsic('federated_map', signature)
    return _concrete(
      clients,
      tff.framework.Call(intrinsic, tff.framework.Struct([block, clients])),
    )

  computation = call.computation(('map', id(block)), block, build)
  return call.on_all_workers(computation, value, signature.result)


def _map_all_equal(
  call: remote_invocation.RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> Any:
  function, value = argument.pop()
  if isinstance(value, remote_invocation.Shared):
    return remote_invocation.Shared(
      call.run(function, value.value), signature.result.member, call.num_clients
    )
  return Federated([call.run(function, value.at(0))], True)


def _at_clients(
  call: remote_invocation.RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> remote_invocation.Shared:
  return remote_invocation.Shared(argument.pop(), signature.result.member, call.num_clients)


def _broadcast(
  call: remote_invocation.RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> remote_invocation.Shared:
  return remote_invocation.Shared(argument.pop().at(0), signature.result.member, call.num_clients)


def _eval_at_clients(
  call: remote_invocation.RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> remote_invocation.AtWorkers:
  block = _block(argument.pop())

  def build() -> Any:
    intrinsic = tff.framework.Intrinsic('federated_eval_at_clients', signature)
    return _concrete(None, tff.framework.Call(intrinsic, block))

  computation = call.computation(('eval', id(block)), block, build)
  return call.on_all_workers(computation, None, signature.result)


def _zip_at_clients(
  call: remote_invocation.RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> Any:
  values = argument.pop()

  def all_shared(value: Any) -> bool:
    return isinstance(value, remote_invocation.Shared) or (
      isinstance(value, tuple) and all([all_shared(element) for element in value])
    )

  def members(value: Any) -> Any:
    return (
      value.value
      if isinstance(value, remote_invocation.Shared)
      else tuple([members(x) for x in value])
    )

  if all_shared(values):
    return remote_invocation.Shared(members(values), signature.result.member, call.num_clients)

  def build() -> Any:
    clients = _reference(signature.parameter)
    intrinsic = tff.framework.Intrinsic('federated_zip_at_clients', signature)
    return _concrete(clients, tff.framework.Call(intrinsic, clients))

  computation = call.computation(('zip', str(signature)), None, build)
  return call.on_all_workers(computation, values, signature.result)


def _aggregate(
  call: remote_invocation.RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> Federated:
  value, zero, accumulate, merge, report = argument.pop()
  value_type, zero_type, *_ = signature.parameter
  pair_type = tff.StructType([value_type, zero_type])
  blocks = (_block(accumulate), _block(merge))

  def build() -> Any:
    clients = _reference(pair_type)
    framework = tff.framework
    identity = framework.Lambda('x', zero_type, framework.Reference('x', zero_type))
    functions = [*blocks, identity]
    intrinsic = framework.Intrinsic(
      'federated_aggregate',
      tff.FunctionType(
        [value_type, zero_type, *[function.type_signature for function in functions]],
        tff.FederatedType(zero_type, tff.SERVER),
      ),
    )
    value_and_zero = [framework.Selection(clients, index=0), framework.Selection(clients, index=1)]
    arguments = framework.Struct([*value_and_zero, *functions])
    return _concrete(clients, framework.Call(intrinsic, arguments))

  computation = call.computation(('aggregate', *map(id, blocks)), blocks, build)
  sent_zero = remote_invocation.to_numpy(zero, zero_type)

  def accumulate_on(share: remote_invocation.Share, index: int) -> Any:
    executor = share.worker.executor(share.num_clients)
    function = share.worker.function(share.num_clients, computation)
    pair = [call.on_worker(share, index, value), call.send(share, sent_zero, zero_type)]
    struct = remote_worker.wait(executor.create_struct(tff.structure.Struct.unnamed(*pair)))
    call.check_goes_on()
    result = remote_worker.wait(executor.create_call(function, struct))
    return remote_worker.wait(result.compute())

  futures = [
    call.submit(share, functools.partial(accumulate_on, share, index))
    for index, share in enumerate(call.shares)
  ]
  parts = [marshalling.embed(part, zero_type) for part in remote_invocation.results(futures)]
  if not parts:
    parts = [zero]
  so_far = parts[0]
  for part in parts[1:]:
    so_far = call.run(merge, (so_far, part))
  return Federated([call.run(report, so_far)], True)


_AT_SERVER = (
  'federated_apply',
  'federated_eval_at_server',
  'federated_value_at_server',
  'federated_zip_at_server',
)
INTRINSICS: Mapping[str, Any] = {
  **{name: federated_intrinsics.INTRINSICS[name] for name in _AT_SERVER},
  'federated_aggregate': _aggregate,
  'federated_broadcast': _broadcast,
  'federated_eval_at_clients': _eval_at_clients,
  'federated_map': _map,
  'federated_map_all_equal': _map_all_equal,
  'federated_value_at_clients': _at_clients,
  'federated_zip_at_clients': _zip_at_clients,
}
