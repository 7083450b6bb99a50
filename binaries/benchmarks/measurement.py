"""A suite measured section by section, with the report written after each."""

import pathlib
import shutil
import signal
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from binaries.benchmarks import machine, report, sections, suites


class Measured(NamedTuple):
  """What was measured, and where.

  Attributes:
    facts: Of the machine, the versions and the settings.
    sections: In the order in which they were asked for.
    files: That hold the report.
  """

  facts: Mapping[str, Any]
  sections: Sequence[sections.Section]
  files: Sequence[pathlib.Path]


def check_python(flag: str, python: str | None) -> None:
  """Raises a ValueError if what a flag names is no program."""
  if python is not None and shutil.which(python) is None:
    raise ValueError(f'{flag}={python!r} is no program; name a Python.')


def run(
  suite: str, names: Sequence[str], options: sections.Options, folder: pathlib.Path
) -> Measured:
  """Measures sections of a suite and writes benchmark.md, benchmark.json and pictures.

  SIGTERM then ends the program by an exception, so that no contender stays behind.

  Args:
    suite: One of `suites.SUITES`.
    names: Of its sections.
    options: How to measure.
    folder: Of the report; made where there is none.
  """
  signal.signal(signal.SIGTERM, _leave)
  scale = 'smoke' if options.smoke else 'full'
  facts = {**machine.describe(), 'scale': scale, 'repetitions': options.repetitions}
  found: list[sections.Section] = []
  files: list[pathlib.Path] = []
  for section in suites.measure(suite, names, options):
    found.append(section)
    facts |= section.contenders.get('accelerated', {})
    facts.pop('start_seconds', None)
    # Written each time: a measurement that is interrupted leaves what it has.
    files = report.write(folder, facts, found)
  return Measured(facts, found, files)


def _leave(number: int, _: object) -> NoReturn:
  """Ends the program by an exception, so that contenders and their workers are closed."""
  signal.signal(number, signal.SIG_IGN)  # Once is enough; closing takes a while.
  raise SystemExit(128 + number)
