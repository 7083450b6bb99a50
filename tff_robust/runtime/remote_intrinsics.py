"""TFF's federated intrinsics with the clients spread over several workers.

Clients' values stay on the workers, which compute at the same time; what is at the
server is in this process. An aggregation is accumulated on each worker, and the
workers' accumulators are merged here in the order of workers, which is the order of
clients: results do not depend on who answers first.
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import errors, invocation, local_function, marshalling, remote_worker

Federated = marshalling.Federated


def _compute(part: 'concurrent.futures.Future[Any]') -> Any:
  return remote_worker.wait(part.result().compute())


@dataclasses.dataclass(frozen=True)
class AtWorkers:
  """A value of clients that differ, as one federated value on each worker.

  Attributes:
    parts: One for each worker that has clients, in the order of clients; a part is
      computed when its future is done.
    shares: The clients of each of these workers.
    type_signature: The TFF type.
    call: The invocation that it belongs to.
  """

  parts: Sequence['concurrent.futures.Future[Any]']
  shares: 'Sequence[Share]'
  type_signature: tff.FederatedType
  call: 'RemoteInvocation'

  def fetch(self) -> list[Any]:
    """Returns the members of all clients, in their order."""
    parts = [
      self.call.submit(share, functools.partial(_compute, part))
      for share, part in zip(self.shares, self.parts, strict=True)
    ]
    return [member for part in parts for member in part.result()]


@dataclasses.dataclass(frozen=True)
class Shared:
  """A value that all clients have in common; it is here, and goes to workers when needed.

  Attributes:
    value: The member, in the executor's form.
    member_type: Its TFF type.
    num_clients: Clients that have it.
  """

  value: Any
  member_type: tff.Type
  num_clients: int

  @property
  def type_signature(self) -> tff.FederatedType:
    """The TFF type, in which all members are equal: workers get the value once."""
    return tff.FederatedType(self.member_type, tff.CLIENTS, all_equal=True)


@dataclasses.dataclass(frozen=True)
class Share:
  """The clients of one worker.

  Attributes:
    worker: The worker.
    start: The first of its clients, in the cohort.
    stop: The first client after them.
  """

  worker: remote_worker.RemoteWorker
  start: int
  stop: int

  @property
  def num_clients(self) -> int:
    """How many clients the worker has."""
    return self.stop - self.start


def deal(workers: Sequence[remote_worker.RemoteWorker], num_clients: int) -> list[Share]:
  """Spreads clients evenly over workers, in order; leaves out workers without clients."""
  bounds = [num_clients * index // len(workers) for index in range(len(workers) + 1)]
  shares = [Share(w, a, b) for w, a, b in zip(workers, bounds, bounds[1:], strict=False)]
  return [share for share in shares if share.num_clients]


class RemoteInvocation(invocation.Invocation):
  """One call of a computation whose clients are on workers."""

  may_be_one_graph = False

  def __init__(
    self,
    *,
    num_clients: int,
    shares: Sequence[Share],
    device: str | None,
  ) -> None:
    """Creates the state of a call.

    Args:
      num_clients: Clients of this call.
      shares: Which worker has which of them.
      device: See `invocation.Invocation`.
    """
    super().__init__(num_clients=num_clients, pool=None, device=device, intrinsics=INTRINSICS)
    self.shares = shares
    self._computations: dict[Any, Any] = {}
    self._lost: errors.WorkerLostError | None = None

  def submit(self, share: Share, function: Callable[[], Any]) -> 'concurrent.futures.Future[Any]':
    """Runs a function in the thread of a worker, unless a worker was lost in this call.

    The call is made again then; what is left of it would only wait for the worker.
    """

    def run() -> Any:
      if self._lost is not None:
        raise self._lost
      self.check_goes_on()
      return function()

    future = share.worker.submit(run)
    # Called in the worker's thread, before it begins with what comes next.
    future.add_done_callback(self._note_loss)
    return future

  def _note_loss(self, future: 'concurrent.futures.Future[Any]') -> None:
    error = None if future.cancelled() else future.exception()
    if self._lost is None and isinstance(error, errors.WorkerLostError):
      self._lost = error

  def keep_in(self, computations: dict[Any, Any]) -> None:
    """Keeps what is made for workers in a dictionary that outlives this call."""
    self._computations = computations

  def computation(self, key: Any, keep: Any, build: Callable[[], Any]) -> Any:
    """Returns a computation for workers, built once for `key`; `keep` is kept with it."""
    if key not in self._computations:
      native = tff.backends.native.transform_to_native_form(build())
      self._computations[key] = (native, keep)
    return self._computations[key][0]

  def send(self, share: Share, value: Any, value_type: tff.Type) -> Any:
    """Returns a Python value on a worker; call it in the worker's thread."""
    executor = share.worker.executor(share.num_clients)
    return remote_worker.wait(executor.create_value(value, value_type))

  def on_worker(self, share: Share, index: int, value: Any) -> Any:
    """Returns a (structure of) value(s) at clients on a worker; call it in its thread."""
    if isinstance(value, AtWorkers):
      return value.parts[index].result()
    if isinstance(value, Shared):
      return self.send(share, to_numpy(value.value, value.member_type), value.type_signature)
    executor = share.worker.executor(share.num_clients)
    parts = [self.on_worker(share, index, element) for element in value]
    return remote_worker.wait(executor.create_struct(tff.structure.Struct.unnamed(*parts)))

  def on_all_workers(
    self, computation: Any, value: Any, result_type: tff.FederatedType
  ) -> AtWorkers:
    """Applies a computation to a value at clients, on each worker.

    Args:
      computation: What each worker runs on its part.
      value: `AtWorkers`, `Shared`, a structure of those, or None for no argument.
      result_type: The type of the result.
    """
    parts = [
      self.submit(share, functools.partial(self._call, share, index, computation, value))
      for index, share in enumerate(self.shares)
    ]
    return AtWorkers(parts, self.shares, result_type, self)

  def _call(self, share: Share, index: int, computation: Any, value: Any) -> Any:
    function = share.worker.function(share.num_clients, computation)
    argument = None if value is None else self.on_worker(share, index, value)
    executor = share.worker.executor(share.num_clients)
    self.check_goes_on()
    return remote_worker.wait(executor.create_call(function, argument))


def to_numpy(value: Any, value_type: tff.Type) -> Any:
  """Turns a value without placement from the executor's form into one to be sent."""
  return tff.structure.map_structure(
    lambda x: x.numpy() if isinstance(x, tf.Tensor) else x,
    tff.structure.Struct.unnamed(marshalling.export(value, value_type)),
  )[0]


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


def _map(call: RemoteInvocation, argument: list[Any], signature: tff.FunctionType) -> Any:
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


def _map_all_equal(call: RemoteInvocation, argument: list[Any], signature: tff.FunctionType) -> Any:
  function, value = argument.pop()
  if isinstance(value, Shared):
    return Shared(call.run(function, value.value), signature.result.member, call.num_clients)
  return Federated([call.run(function, value.at(0))], True)


def _at_clients(call: RemoteInvocation, argument: list[Any], signature: tff.FunctionType) -> Shared:
  return Shared(argument.pop(), signature.result.member, call.num_clients)


def _at_server(
  call: RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> Federated:
  del call, signature
  return Federated([argument.pop()], True)


def _broadcast(call: RemoteInvocation, argument: list[Any], signature: tff.FunctionType) -> Shared:
  return Shared(argument.pop().at(0), signature.result.member, call.num_clients)


def _eval_at_clients(
  call: RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> AtWorkers:
  block = _block(argument.pop())

  def build() -> Any:
    intrinsic = tff.framework.Intrinsic('federated_eval_at_clients', signature)
    return _concrete(None, tff.framework.Call(intrinsic, block))

  computation = call.computation(('eval', id(block)), block, build)
  return call.on_all_workers(computation, None, signature.result)


def _eval_at_server(
  call: RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> Federated:
  del signature
  return Federated([call.run(argument.pop(), None)], True)


def _zip_at_clients(
  call: RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> Any:
  values = argument.pop()

  def all_shared(value: Any) -> bool:
    return isinstance(value, Shared) or (
      isinstance(value, tuple) and all([all_shared(element) for element in value])
    )

  def members(value: Any) -> Any:
    return value.value if isinstance(value, Shared) else tuple([members(x) for x in value])

  if all_shared(values):
    return Shared(members(values), signature.result.member, call.num_clients)

  def build() -> Any:
    clients = _reference(signature.parameter)
    intrinsic = tff.framework.Intrinsic('federated_zip_at_clients', signature)
    return _concrete(clients, tff.framework.Call(intrinsic, clients))

  computation = call.computation(('zip', str(signature)), None, build)
  return call.on_all_workers(computation, values, signature.result)


def _zip_at_server(
  call: RemoteInvocation, argument: list[Any], signature: tff.FunctionType
) -> Federated:
  del call, signature

  def members(value: Any) -> Any:
    return value.at(0) if isinstance(value, Federated) else tuple([members(x) for x in value])

  return Federated([members(argument.pop())], True)


def _aggregate(
  call: RemoteInvocation, argument: list[Any], signature: tff.FunctionType
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
  sent_zero = to_numpy(zero, zero_type)

  def accumulate_on(share: Share, index: int) -> Any:
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
  parts = [marshalling.embed(future.result(), zero_type) for future in futures]
  if not parts:
    parts = [zero]
  so_far = parts[0]
  for part in parts[1:]:
    so_far = call.run(merge, (so_far, part))
  return Federated([call.run(report, so_far)], True)


INTRINSICS: Mapping[str, Any] = {
  'federated_aggregate': _aggregate,
  'federated_apply': _map_all_equal,
  'federated_broadcast': _broadcast,
  'federated_eval_at_clients': _eval_at_clients,
  'federated_eval_at_server': _eval_at_server,
  'federated_map': _map,
  'federated_map_all_equal': _map_all_equal,
  'federated_value_at_clients': _at_clients,
  'federated_value_at_server': _at_server,
  'federated_zip_at_clients': _zip_at_clients,
  'federated_zip_at_server': _zip_at_server,
}
