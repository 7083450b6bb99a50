"""Ctrl-C and SIGTERM as requests: the round at hand is finished first."""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any


class Interruption:
  """Between enter and exit, remembers a SIGINT or SIGTERM instead of dying of it.

  The first signal asks: the loop ends after the round at hand. The second one raises
  KeyboardInterrupt, with its number, at once. Outside the main thread, where Python handles
  no signals, nothing is changed.

  Attributes:
    signal_number: The signal that arrived, or None.
  """

  def __init__(self) -> None:
    self.signal_number: int | None = None
    self._previous: dict[int, Any] = {}

  @property
  def requested(self) -> bool:
    """Whether the run was asked to end."""
    return self.signal_number is not None

  @property
  def exit_status(self) -> int:
    """The exit status of a run ended by this signal: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + (self.signal_number or signal.SIGINT)

  @staticmethod
  def status_at_once(interrupt: KeyboardInterrupt) -> int:
    """The exit status of a run that an interrupt ended in the middle of a round."""
    return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)

  def __enter__(self) -> 'Interruption':
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGINT, signal.SIGTERM):
        self._previous[number] = signal.signal(number, self._remember)
    return self

  def __exit__(
    self,
    exception_type: type[BaseException] | None,
    exception: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _remember(self, number: int, frame: FrameType | None) -> None:
    del frame
    if self.signal_number is not None:
      raise KeyboardInterrupt(number)
    self.signal_number = number
    print(
      '\nFinishing the round at hand, then saving a checkpoint; once more ends at once.',
      file=sys.stderr,
    )
