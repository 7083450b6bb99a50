r"""Tries every rule and writes one table: oracle, promises, robustness coefficient and speed.

  python -m binaries.rule_report --output_dir=runs/rule_report
  python -m binaries.rule_report --speed_sections=n100_d1e6 --peers_python=/path/to/python

The second measures speed too, as `binaries.benchmark --suite=rules` does. A rule of your own joins
with --plugins=my_module (docs/adding_a_rule.md). Writes rule_report.md, rule_report.csv and
rule_report.json, prints the Markdown, and leaves with status 1 if a promise is broken, a bound
exceeded, or a rule off its oracle.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from binaries import command_line

SPEED_KEYS = ('rule', 'n', 'd', 'where', 'seconds', 'ratio')


def define_flags() -> None:
  """Defines the flags of the report."""
  from absl import flags

  from binaries.benchmarks import suites
  from tff_robust import registry

  names, sizes = list(registry.AGGREGATORS), list(suites.SUITES['rules'])
  flags.DEFINE_string('output_dir', 'runs/rule_report', 'Folder of the report.')
  flags.DEFINE_list('rules', names, f'Rules to try. Among: {", ".join(names)}.')
  flags.DEFINE_integer(
    'num_stacks',
    200,
    'Random stacks on which a rule is compared with its oracle, and applications of it in the'
    ' search for a large kappa.',
    lower_bound=1,
  )
  flags.DEFINE_integer(
    'num_clients',
    11,
    'Rows in the search for a large kappa (n), raised to what a rule demands.',
    lower_bound=1,
  )
  flags.DEFINE_integer(
    'max_byzantine', 2, 'Byzantine rows in the search for a large kappa (f).', lower_bound=1
  )
  flags.DEFINE_string(
    'benchmark', None, 'The benchmark.json of `binaries.benchmark --suite=rules`, for the speed.'
  )
  flags.DEFINE_list(
    'speed_sections',
    None,
    'In place of --benchmark: the sections of the suite rules that are measured first, into'
    f' benchmark.json and benchmark.md of the output folder. Among: {", ".join(sizes)}.',
  )
  flags.DEFINE_string(
    'peers_python', None, 'A Python with byzfl and flwr, to compare the speed of rules with.'
  )
  flags.DEFINE_integer('seed', 1, 'Seed of all draws.', lower_bound=0)


def prepare() -> Callable[[], int]:
  """Checks the flags and returns the examination."""
  from absl import flags

  from binaries.benchmarks import measurement, sections, suites
  from tff_robust import checks, registry
  from tff_robust.program import run_folder

  values = flags.FLAGS
  checks.not_empty('rules', values.rules)
  for rule in values.rules:
    checks.known_name('rules', rule, registry.AGGREGATORS)
  if 2 * values.max_byzantine >= values.num_clients:
    raise ValueError(
      f'max_byzantine={values.max_byzantine} must be less than half of'
      f' num_clients={values.num_clients}; lower it.'
    )
  speeds = {} if values.benchmark is None else read_speeds(pathlib.Path(values.benchmark))
  names = values.speed_sections
  if names is None:
    if values.peers_python is not None:
      raise ValueError(
        f'peers_python={values.peers_python!r} has no effect without speed_sections; give the sizes'
        ' that are to be measured, or leave it out.'
      )
  else:
    if values.benchmark is not None:
      raise ValueError(
        f'benchmark={values.benchmark!r} has no effect with speed_sections, which measures anew;'
        ' leave one of them out.'
      )
    checks.not_empty('speed_sections', names)
    for name in names:
      checks.known_name('speed_sections', name, suites.SUITES['rules'])
    measurement.check_python('peers_python', values.peers_python)
  settings = {
    name: values[name].value for name in ('num_stacks', 'num_clients', 'max_byzantine', 'seed')
  }
  folder, rules = pathlib.Path(values.output_dir), list(values.rules)
  run_folder.check_can_be_written(folder)
  options = sections.Options(rules=rules, peers_python=values.peers_python)

  def report() -> int:
    if names is None:
      return run(folder, rules, settings, speeds)
    measurement.run('rules', names, options, folder)
    return run(folder, rules, settings, read_speeds(folder / 'benchmark.json'))

  return report


def read_speeds(path: pathlib.Path) -> dict[str, list[dict[str, Any]]]:
  """Returns what a benchmark measured of each rule, by name.

  Raises:
    ValueError: If the file is no benchmark of rules.
  """
  import json

  try:
    sections = json.loads(path.read_text(encoding='utf-8'))['sections']
    found = [entry for section in sections for entry in section['figures'].get('rules', ())]
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f'benchmark={str(path)!r} cannot be read as the benchmark.json of `python -m'
      f' binaries.benchmark --suite=rules` ({type(error).__name__}: {error}).'
    ) from error
  speeds: dict[str, list[dict[str, Any]]] = {}
  for entry in found:
    if not set(SPEED_KEYS) <= set(entry):
      raise ValueError(
        f'benchmark={str(path)!r} has an entry without {", ".join(SPEED_KEYS)}; measure again.'
      )
    speeds.setdefault(entry['rule'], []).append(entry)
  if not speeds:
    raise ValueError(f'benchmark={str(path)!r} holds no rules; measure with --suite=rules.')
  return speeds


def speed(entries: Sequence[Mapping[str, Any]]) -> str:
  """Returns the speed at the largest size measured on each device, in words."""
  phrases = []
  for where in dict.fromkeys(entry['where'] for entry in entries):
    own = [entry for entry in entries if entry['where'] == where and entry['seconds'] is not None]
    if not own:
      continue
    largest = max(own, key=lambda entry: entry['n'] * entry['d'])
    size = f'n={largest["n"]}, d={largest["d"]}, {where}'
    ratio = largest['ratio']
    compared = '' if ratio is None else f', {ratio:.2f} times the faster peer'
    phrases.append(f'{largest["seconds"]:.3g} s{compared} ({size})')
  return '; '.join(phrases) or '-'


def run(
  folder: pathlib.Path,
  rules: Sequence[str],
  settings: Mapping[str, int],
  speeds: Mapping[str, Sequence[Mapping[str, Any]]],
) -> int:
  """Tries the rules one after another, and writes and prints the report."""
  import json
  import os

  from tff_robust.runtime import devices

  devices.prepare()
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

  from tff_robust.testing import rule_findings

  found = []
  for number, rule in enumerate(rules, start=1):
    sys.stderr.write(f'{number} of {len(rules)}: {rule}\n')
    found.append(rule_findings.examine(rule, **settings))
  folder.mkdir(parents=True, exist_ok=True)
  text = markdown(found, settings, speeds)
  (folder / 'rule_report.md').write_text(text, encoding='utf-8')
  _write_csv(folder / 'rule_report.csv', found, speeds)
  plain = {
    'settings': dict(settings),
    'rules': [
      {**findings._asdict(), 'passed': findings.passed, 'speed': speeds.get(findings.rule, [])}
      for findings in found
    ],
  }
  (folder / 'rule_report.json').write_text(json.dumps(plain, indent=2) + '\n', encoding='utf-8')
  print(text)
  print(f'Written: {folder / "rule_report"}.md, .csv and .json')
  return 0 if all(findings.passed for findings in found) else 1


def _number(value: float | None, form: str = '.3g') -> str:
  return '-' if value is None else format(value, form)


def markdown(
  found: Sequence[Any],
  settings: Mapping[str, int],
  speeds: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
  """Returns the table of `Findings`, with the notes that belong to it."""
  from tff_robust.testing import rule_findings

  lines = [
    '| rule | off its oracle by | contract | kappa: bound | kappa: found | time |',
    '| --- | --- | --- | --- | --- | --- |',
  ]
  for findings in found:
    explained = len(set(findings.deviations) - set(findings.broken))
    kept = findings.promises - len(findings.broken) - explained
    marks = f', {explained} explained' if explained else ''
    size = f'f={findings.kappa_byzantine} of {findings.kappa_clients}'
    lines.append(
      f'| {findings.rule} | {_number(findings.oracle_deviation, ".1e")}'
      f' | {kept} of {findings.promises}{marks} | {_number(findings.kappa_bound)}'
      f' | {_number(findings.kappa_found)} ({size}) | {speed(speeds.get(findings.rule, ()))} |'
    )
  lines += [
    '',
    f'- Oracle: the rule once more in NumPy, float64; the largest difference on'
    f' {settings["num_stacks"]} random stacks, in units of their largest entry. Above'
    f' {rule_findings.MOST_OFF:g} the rule fails.',
    '- Contract: promises of `tff_robust.testing.rule_contract` that are kept, and those that the'
    ' rule says it does not keep, and does not.',
    '- Kappa: the published bound, and the largest that a search of random and improved rows found.'
    ' That of smea is against the top eigenvalue.',
  ]
  for findings in found:
    if not findings.meets_oracle:
      lines.append(
        f'- {findings.rule} fails: it is off its oracle by'
        f' {_number(findings.oracle_deviation, ".1e")}, more than {rule_findings.MOST_OFF:g}.'
      )
    lines += [f'- {findings.rule} breaks {name}: {said}' for name, said in findings.broken.items()]
    if findings.kappa_bound is not None and findings.kappa_found > findings.kappa_bound:
      lines.append(f'- {findings.rule} exceeds its bound on kappa.')
    lines += [
      f'- {findings.rule} deviates from {name}: {why}' for name, why in findings.deviations.items()
    ]
  return '\n'.join(lines) + '\n'


def _write_csv(
  path: pathlib.Path,
  found: Sequence[Any],
  speeds: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
  import csv

  with path.open('w', encoding='utf-8', newline='') as file:
    writer = csv.writer(file, lineterminator='\n')
    columns = [name for name in found[0]._fields if name not in ('broken', 'deviations')]
    writer.writerow([*columns, 'broken', 'deviations', 'speed'])
    for findings in found:
      row = findings._asdict()
      writer.writerow(
        [
          *('' if row[name] is None else row[name] for name in columns),
          ' '.join(findings.broken),
          ' '.join(findings.deviations),
          speed(speeds.get(findings.rule, ())),
        ]
      )


if __name__ == '__main__':
  command_line.require_python()
  command_line.run(define_flags, prepare, takes_plugins=True)
