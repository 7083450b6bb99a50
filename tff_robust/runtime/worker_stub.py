"""TFF's connection to a worker, for workers that may end before what they hold is released."""

import contextlib
from collections.abc import Callable
from typing import Any

import grpc  # type: ignore[import-untyped]
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2_grpc

# A worker lets go of an executor at once; longer waits are for one that does not answer.
RELEASE_SECONDS = 2.0


class _ObservedChannel:
  """A channel that remembers who asked to be told of its state; all else is the channel's own."""

  def __init__(self, channel: Any) -> None:
    self._channel = channel
    self.subscriber: Callable[[Any], None] | None = None

  def subscribe(self, callback: Callable[[Any], None], try_to_connect: bool = False) -> None:
    self.subscriber = callback
    self._channel.subscribe(callback, try_to_connect=try_to_connect)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._channel, name)


class WorkerStub(tff.framework.RemoteExecutorGrpcStub):
  """Releases values on a worker that is there; one that is gone has forgotten them by itself.

  TFF releases values in finalizers, where an error reaches nobody but standard error.
  """

  def __init__(self, channel: Any) -> None:
    """Prepares the calls.

    Args:
      channel: A gRPC channel to the worker.
    """
    self._observed = _ObservedChannel(channel)
    super().__init__(self._observed)
    self._group = executor_pb2_grpc.ExecutorGroupStub(channel)

  def stop_watching(self) -> None:
    """Leaves `is_ready` as it is from now on.

    gRPC watches a channel in a thread, which raises an error to nobody if the channel is closed
    just when its state has changed, as where a worker is lost.
    """
    self._observed.unsubscribe(self._observed.subscriber)

  def dispose(self, request: Any) -> Any:
    """Releases values."""
    with _unless_gone():
      return super().dispose(request)

  def dispose_executor(self, request: Any) -> Any:
    """Releases an executor with all its values; waits no longer than `RELEASE_SECONDS`."""
    with _unless_gone():
      return self._group.DisposeExecutor(request, timeout=RELEASE_SECONDS)


def _unless_gone() -> contextlib.AbstractContextManager[None]:
  # gRPC's word for a channel that has been closed is ValueError.
  return contextlib.suppress(grpc.RpcError, tff.framework.RetryableError, ValueError)
