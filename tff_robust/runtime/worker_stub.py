"""TFF's connection to a worker, for workers that may end before what they hold is released."""

import contextlib
from typing import Any

import grpc  # type: ignore[import-untyped]
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2_grpc

# A worker lets go of an executor at once; longer waits are for one that does not answer.
RELEASE_SECONDS = 2.0


class WorkerStub(tff.framework.RemoteExecutorGrpcStub):
  """Releases values on a worker that is there; one that is gone has forgotten them by itself.

  TFF releases values in finalizers, where an error reaches nobody but standard error.
  """

  def __init__(self, channel: Any) -> None:
    """Prepares the calls.

    Args:
      channel: A gRPC channel to the worker.
    """
    super().__init__(channel)
    self._group = executor_pb2_grpc.ExecutorGroupStub(channel)

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
