"""TFF's connection to a worker, for workers that may end before what they hold is released."""

import contextlib
from typing import Any

import grpc  # type: ignore[import-untyped]
import tensorflow_federated as tff


class WorkerStub(tff.framework.RemoteExecutorGrpcStub):
  """Releases values on a worker that is there; one that is gone has forgotten them by itself.

  TFF releases values in finalizers, where an error reaches nobody but standard error.
  """

  def dispose(self, request: Any) -> Any:
    """Releases values."""
    with _unless_gone():
      return super().dispose(request)

  def dispose_executor(self, request: Any) -> Any:
    """Releases an executor with all its values."""
    with _unless_gone():
      return super().dispose_executor(request)


def _unless_gone() -> contextlib.AbstractContextManager[None]:
  # gRPC's word for a channel that has been closed is ValueError.
  return contextlib.suppress(grpc.RpcError, tff.framework.RetryableError, ValueError)
