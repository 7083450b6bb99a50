"""One worker on another machine (or port), driven from a thread of its own.

TFF's `RemoteExecutor` waits for each answer; with a thread a worker, several workers
compute at the same time.
"""

import asyncio
import collections
import concurrent.futures
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

import grpc  # type: ignore[import-untyped]
import tensorflow_federated as tff

from tff_robust.runtime import errors, secure_channels, worker_stub

# One executor (with its TensorFlow sessions) for each share of a cohort that was seen lately.
_MAX_EXECUTORS = 4
_MAX_FUNCTIONS = 256
_CONNECT_SECONDS = 5.0


class _Connection:
  """A channel to a worker, and what the worker holds for it.

  Attributes:
    is_closed: Whether it was closed; what was begun on it comes to nothing.
  """

  def __init__(self, channel: Any) -> None:
    self.is_closed = False
    self._channel = channel
    self._stub = worker_stub.WorkerStub(channel)
    self._executors: collections.OrderedDict[int, Any] = collections.OrderedDict()
    self._functions: collections.OrderedDict[tuple[int, int], Any] = collections.OrderedDict()
    deadline = time.monotonic() + _CONNECT_SECONDS
    while not self._stub.is_ready and time.monotonic() < deadline:
      time.sleep(0.02)
    self._stub.stop_watching()  # From here on, calls tell whether the worker is there.

  def executor(self, num_clients: int) -> Any:
    """Returns the executor for a share of a cohort."""
    if num_clients not in self._executors:
      executor = tff.framework.RemoteExecutor(self._stub)
      executor.set_cardinalities({tff.CLIENTS: num_clients})
      self._executors[num_clients] = executor
      if len(self._executors) > _MAX_EXECUTORS:
        _, oldest = self._executors.popitem(last=False)
        for key in [key for key in self._functions if key[0] == id(oldest)]:
          del self._functions[key]
        oldest.close()
    self._executors.move_to_end(num_clients)
    return self._executors[num_clients]

  def function(self, num_clients: int, computation: Any) -> Any:
    """Returns a computation on the worker, sent once."""
    executor = self.executor(num_clients)
    key = id(executor), id(computation)
    if key not in self._functions:
      value = wait(executor.create_value(computation, computation.type_signature))
      # The computation is kept too, so that its identity stays its own.
      self._functions[key] = (value, computation)
      if len(self._functions) > _MAX_FUNCTIONS:
        self._functions.popitem(last=False)
    self._functions.move_to_end(key)
    return self._functions[key][0]

  def close(self) -> None:
    """Ends the calls that run; may be called from any thread.

    A worker that is still there lets go of what it holds; one that does not answer is left
    after a few seconds.
    """
    self.is_closed = True
    # The worker goes on without this caller, and would keep the data of each executor.
    deadline = time.monotonic() + worker_stub.RELEASE_SECONDS
    try:
      for executor in list(self._executors.values()):
        if time.monotonic() < deadline:
          executor.close()
    finally:
      self._channel.close()


class RemoteWorker:
  """A service of TFF's executor protocol.

  Attributes:
    address: Where it listens.
    last_answer: When it last did what it was asked, by the monotonic clock.
  """

  def __init__(self, address: str, *, tls: secure_channels.TlsFiles | None) -> None:
    """Prepares the connection, which is made at the first use.

    Args:
      address: 'host:port'.
      tls: Certificates, for an address beyond this machine.
    """
    secure_channels.check_address('workers', address, tls=tls)
    self.address = address
    self._tls = tls
    self._thread = concurrent.futures.ThreadPoolExecutor(1, f'worker {address}')
    self._connection: _Connection | None = None
    # What the worker's thread used last: another thread may have ended it meanwhile.
    self._used: _Connection | None = None
    self.last_answer = -math.inf

  def submit(
    self, function: Callable[[], Any], *, clients: str
  ) -> 'concurrent.futures.Future[Any]':
    """Runs a function in this worker's thread, after those submitted before.

    Errors of the connection and of computations come out as `WorkerLostError` and
    `ComputationError`.

    Args:
      function: What is to be run.
      clients: Whom it concerns, for messages of computations: 'clients 3 to 5 of 6'.
    """
    return self._thread.submit(self._run, function, clients)

  def executor(self, num_clients: int) -> Any:
    """Returns the executor for a share of a cohort; call it in this worker's thread."""
    return self._connected().executor(num_clients)

  def function(self, num_clients: int, computation: Any) -> Any:
    """Returns a computation on the worker, sent once; call it in this worker's thread.

    Args:
      num_clients: The share of a cohort that it is for.
      computation: A `tff.framework.ConcreteComputation`.
    """
    return self._connected().function(num_clients, computation)

  def _connected(self) -> _Connection:
    if self._connection is None:
      self._connection = _Connection(secure_channels.open_channel(self.address, tls=self._tls))
    self._used = self._connection
    return self._used

  def disconnect(self) -> None:
    """Ends the calls that run, and the connection; the next use makes a new one."""
    connection, self._connection = self._connection, None
    if connection is not None:
      connection.close()

  def close(self) -> None:
    """Ends the connection and the thread."""
    self.disconnect()
    self._thread.shutdown(wait=False, cancel_futures=True)

  def _run(self, function: Callable[[], Any], clients: str) -> Any:
    self._used = None
    try:
      result = function()
      self.last_answer = time.monotonic()
      return result
    except errors.WorkerLostError:
      raise  # Of another operation of the same call, whose result this one needs.
    except (grpc.RpcError, tff.framework.RetryableError) as error:
      code = error.code() if isinstance(error, grpc.Call) else None
      details = error.details() if isinstance(error, grpc.Call) else str(error)
      lost = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION, None)
      if isinstance(error, tff.framework.RetryableError) or code in lost:
        self.disconnect()
        raise errors.WorkerLostError(f'worker {self.address}: {details}') from error
      raise errors.ComputationError(f'worker {self.address}, with {clients}: {details}') from error
    except UnicodeError as error:
      raise errors.ComputationError(
        f'worker {self.address}, with {clients}: TFF sends no text beyond ASCII ({error}); pass it'
        ' as bytes, several in a NumPy array of dtype object.'
      ) from error
    except ValueError as error:
      # gRPC's word for a channel that was closed meanwhile.
      if self._used is not None and self._used.is_closed:
        raise errors.WorkerLostError(f'worker {self.address}: {error}') from error
      raise


def wait(coroutine: Coroutine[Any, Any, Any]) -> Any:
  """Returns the result of one of TFF's coroutines, in a thread without an event loop."""
  return asyncio.run(coroutine)
