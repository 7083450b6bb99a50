"""Times works side by side: each repetition does all of them, one after another."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from binaries.benchmarks import contender as contender_lib
from binaries.benchmarks import work as work_lib


class Entry(NamedTuple):
  """A work and who does it.

  Attributes:
    name: What the report calls it; unique in a race.
    contender: Who does it.
    work: What is done.
  """

  name: str
  contender: contender_lib.Contender
  work: work_lib.Work


@dataclasses.dataclass(kw_only=True)
class Timing:
  """What was measured of an entry.

  Attributes:
    name: The entry's.
    seconds: Of each repetition.
    cpu_seconds: Of each repetition, in steps of 0.01; empty where it is not known.
    first_seconds: Of the call before the repetitions, which traces and compiles.
    build_seconds: Of making data and computation.
    figure: Norm of the result of the first call: equal for equal results.
    peak_bytes: Most memory during one more call, beyond what was occupied before it.
    error: Why there are no figures, else empty.
  """

  name: str
  seconds: list[float] = dataclasses.field(default_factory=list)
  cpu_seconds: list[float] = dataclasses.field(default_factory=list)
  first_seconds: float | None = None
  build_seconds: float | None = None
  figure: float | None = None
  peak_bytes: int | None = None
  error: str = ''

  @property
  def median(self) -> float | None:
    """Median seconds."""
    return statistics.median(self.seconds) if self.seconds else None

  @property
  def median_cpu(self) -> float | None:
    """Median processor seconds."""
    return statistics.median(self.cpu_seconds) if self.cpu_seconds else None

  def to_json(self) -> dict[str, Any]:
    """Returns plain values."""
    return {**dataclasses.asdict(self), 'median': self.median, 'median_cpu': self.median_cpu}


def run(entries: Sequence[Entry], *, repetitions: int, with_memory: bool = False) -> list[Timing]:
  """Prepares all entries, then times them in turn; a failure is noted and the rest goes on.

  Args:
    entries: What is compared.
    repetitions: How often each is done after its first call.
    with_memory: Whether each is done once more to see the memory that it takes.
  """
  timings = [Timing(name=entry.name) for entry in entries]
  for entry, timing in zip(entries, timings, strict=True):
    try:
      answer = entry.contender.prepare(entry.name, entry.work)
    except contender_lib.ContenderError as error:
      timing.error = str(error)
      continue
    timing.first_seconds = answer['first_seconds']
    timing.build_seconds = answer['build_seconds']
    timing.figure = answer['figure']
  measures = [_time] * repetitions + [_see_memory] * with_memory
  for measure in measures:
    for entry, timing in zip(entries, timings, strict=True):
      if not timing.error:
        try:
          measure(entry, timing)
        except contender_lib.ContenderError as error:
          timing.error = str(error)
  for entry, timing in zip(entries, timings, strict=True):
    if not timing.error:
      entry.contender.forget(entry.name)
  return timings


def _time(entry: Entry, timing: Timing) -> None:
  before = entry.contender.cpu_seconds()
  timing.seconds.append(entry.contender.run(entry.name))
  after = entry.contender.cpu_seconds()
  if before is not None and after is not None:
    timing.cpu_seconds.append(after - before)


def _see_memory(entry: Entry, timing: Timing) -> None:
  contender = entry.contender
  # What earlier calls left to the allocator would hide what this one needs.
  contender.trim()
  contender.reset_peak()
  before = contender.resident_bytes()
  contender.run(entry.name)
  peak = contender.peak_bytes()
  if before is not None and peak is not None:
    timing.peak_bytes = peak - before
