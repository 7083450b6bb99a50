r"""Measures how fast training and aggregation are, and what of it the runtime costs.

  python -m binaries.benchmark --suite=runtime --output_dir=benchmark_results
  python -m binaries.benchmark --suite=rules --peers_python=/path/to/python

Every contender is a process of its own. What is compared is measured in turns, A B A B, on
the same data. Figures are medians of the repetitions after a first call. Long works get a
third of the repetitions, and rules as many as fit into seconds. Prints Markdown; writes
benchmark.md, benchmark.json and, of the section `growth`, a picture.
"""

from __future__ import annotations

from collections.abc import Callable

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

  from absl import flags

  from binaries.benchmarks import measurement, report, sections, suites
  from tff_robust import checks, registry
  from tff_robust.program import run_folder
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
    measurement.check_python(flag, values[flag].value)
  folder = pathlib.Path(values.output_dir)
  run_folder.check_can_be_written(folder)
  options = sections.Options(
    device=values.device,
    repetitions=values.repetitions,
    smoke=values.scale == 'smoke',
    torch_python=values.torch_python,
    peers_python=values.peers_python,
    rules=values.rules,
  )

  def measure() -> int:
    measured = measurement.run(values.suite, names, options, folder)
    print(report.markdown(measured.facts, measured.sections))
    print('Written: ' + ', '.join(map(str, measured.files)))
    return 0

  return measure


if __name__ == '__main__':
  command_line.require_python()
  command_line.run(define_flags, prepare, takes_plugins=True)
