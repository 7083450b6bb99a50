"""Times works side by side: each repetition does all of them, one after another.

Some libraries' threads run on after a call, waiting for more to do, on the cores that the next
contender needs: OpenBLAS's for a tenth of a second. So each turn begins when the others rest.

A process that waited while another computed is slow at first: its data left the caches, and on a
virtual machine the first call on 400 MB took up to twice the time of the next, while calls of some
milliseconds took up to twice their time for the first tenth of a second. So a turn begins with
calls that do not count, unless calls are long.
"""

import contextlib
import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from binaries.benchmarks import contender as contender_lib
from binaries.benchmarks import work as work_lib

# A first call of so many budgets is not repeated.
_LONG = 10
# Processor time is known in steps of 0.01 s; a contender that uses none for so long rests.
_REST_SECONDS = 0.02
_MOST_REST_SECONDS = 1.0
# Calls that do not count take so long together, at least one; longer ones than the second figure
# are not made. First calls also build.
_TURN_WARM_UP_SECONDS = 0.2
_SHORT_SECONDS = 1.0
_SHORT_FIRST_SECONDS = 5.0


class Entry(NamedTuple):
  """A work and who does it.

  Attributes:
    name: What the report calls it; unique in a race.
    contender: Who does it.
    work: What is done.
    warm_up: How often, at least, between its first call and those that are timed.
  """

  name: str
  contender: contender_lib.Contender
  work: work_lib.Work
  warm_up: int = 0


@dataclasses.dataclass(kw_only=True)
class Timing:
  """What was measured of an entry.

  Attributes:
    name: The entry's.
    seconds: Of each repetition.
    cpu_seconds: Of each repetition, in steps of 0.01; empty where it is not known.
    first: The call before the repetitions.
    peak_bytes: Most memory of the entry's contender from the first call to the last repetition,
      beyond what was occupied before; None where it is not known, or not whose it is, since the
      contender does other works of the race too.
    error: Why there are no figures, else empty.
  """

  name: str
  seconds: list[float] = dataclasses.field(default_factory=list)
  cpu_seconds: list[float] = dataclasses.field(default_factory=list)
  first: contender_lib.Preparation | None = None
  peak_bytes: int | None = None
  error: str = ''

  @property
  def median(self) -> float | None:
    """Median seconds; None of what failed in the end."""
    return statistics.median(self.seconds) if self.seconds and not self.error else None

  @property
  def median_cpu(self) -> float | None:
    """Median processor seconds."""
    return statistics.median(self.cpu_seconds) if self.cpu_seconds else None

  def to_json(self) -> dict[str, Any]:
    """Returns plain values."""
    first = {} if self.first is None else self.first._asdict()
    return {
      **dataclasses.asdict(self),
      'first': first,
      'median': self.median,
      'median_cpu': self.median_cpu,
    }


def run(
  entries: Sequence[Entry],
  *,
  repetitions: int,
  budget_seconds: float = math.inf,
  warm_up: int = 0,
) -> list[Timing]:
  """Prepares all entries, then times them in turn; a failure is noted and the rest goes on.

  Args:
    entries: What is compared.
    repetitions: How often each is done after its first call.
    budget_seconds: No further repetition of an entry begins that would end after it has taken
      so long; at least one is done, unless the first call took ten times as long: then that
      call, which includes tracing, is the only repetition. Calls that do not count are not in it.
    warm_up: How often each is done between its first call and those that are timed.
  """
  timings = [Timing(name=entry.name) for entry in entries]
  warm = functools.partial(_warm, times=warm_up)
  last: contender_lib.Contender | None = None
  warms = [warm] if any(max(warm_up, entry.warm_up) for entry in entries) else []
  for step in [_prepare] + warms + [_time] * repetitions:
    for entry, timing in zip(entries, timings, strict=True):
      if not timing.error and not _is_spent(timing, budget_seconds):
        try:
          if last is not None and last is not entry.contender:
            _let_rest(last)
            if step is _time and _is_short(timing):
              _begin_turn(entry)
          last = entry.contender
          step(entry, timing)
        except contender_lib.ContenderError as error:
          timing.error = str(error)
  for entry, timing in zip(entries, timings, strict=True):
    if not timing.error and sum(other.contender is entry.contender for other in entries) == 1:
      timing.peak_bytes = _peak(entry, timing)
    if timing.first is not None:
      with contextlib.suppress(contender_lib.ContenderError):  # It has ended.
        entry.contender.forget(entry.name)
  return timings


def _peak(entry: Entry, timing: Timing) -> int | None:
  before = None if timing.first is None else timing.first.resident_bytes
  if before is None:
    return None
  with contextlib.suppress(contender_lib.ContenderError):  # It has ended.
    peak = entry.contender.peak_bytes()
    return None if peak is None else peak - before
  return None


def _let_rest(contender: contender_lib.Contender) -> None:
  """Waits until a contender uses no processor any more, for a second at most."""
  deadline = time.monotonic() + _MOST_REST_SECONDS
  with contextlib.suppress(contender_lib.ContenderError):  # It has ended.
    before = contender.cpu_seconds()
    while before is not None and time.monotonic() < deadline:
      time.sleep(_REST_SECONDS)
      after = contender.cpu_seconds()
      if after is None or after <= before:
        return
      before = after


def _is_short(timing: Timing) -> bool:
  """Tells whether a call of an entry may be made without being counted."""
  if timing.seconds:
    return timing.seconds[-1] <= _SHORT_SECONDS
  return timing.first is not None and timing.first.first_seconds <= _SHORT_FIRST_SECONDS


def _begin_turn(entry: Entry) -> None:
  """Makes calls that do not count."""
  seconds = entry.contender.run(entry.name)
  if seconds < _TURN_WARM_UP_SECONDS:
    left = _TURN_WARM_UP_SECONDS - seconds
    entry.contender.run(entry.name, math.ceil(left / max(seconds, 1e-4)))


def _is_spent(timing: Timing, budget_seconds: float) -> bool:
  """Tells whether an entry has had its time; then it has at least one repetition."""
  if timing.first is None:
    return False
  if not timing.seconds and timing.first.first_seconds > _LONG * budget_seconds:
    timing.seconds.append(timing.first.first_seconds)
  return bool(timing.seconds) and sum(timing.seconds) + max(timing.seconds) > budget_seconds


def _prepare(entry: Entry, timing: Timing) -> None:
  timing.first = entry.contender.prepare(entry.name, entry.work)


def _warm(entry: Entry, timing: Timing, *, times: int) -> None:
  del timing  # Nothing is measured.
  times = max(times, entry.warm_up)
  if times:
    entry.contender.run(entry.name, times)


def _time(entry: Entry, timing: Timing) -> None:
  before = entry.contender.cpu_seconds()
  timing.seconds.append(entry.contender.run(entry.name))
  after = entry.contender.cpu_seconds()
  if before is not None and after is not None:
    timing.cpu_seconds.append(after - before)
