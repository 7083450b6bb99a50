"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from typing import IO

import tqdm

from tff_robust.program import history

_LINES = 20


class Progress:
  """Shows rounds, rate, remaining time and the latest accuracy on standard error."""

  def __init__(
    self,
    num_rounds: int,
    *,
    first_round: int = 0,
    show_bar: bool = True,
    stream: IO[str] | None = None,
  ) -> None:
    """Starts the clock.

    Args:
      num_rounds: Rounds of the whole run.
      first_round: Rounds that were done before, by the run that is resumed.
      show_bar: Whether to draw a bar where the stream is a terminal. Otherwise about
        twenty lines are written in the course of the run.
      stream: Where to write; standard error when None.
    """
    self._stream = sys.stderr if stream is None else stream
    self._num_rounds = num_rounds
    self._first_round = first_round
    self._begin = time.monotonic()
    self._accuracy: float | None = None
    self._bar: tqdm.tqdm | None = None
    if show_bar and self._stream.isatty():
      self._bar = tqdm.tqdm(
        total=num_rounds,
        initial=first_round,
        unit='round',
        file=self._stream,
        dynamic_ncols=True,
        smoothing=0.1,
      )

  def update(self, row: history.Row) -> None:
    """Counts the round of a row as done."""
    accuracy = row.get('test_accuracy')
    if accuracy is not None:
      self._accuracy = float(accuracy)
    done = int(row[history.ROUND] or 0) + 1
    if self._bar is not None:
      if self._accuracy is not None:
        self._bar.set_postfix_str(f'test accuracy {self._accuracy:.3f}', refresh=False)
      self._bar.update(1)
    elif done == self._num_rounds or self._part(done) > self._part(done - 1):
      self._stream.write(self._line(done) + '\n')
      self._stream.flush()

  def close(self) -> None:
    """Leaves the bar as it is; nothing is shown after this."""
    if self._bar is not None:
      self._bar.close()

  def _part(self, done: int) -> int:
    return done * _LINES // self._num_rounds

  def _line(self, done: int) -> str:
    seconds = time.monotonic() - self._begin
    rate = (done - self._first_round) / seconds if seconds > 0 else 0.0
    parts = [f'round {done}/{self._num_rounds}']
    if rate > 0:
      left = round((self._num_rounds - done) / rate)
      parts += [f'{rate:.2f} rounds/s', f'{left // 60}:{left % 60:02d} left']
    if self._accuracy is not None:
      parts.append(f'test accuracy {self._accuracy:.3f}')
    return ', '.join(parts)
