"""TFF computations with the clients on several workers.

Each worker is a service of TFF's executor protocol, driven through TFF's own
`RemoteExecutor`: TFF's C++ `worker_binary`, or `python -m binaries.worker`, which runs
TensorFlow as the accelerated context does (on a GPU where there is one). TFF's C++
runtime has a composing executor that spreads clients over such services, but TFF's
wheel does not contain it; this is that executor, in Python. Unlike TFF's mergeable
context it runs any number of aggregations, dependent ones included, sends a client's
data once, and lets workers overlap.

Costs: what an aggregation accumulates on a worker travels here whole. For a rule that
needs all updates (a gather), that is one row of the model's size from each client.
"""

import contextlib
import contextvars
import functools
import sys
import time
import weakref
from collections.abc import Generator, Sequence
from typing import Any

import tensorflow_federated as tff

from tff_robust import checks
from tff_robust.runtime import (
  errors,
  executor,
  flat_values,
  interpreter,
  interruptible,
  marshalling,
  remote_intrinsics,
  remote_invocation,
  remote_worker,
  secure_channels,
  tff_internals,
)

AtWorkers = remote_invocation.AtWorkers
Shared = remote_invocation.Shared


class _Value(executor.Value):
  """A value whose clients' members may be on workers."""

  async def compute(self) -> Any:
    return _fetch(self.reference, self.type_signature)


def _fetch(value: Any, value_type: tff.Type) -> Any:
  """Returns a value to Python, clients' members from their workers."""
  if isinstance(value, Shared):
    members = [marshalling.export(value.value, value_type.member)]
    return members[0] if value_type.all_equal else members * value.num_clients
  if isinstance(value, AtWorkers):
    return value.fetch()
  if isinstance(value_type, tff.StructType):
    return tff.structure.Struct(
      (name, _fetch(element, element_type))
      for element, (name, element_type) in zip(
        value, tff.structure.iter_elements(value_type), strict=True
      )
    )
  return marshalling.export(value, value_type)


class _RemoteExecutor(executor.AcceleratedExecutor):
  """Runs one invocation: clients on workers, the server here."""

  def __init__(
    self,
    call: remote_invocation.RemoteInvocation,
    programs: executor.Programs,
    kept: 'weakref.WeakKeyDictionary[interpreter.Program, dict[Any, Any]]',
  ) -> None:
    super().__init__(call, programs, value_class=_Value)
    self._remote_call = call
    self._kept = kept

  async def create_value(
    self, value: Any, type_spec: tff.Type | None = None
  ) -> tff_internals.ExecutorValue:
    if isinstance(value, tff.framework.ConcreteComputation):
      self._remote_call.keep_in(self._kept.setdefault(self._programs.get(value), {}))
    elif isinstance(type_spec, tff.FederatedType | tff.StructType):
      return _Value(self._deal(value, type_spec), type_spec)
    return await super().create_value(value, type_spec)

  def _deal(self, value: Any, value_type: tff.Type) -> Any:
    """Returns a value in the executor's form, all that is at clients on their workers."""
    if isinstance(value_type, tff.FederatedType) and value_type.placement is tff.CLIENTS:
      return self._at_clients(value, value_type)
    if isinstance(value_type, tff.StructType):
      parts = flat_values.struct_values(value, value_type)
      types = [element_type for _, element_type in flat_values.elements(value_type)]
      return tuple([self._deal(part, t) for part, t in zip(parts, types, strict=True)])
    return self._remote_call.run(lambda v: marshalling.embed(v, value_type), value)

  def _at_clients(self, value: Any, value_type: tff.FederatedType) -> AtWorkers | Shared:
    if value_type.all_equal:
      member = marshalling.embed(value, value_type.member)
      return Shared(member, value_type.member, self._remote_call.num_clients)
    call = self._remote_call
    # TFF's messages have no names: what stands first would be taken for what the type has first.
    members = [flat_values.in_order(member, value_type.member) for member in value]
    parts = [
      call.submit(
        share, functools.partial(call.send, share, members[share.start : share.stop], value_type)
      )
      for share in call.shares
    ]
    return AtWorkers(parts, call.shares, value_type, call)


# How often, in one call, workers that have come back get all the time to come back again. Without
# an end, a computation that ends its worker would be tried for ever.
_MOST_RECOVERIES = 3

# The attempt that was made last for the call of this context of Python; others go on.
_attempt: contextvars.ContextVar[remote_invocation.RemoteInvocation | None] = (
  contextvars.ContextVar('attempt', default=None)
)


class _RemoteExecutorFactory(tff.framework.ExecutorFactory):
  """Makes the executor of each attempt at a call, and ends the attempts after a time."""

  def __init__(
    self,
    workers: Sequence[remote_worker.RemoteWorker],
    *,
    retry_seconds: float,
    default_num_clients: int,
  ) -> None:
    self._workers = workers
    self._shares: Sequence[remote_invocation.Share] = ()
    self._retry_seconds = retry_seconds
    self._default_num_clients = default_num_clients
    self._first_failure: float | None = None
    self._num_recoveries = 0
    self._last_error: BaseException | None = None
    self._programs = executor.Programs()
    self._kept: weakref.WeakKeyDictionary[interpreter.Program, dict[Any, Any]] = (
      weakref.WeakKeyDictionary()
    )
    self._running: weakref.WeakSet[remote_invocation.RemoteInvocation] = weakref.WeakSet()

  def begin_call(self) -> None:
    """Gives the call that comes all its time."""
    self._first_failure, self._num_recoveries = None, 0

  def create_executor(self, cardinalities: tff.framework.CardinalitiesType) -> _RemoteExecutor:
    if self._first_failure is not None:
      seconds = time.monotonic() - self._first_failure
      if seconds > self._retry_seconds:
        raise errors.WorkerGoneError(
          f'{self._last_error}; for {seconds:.0f} seconds no try has come to its end: start it'
          ' again, then go on from the last checkpoint.'
        )
    num_clients = cardinalities.get(tff.CLIENTS, self._default_num_clients)
    self._shares = remote_invocation.deal(self._workers, num_clients)
    call = remote_invocation.RemoteInvocation(
      num_clients=num_clients,
      shares=self._shares,
      device=None,
      intrinsics=remote_intrinsics.INTRINSICS,
    )
    self._running.add(call)
    _attempt.set(call)
    interruptible.check_goes_on()
    return _RemoteExecutor(call, self._programs, self._kept)

  def clean_up_executor(self, cardinalities: tff.framework.CardinalitiesType) -> None:
    """Ends what is left of an attempt that failed, and remembers why it did.

    TFF calls this while it handles the error, and makes the call again if that is retryable. Of any
    other, the caller is told at once: no worker goes on for a call that has come to its end.
    """
    self._last_error = sys.exc_info()[1]
    if not isinstance(self._last_error, tff.framework.RetryableError):
      self._end_attempt()
    came_back = self._first_failure is not None and all(
      share.worker.last_answer > self._first_failure for share in self._shares
    )
    if came_back and self._num_recoveries < _MOST_RECOVERIES:
      self._num_recoveries += 1
      self._first_failure = None
    if self._first_failure is None:
      self._first_failure = time.monotonic()

  def _end_attempt(self) -> None:
    attempt = _attempt.get()
    if attempt is not None:
      attempt.interrupt()
      for share in attempt.shares:
        share.worker.disconnect()

  def interrupt(self) -> None:
    """Ends what runs."""
    for call in list(self._running):
      call.interrupt()
    for worker in self._workers:
      worker.disconnect()

  def close(self) -> None:
    """Ends what runs, and the connections."""
    self.interrupt()
    for worker in self._workers:
      worker.close()


class RemoteContext(interruptible.InterruptibleContext):
  """TFF's execution context with the clients on several workers; see the module.

  Attributes:
    workers: The workers, in the order in which they get clients.
  """

  def __init__(
    self,
    addresses: Sequence[str],
    *,
    tls: secure_channels.TlsFiles | None = None,
    retry_seconds: float = secure_channels.DEFAULT_RETRY_SECONDS,
    default_num_clients: int = 0,
  ) -> None:
    """Creates the context; workers are connected to at the first call.

    Args:
      addresses: 'host:port' of each worker.
      tls: Certificates, needed for workers that are not on this machine.
      retry_seconds: How long a call is tried again while a worker does not answer.
      default_num_clients: Number of clients of a computation whose arguments do not tell.

    Raises:
      ValueError: If there is no worker, one is named twice, or needs certificates.
    """
    if not addresses:
      raise ValueError("workers=[] names no worker; pass their addresses as 'host:port'.")
    if len(set(addresses)) != len(addresses):
      raise ValueError(f'workers={",".join(addresses)} names a worker twice.')
    checks.nonnegative('retry_seconds', retry_seconds)
    checks.whole_at_least('default_num_clients', default_num_clients, 0)
    self.workers = [remote_worker.RemoteWorker(address, tls=tls) for address in addresses]
    factory = _RemoteExecutorFactory(
      self.workers, retry_seconds=retry_seconds, default_num_clients=default_num_clients
    )
    super().__init__(
      tff.framework.AsyncExecutionContext(
        executor_fn=factory,
        compiler_fn=None,
        transform_args=tff.tensorflow.transform_args,
        transform_result=tff.tensorflow.transform_result,
      ),
      on_begin=factory.begin_call,
      on_interrupt=factory.interrupt,
      on_close=factory.close,
    )


@contextlib.contextmanager
def remote_context(
  addresses: Sequence[str],
  *,
  tls: secure_channels.TlsFiles | None = None,
  retry_seconds: float = secure_channels.DEFAULT_RETRY_SECONDS,
  default_num_clients: int = 0,
) -> Generator[RemoteContext, None, None]:
  """Runs the computations of a `with` block with the clients on several workers.

  Args:
    addresses: See `RemoteContext`.
    tls: See `RemoteContext`.
    retry_seconds: See `RemoteContext`.
    default_num_clients: See `RemoteContext`.

  Yields:
    The context.
  """
  context = RemoteContext(
    addresses, tls=tls, retry_seconds=retry_seconds, default_num_clients=default_num_clients
  )
  try:
    with tff.framework.get_context_stack().install(context):
      yield context
  finally:
    context.close()


def set_remote_context(
  addresses: Sequence[str],
  *,
  tls: secure_channels.TlsFiles | None = None,
  retry_seconds: float = secure_channels.DEFAULT_RETRY_SECONDS,
  default_num_clients: int = 0,
) -> RemoteContext:
  """Makes several workers TFF's default context; returns the context.

  Args:
    addresses: See `RemoteContext`.
    tls: See `RemoteContext`.
    retry_seconds: See `RemoteContext`.
    default_num_clients: See `RemoteContext`.
  """
  context = RemoteContext(
    addresses, tls=tls, retry_seconds=retry_seconds, default_num_clients=default_num_clients
  )
  tff.framework.set_default_context(context)
  return context
