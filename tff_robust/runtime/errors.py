"""What a computation can raise besides what TFF raises."""


class ComputationError(RuntimeError):
  """A computation failed, or cannot run here; the message names it. The context stays usable."""


class CallInterruptedError(RuntimeError):
  """A call was given up by its caller while it ran."""
