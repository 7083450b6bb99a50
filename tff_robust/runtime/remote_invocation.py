"""One call of a computation whose clients are spread over several workers.

Clients' values stay on the workers, which compute at the same time; what is at the
server is in this process.
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import errors, invocation, marshalling, remote_worker


def results(futures: Sequence['concurrent.futures.Future[Any]']) -> list[Any]:
  """Returns the results of futures in their order, or raises as soon as one has failed."""
  done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
  for future in futures:
    if future in done:
      future.result()
  return [future.result() for future in futures]


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
    return [member for members in results(parts) for member in members]


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
    intrinsics: Mapping[str, Any],
  ) -> None:
    """Creates the state of a call.

    Args:
      num_clients: Clients of this call.
      shares: Which worker has which of them.
      device: See `invocation.Invocation`.
      intrinsics: See `invocation.Invocation`.
    """
    super().__init__(num_clients=num_clients, pool=None, device=device, intrinsics=intrinsics)
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

    # A worker counts its own clients from 0.
    clients = f'clients {share.start} to {share.stop - 1} of {self.num_clients}'
    future = share.worker.submit(run, clients=clients)
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
