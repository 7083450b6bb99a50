"""What one call of a computation needs to know while it runs: clients, threads, interrupts."""

import concurrent.futures
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tff_robust.runtime import errors, tensorflow_internals


class Invocation:
  """One call of a computation with a number of clients.

  Attributes:
    may_be_one_graph: Whether all of it happens in this process, see `whole_graph`.
    num_clients: Clients of this call.
    device: The TensorFlow device for what names none itself, or None.
    client_threads: Clients that run at the same time.
    cancellation: Ends the TensorFlow functions of this call.
    intrinsics: What runs each federated intrinsic, by its name.
  """

  may_be_one_graph = True

  def __init__(
    self,
    *,
    num_clients: int,
    pool: concurrent.futures.Executor | None,
    device: str | None,
    client_threads: int = 1,
    intrinsics: Mapping[str, Any],
  ) -> None:
    """Creates the state of a call.

    Args:
      num_clients: Clients of this call.
      pool: Threads that clients run in; None runs them one after another.
      device: The TensorFlow device for what names none itself; None leaves the choice to
        TensorFlow.
      client_threads: Threads of the pool.
      intrinsics: What runs each federated intrinsic, by its name.
    """
    self.num_clients = num_clients
    self.intrinsics = intrinsics
    self.client_threads = client_threads
    self._pool = pool
    self.device = device
    self.cancellation = tensorflow_internals.Cancellation()

  def interrupt(self) -> None:
    """Makes the call end with `CallInterruptedError`, also inside TensorFlow."""
    self.cancellation.cancel()

  def check_goes_on(self) -> None:
    """Raises CallInterruptedError if the call was given up."""
    if self.cancellation.is_cancelled:
      raise errors.CallInterruptedError('The computation was interrupted.')

  def run(self, function: Callable[[Any], Any], argument: Any) -> Any:
    """Runs a function on this call's device.

    Raises:
      CallInterruptedError: If the call was given up.
    """
    self.check_goes_on()
    with tf.device(self.device) if self.device else contextlib.nullcontext():
      return function(argument)

  def run_all(self, function: Callable[[Any], Any], arguments: list[Any]) -> list[Any]:
    """Runs a function on the argument of each client; results in the order of arguments.

    Args:
      function: What each client runs.
      arguments: One a client; each is replaced by None when its client has run.

    Raises:
      BaseException: What the first client to fail raised, in the order of clients; clients
        that had not begun by then are not run.
    """

    def run_client(client: int) -> Any:
      try:
        return self.run(function, arguments[client])
      except errors.ComputationError as error:
        raise errors.ComputationError(f'client {client} of {len(arguments)}: {error}') from error
      finally:
        arguments[client] = None

    clients = range(len(arguments))
    if self._pool is None or len(arguments) < 2:
      return [run_client(client) for client in clients]
    futures = [self._pool.submit(run_client, client) for client in clients]
    try:
      return [future.result() for future in futures]
    except BaseException:
      # Of a pool that was shut down, a future that never began counts as neither done nor
      # pending: who waits for it waits for ever.
      begun = [future for future in futures if not future.cancel()]
      concurrent.futures.wait(begun)
      raise
