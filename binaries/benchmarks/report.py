"""The report of a benchmark: Markdown for people, JSON for programs, a picture of growth."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from binaries.benchmarks import race, rule_table, sections


def _number(value: float | None) -> str:
  if value is None:
    return '-'
  return f'{value:.3g}' if value < 100 else f'{value:.0f}'


def ratio(section: sections.Section, aim: sections.Aim) -> float | None:
  """Returns the medians' ratio that an aim bounds; None where one was not measured."""
  medians = {timing.name: timing.median for timing in section.timings if not timing.error}
  entry, reference = medians.get(aim.entry), medians.get(aim.reference)
  return None if entry is None or reference is None else entry / reference


def _row(timing: race.Timing) -> str:
  if timing.error:
    return f'| {timing.name} | not run: {timing.error} | | | |'
  spread = f'{_number(min(timing.seconds))} to {_number(max(timing.seconds))}'
  return (
    f'| {timing.name} | {_number(timing.median)} | {spread} | {_number(timing.median_cpu)}'
    f' | {_number(timing.first and timing.first.first_seconds)} |'
  )


def _section(section: sections.Section) -> list[str]:
  lines = ['', f'## {section.title}', '']
  if section.timings:
    lines += [
      '| | median, s | range, s | CPU, s | first call, s |',
      '| --- | --- | --- | --- | --- |',
      *map(_row, section.timings),
      '',
    ]
  for aim in section.aims:
    found = ratio(section, aim)
    verdict = 'not measured'
    if found is not None:
      met = 'met' if found <= aim.factor else 'missed'
      verdict = f'{found:.2f} times, aim at most {aim.factor:g}: {met}'
    lines.append(f'- {aim.entry} over {aim.reference}: {verdict}.')
  lines += [f'- {fact}' for fact in section.facts]
  lines.append(f'- Load average at the end: {section.load_average}.')
  return lines


def markdown(machine: Mapping[str, Any], found: Sequence[sections.Section]) -> str:
  """Returns the report as Markdown."""
  lines = ['# Benchmark', '']
  lines += [f'- {name}: {value}' for name, value in machine.items()]
  for section in found:
    lines += _section(section)
  lines += rule_table.lines([row for section in found for row in section.figures.get('rules', ())])
  return '\n'.join(lines) + '\n'


def write(
  folder: pathlib.Path, machine: Mapping[str, Any], found: Sequence[sections.Section]
) -> list[pathlib.Path]:
  """Writes `benchmark.md`, `benchmark.json` and, where growth was measured, `growth.png`."""
  folder.mkdir(parents=True, exist_ok=True)
  files = [folder / 'benchmark.md', folder / 'benchmark.json']
  files[0].write_text(markdown(machine, found))
  plain = {
    'machine': dict(machine),
    'sections': [
      {
        **dataclasses.asdict(section),
        'timings': [timing.to_json() for timing in section.timings],
        'ratios': [{**dataclasses.asdict(a), 'ratio': ratio(section, a)} for a in section.aims],
      }
      for section in found
    ],
  }
  files[1].write_text(json.dumps(plain, indent=2) + '\n')
  for section in found:
    if 'curves' in section.figures:
      files.append(folder / 'growth.png')
      draw_growth(section.figures['curves'], files[-1])
  return files


def draw_growth(curves: Mapping[str, Sequence[Mapping[str, Any]]], file: pathlib.Path) -> None:
  """Draws rounds per second over clients and over parameters, a line a runtime."""
  import matplotlib

  matplotlib.use('agg')
  from matplotlib import pyplot

  labels = {
    'clients': 'clients a round, n (CNN, d = 150,666)',
    'parameters': 'parameters of a dense network, d (n = 25)',
  }
  figure, axes = pyplot.subplots(1, len(curves), figsize=(10, 4), sharey=True, squeeze=False)
  for panel, (axis, points) in zip(axes[0], curves.items(), strict=True):
    for runtime in dict.fromkeys(point['runtime'] for point in points):
      own = [point for point in points if point['runtime'] == runtime]
      panel.plot([p['value'] for p in own], [p['rate'] for p in own], marker='o', label=runtime)
    panel.set(xscale='log', yscale='log', xlabel=labels[axis])
    panel.grid(alpha=0.3)
    panel.legend()
  axes[0][0].set_ylabel('FedSGD rounds per second')
  figure.tight_layout()
  figure.savefig(file, dpi=120)
  pyplot.close(figure)
