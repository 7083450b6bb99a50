"""What a computation can raise besides what TFF raises."""

import tensorflow_federated as tff


class ComputationError(RuntimeError):
  """A computation failed, or cannot run here; the message names it. The context stays usable."""


class WorkerGoneError(ComputationError):
  """A worker has not come back in the time that a call gives it."""


class CallInterruptedError(RuntimeError):
  """A call was given up by its caller while it ran."""


class WorkerLostError(tff.framework.RetryableError):
  """A worker does not answer; TFF's execution context makes the call again."""
