"""The in-process executor as a service of TFF's executor protocol.

The counterpart of TFF's C++ `worker_binary` on a machine with a GPU: TFF's
`RemoteExecutor` talks to both. It listens on loopback unless it is given certificates.
"""

import collections
import concurrent.futures
import contextlib
import itertools
import threading
import time
from collections.abc import Generator
from typing import Any

import grpc  # type: ignore[import-untyped]
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2, executor_pb2_grpc

from tff_robust.runtime import devices, errors, executor, remote_worker, secure_channels

_MAX_COMPUTATIONS = 256
_SERVER_THREADS = 8
# A caller that ends releases what it has here; one that was killed does not. Longer than a run
# needs between two rounds.
_MAX_UNUSED_SECONDS = 3600.0


class _Session:
  """What one executor of a client of the service holds.

  Attributes:
    executor: Runs computations.
    values: Values by their reference.
    num_calls: Calls that use it now.
    last_used: When the last call ended, in seconds of the monotonic clock.
  """

  def __init__(self, executor_: Any) -> None:
    self.executor = executor_
    self.values: dict[str, Any] = {}
    self.num_calls = 0
    self.last_used = time.monotonic()


class ExecutorService(executor_pb2_grpc.ExecutorGroupServicer):
  """Answers the calls of TFF's executor protocol."""

  def __init__(self, factory: executor.AcceleratedExecutorFactory) -> None:
    """Creates the service.

    Args:
      factory: Makes the executors.
    """
    self._factory = factory
    self._lock = threading.Lock()
    self._ids = itertools.count(1)
    self._sessions: dict[str, _Session] = {}
    self._computations: collections.OrderedDict[bytes, Any] = collections.OrderedDict()

  def GetExecutor(self, request: Any, context: Any) -> Any:  # noqa: N802
    """Makes an executor for a number of clients."""
    with _told_to_caller(context):
      sizes = {c.placement.uri: c.cardinality for c in request.cardinalities}
      cardinalities = {tff.CLIENTS: sizes.get(tff.CLIENTS.uri, 0)}
      name = self._next_id()
      session = _Session(self._factory.create_executor(cardinalities))
      with self._lock:
        self._drop_unused()
        self._sessions[name] = session
      return executor_pb2.GetExecutorResponse(executor=executor_pb2.ExecutorId(id=name))

  def CreateValue(self, request: Any, context: Any) -> Any:  # noqa: N802
    """Takes in a value or a computation."""
    with _told_to_caller(context), self._session(request, context) as session:
      if request.value.WhichOneof('value') == 'computation':
        value, value_type = self._computation(request.value.computation), None
      else:
        value, value_type = tff.framework.deserialize_value(request.value)
      embedded = remote_worker.wait(session.executor.create_value(value, value_type))
      return executor_pb2.CreateValueResponse(value_ref=self._put(session, embedded))

  def CreateCall(self, request: Any, context: Any) -> Any:  # noqa: N802
    """Runs a computation."""
    with _told_to_caller(context), self._session(request, context) as session:
      has_argument = request.HasField('argument_ref')
      argument = session.values[request.argument_ref.id] if has_argument else None
      function = session.values[request.function_ref.id]
      running = True
      # A caller that has gone away needs no answer; it will ask for another executor.
      context.add_callback(lambda: session.executor.close() if running else None)
      try:
        result = remote_worker.wait(session.executor.create_call(function, argument))
      finally:
        running = False
      return executor_pb2.CreateCallResponse(value_ref=self._put(session, result))

  def CreateStruct(self, request: Any, context: Any) -> Any:  # noqa: N802
    """Puts values into a structure."""
    with _told_to_caller(context), self._session(request, context) as session:
      elements = tff.structure.Struct(
        (element.name or None, session.values[element.value_ref.id]) for element in request.element
      )
      result = remote_worker.wait(session.executor.create_struct(elements))
      return executor_pb2.CreateStructResponse(value_ref=self._put(session, result))

  def CreateSelection(self, request: Any, context: Any) -> Any:  # noqa: N802
    """Takes one value out of a structure."""
    with _told_to_caller(context), self._session(request, context) as session:
      source = session.values[request.source_ref.id]
      result = remote_worker.wait(session.executor.create_selection(source, request.index))
      return executor_pb2.CreateSelectionResponse(value_ref=self._put(session, result))

  def Compute(self, request: Any, context: Any) -> Any:  # noqa: N802
    """Sends a value to the caller."""
    with _told_to_caller(context), self._session(request, context) as session:
      value = session.values[request.value_ref.id]
      result = _to_numpy(remote_worker.wait(value.compute()))
      message, _ = tff.framework.serialize_value(result, value.type_signature)
      return executor_pb2.ComputeResponse(value=message)

  def Dispose(self, request: Any, context: Any) -> Any:  # noqa: N802
    """Lets go of values."""
    del context
    session = self._sessions.get(request.executor.id)
    if session is not None:
      for reference in request.value_ref:
        session.values.pop(reference.id, None)
    return executor_pb2.DisposeResponse()

  def DisposeExecutor(self, request: Any, context: Any) -> Any:  # noqa: N802
    """Lets go of an executor and all its values."""
    del context
    with self._lock:
      session = self._sessions.pop(request.executor.id, None)
    if session is not None:
      session.executor.close()
    return executor_pb2.DisposeExecutorResponse()

  def _next_id(self) -> str:
    with self._lock:
      return str(next(self._ids))

  def _put(self, session: _Session, value: Any) -> Any:
    reference = self._next_id()
    session.values[reference] = value
    return executor_pb2.ValueRef(id=reference)

  @contextlib.contextmanager
  def _session(self, request: Any, context: Any) -> Generator[_Session, None, None]:
    """Yields the session of a request, which is in use until the `with` block ends."""
    with self._lock:
      session = self._sessions.get(request.executor.id)
      if session is not None:
        session.num_calls += 1
    if session is None:
      message = (
        'This worker has been started again, or has let go of what was not used for'
        f' {_MAX_UNUSED_SECONDS / 60:.0f} minutes.'
      )
      context.abort(grpc.StatusCode.FAILED_PRECONDITION, message)
      raise errors.ComputationError(message)  # `abort` does not return.
    try:
      yield session
    finally:
      with self._lock:
        session.num_calls -= 1
        session.last_used = time.monotonic()

  def _drop_unused(self) -> None:
    """Lets go of sessions whose callers have vanished; call it with the lock.

    A caller that comes back after all makes its call again, in a session that is new.
    """
    oldest = time.monotonic() - _MAX_UNUSED_SECONDS
    for name, session in list(self._sessions.items()):
      if not session.num_calls and session.last_used < oldest:
        del self._sessions[name]

  def _computation(self, message: Any) -> Any:
    """Returns the same computation for the same message, so that it is imported once."""
    key = message.SerializeToString(deterministic=True)
    with self._lock:
      if key not in self._computations:
        block = tff.framework.ComputationBuildingBlock.from_proto(message)
        self._computations[key] = tff.framework.ConcreteComputation.from_building_block(block)
        if len(self._computations) > _MAX_COMPUTATIONS:
          self._computations.popitem(last=False)
      self._computations.move_to_end(key)
      return self._computations[key]


def _to_numpy(value: Any) -> Any:
  if isinstance(value, tff.structure.Struct):
    return tff.structure.Struct(
      (name, _to_numpy(element)) for name, element in tff.structure.iter_elements(value)
    )
  if isinstance(value, list):
    return [_to_numpy(element) for element in value]
  return value.numpy() if isinstance(value, tf.Tensor) else value


@contextlib.contextmanager
def _told_to_caller(context: Any) -> Generator[None, None, None]:
  """Sends errors of a computation to the caller as text."""
  try:
    yield
  except (errors.CallInterruptedError, errors.ComputationError, TypeError, ValueError) as error:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


def start_worker(
  address: str,
  *,
  tls: secure_channels.TlsFiles | None = None,
  client_threads: int,
  device: str | None = None,
) -> tuple[Any, int]:
  """Starts a worker in this process; returns its gRPC server and port.

  Args:
    address: 'host:port' to listen on.
    tls: Certificates, needed unless the address is loopback.
    client_threads: Clients that run at the same time.
    device: See `invocation.Invocation`.

  Raises:
    ValueError: If the address needs certificates, or cannot be listened on.
  """
  devices.share_cores(client_threads)
  factory = executor.AcceleratedExecutorFactory(
    client_threads=client_threads, device=device, default_num_clients=0
  )
  server = grpc.server(
    concurrent.futures.ThreadPoolExecutor(_SERVER_THREADS),
    options=[
      *secure_channels.CHANNEL_OPTIONS,
      ('grpc.so_reuseport', 0),
    ],
  )
  executor_pb2_grpc.add_ExecutorGroupServicer_to_server(ExecutorService(factory), server)
  port = secure_channels.add_port(server, address, tls=tls)
  server.start()
  return server, port
