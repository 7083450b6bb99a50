"""Sections about whole runs: start, memory over many rounds, growth with clients and weights."""

import dataclasses
import statistics
import subprocess
import sys
import time
from typing import Any

from binaries.benchmarks import contender as contender_lib
from binaries.benchmarks import race, sections
from binaries.benchmarks import work as work_lib
from tff_robust.runtime import graph_calls


def start(options: sections.Options) -> sections.Section:
  """Import to first round, and `--help`."""
  section = sections.Section(name='start', title='Start of a run')
  work = work_lib.RoundWork(implementation='ours', num_clients=3 if options.smoke else 25)
  seconds = []
  for _ in range(min(3, options.repetitions)):
    begin = time.perf_counter()
    subprocess.run(
      [sys.executable, '-m', 'binaries.train', '--help'], capture_output=True, check=True
    )
    seconds.append(time.perf_counter() - begin)
  section.figures['help_seconds'] = statistics.median(seconds)
  section.facts.append(
    f'`python -m binaries.train --help`: {statistics.median(seconds):.2f} s, no TensorFlow.'
  )
  with sections.Contenders(options) as contenders:
    for contender in (contenders.accelerated, contenders.native):
      try:
        answer = contender.prepare('start', work)
      except contender_lib.ContenderError as error:
        section.facts.append(f'{contender.name}: not run: {error}.')
        continue
      section.figures[contender.name] = {
        'start_seconds': contender.start_seconds,
        **answer._asdict(),
      }
      section.facts.append(
        f'{contender.name}: {contender.start_seconds:.1f} s from the start of Python to the end of'
        f' the first FedSGD round: imports {answer.import_seconds:.1f} s, data and computation'
        f' {answer.build_seconds:.1f} s, first round {answer.first_seconds:.1f} s.'
      )
  section.contenders = contenders.facts()
  return section


def memory(options: sections.Options) -> sections.Section:
  """Growth of memory over thousands of rounds of a small process."""
  few, many = (5, 100) if not options.smoke else (2, 3)
  work = work_lib.RoundWork(implementation='ours', num_clients=few, hidden_units=2, resident=True)
  section = sections.Section(
    name='memory', title='Growth of memory: FedSGD of few and of many clients, tiny network'
  )
  with sections.Contenders(options) as contenders:
    for contender, own, measured in (
      (contenders.accelerated, work, 10_000),
      (contenders.native, dataclasses.replace(work, resident=False), 10_000),
      # So many that a round becomes one graph later than others.
      (contenders.accelerated, dataclasses.replace(work, num_clients=many), 2_000),
    ):
      warm_up, step = max(500, graph_calls.calls_until_decided(own.num_clients)), 250
      if options.smoke:
        warm_up, measured, step = 4, 8, 2
      name = f'{contender.name}, {own.num_clients} clients'
      try:
        contender.prepare('memory', own)
        contender.run('memory', warm_up)
        rounds, occupied = [0], [contender.resident_bytes()]
        seconds = 0.0
        while rounds[-1] < measured:
          seconds += contender.run('memory', step)
          rounds.append(rounds[-1] + step)
          occupied.append(contender.resident_bytes())
      except contender_lib.ContenderError as error:
        section.facts.append(f'{name}: not run: {error}.')
        continue
      known = [value for value in occupied if value is not None]
      if len(known) < len(rounds):
        section.facts.append(f'{name}: this system does not tell.')
        continue
      slope = statistics.linear_regression(rounds, known).slope * 1000 / 1e6
      section.figures[name] = {
        'megabytes_per_1000_rounds': slope,
        'rounds': rounds,
        'bytes': known,
        'seconds_per_round': seconds / rounds[-1],
      }
      section.facts.append(
        f'{name}: {slope:+.2f} MB per 1,000 rounds (aim: at most 1) over {measured:,}'
        f' rounds after {warm_up:,}, from {known[0] / 1e6:.0f} to {known[-1] / 1e6:.0f} MB;'
        f' {1000 * seconds / rounds[-1]:.1f} ms a round.'
      )
  section.contenders = contenders.facts()
  return section


def growth(options: sections.Options) -> sections.Section:
  """Rounds per second over the number of clients and the size of the model."""
  clients = [10, 25, 50, 100, 250, 500] if not options.smoke else [2, 4]
  parameters = [1e4, 1e5, 1e6, 1e7] if not options.smoke else [1e4, 1e5]
  section = sections.Section(
    name='growth', title='Growth: FedSGD rounds per second, mean, accelerated and native'
  )
  points = [
    ('clients', n, work_lib.RoundWork(implementation='ours', num_clients=n)) for n in clients
  ]
  for size in parameters:
    work = work_lib.RoundWork(
      implementation='ours',
      num_clients=3 if options.smoke else 25,
      hidden_units=work_lib.hidden_units(size),
    )
    points.append(('parameters', int(size), work))
  curves: dict[str, list[dict[str, Any]]] = {'clients': [], 'parameters': []}
  with sections.Contenders(options) as contenders:
    for axis, value, work in points:
      resident = dataclasses.replace(work, resident=True)
      entries = [
        race.Entry('accelerated', contenders.accelerated, resident),
        race.Entry('native', contenders.native, work),
      ]
      for timing in race.run(entries, repetitions=min(5, options.few)):
        timing.name = f'{timing.name}, {value:,} {axis}'
        section.timings.append(timing)
        if timing.median is not None:
          curves[axis].append(
            {'runtime': timing.name.split(',')[0], 'value': value, 'rate': 1 / timing.median}
          )
  section.figures['curves'] = curves
  section.contenders = contenders.facts()
  return section
