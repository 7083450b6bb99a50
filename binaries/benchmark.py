r"""Measures how fast training and aggregation are, and what of it the runtime costs.

  python -m binaries.benchmark --suite=runtime --output_dir=benchmark_results
  python -m binaries.benchmark --suite=rules --peers_python=/path/to/python

Every contender is a process of its own. What is compared is measured in turns, A B A B, on
the same data. Figures are medians of the repetitions after a first call. Long works get a
third of the repetitions, and rules as many as fit into seconds. Prints Markdown; writes
benchmark.md, benchmark.json and a picture.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NoReturn

from binaries import command_line

SCALES = ('full', 'smoke')


def define_flags() -> None:
  """Defines the flags, all of them shown by --help."""
  from absl import flags

  from binaries.benchmarks import suites

  names = '; '.join(f'{suite}: {",".join(parts)}' for suite, parts in suites.SUITES.items())
  flags.DEFINE_enum('suite', 'runtime', list(suites.SUITES), 'What is measured.')
  flags.DEFINE_list('sections', None, f'Parts of the suite, by default all. {names}.')
  flags.DEFINE_string('device', 'auto', "Where TensorFlow computes: 'auto', 'cpu' or 'gpu:0'.")
  flags.DEFINE_integer('repetitions', 11, 'Repetitions of a short work.', lower_bound=1)
  flags.DEFINE_string('output_dir', 'benchmark_results', 'Folder for the report.')
  flags.DEFINE_enum('scale', 'full', SCALES, "'smoke' tries everything on tiny sizes.")
  flags.DEFINE_string(
    'torch_python', None, 'A Python with PyTorch (and Opacus), for rows of the suite runtime.'
  )
  flags.DEFINE_list('rules', None, 'Rules and pre-aggregators of the suite rules, by default all.')
  flags.DEFINE_string(
    'peers_python', None, 'A Python with byzfl and flwr, to compare rules of the suite rules with.'
  )


def prepare() -> Callable[[], int]:
  """Checks the flags and returns the measurement."""
  import pathlib
  import shutil

  from absl import flags

  from binaries.benchmarks import machine, report, sections, suites
  from tff_robust import checks, registry
  from tff_robust.runtime import contexts

  values = flags.FLAGS
  contexts.check_runtime('accelerated', device=values.device)
  known = suites.SUITES[values.suite]
  names = list(known) if values.sections is None else values.sections
  checks.not_empty('sections', names)
  for name in names:
    checks.known_name('sections', name, known)
  given = [
    flag for reads in suites.READS.values() for flag in reads if values[flag].value is not None
  ]
  checks.no_unread_options([f'suite {values.suite!r}'], given, suites.READS[values.suite])
  if values.rules is not None:
    checks.not_empty('rules', values.rules)
  for name in values.rules or ():
    checks.known_name('rules', name, {**registry.AGGREGATORS, **registry.PREAGGREGATORS})
  for flag in ('torch_python', 'peers_python'):
    python = values[flag].value
    if python is not None and shutil.which(python) is None:
      raise ValueError(f'{flag}={python!r} is no program; name a Python.')
  options = sections.Options(
    device=values.device,
    repetitions=values.repetitions,
    smoke=values.scale == 'smoke',
    torch_python=values.torch_python,
    peers_python=values.peers_python,
    rules=values.rules,
  )

  def measure() -> int:
    signal.signal(signal.SIGTERM, _leave)
    facts = {**machine.describe(), 'scale': values.scale, 'repetitions': values.repetitions}
    found: list[sections.Section] = []
    files: list[pathlib.Path] = []
    for section in suites.measure(values.suite, names, options):
      found.append(section)
      facts |= section.contenders.get('accelerated', {})
      facts.pop('start_seconds', None)
      # Written each time: a measurement that is interrupted leaves what it has.
      files = report.write(pathlib.Path(values.output_dir), facts, found)
    print(report.markdown(facts, found))
    print('Written: ' + ', '.join(map(str, files)))
    return 0

  return measure


def _leave(number: int, _: object) -> NoReturn:
  """Ends the program by an exception, so that contenders and their workers are closed."""
  signal.signal(number, signal.SIG_IGN)  # Once is enough; closing takes a while.
  raise SystemExit(128 + number)


if __name__ == '__main__':
  command_line.require_python()
  command_line.run(define_flags, prepare, takes_plugins=True)
