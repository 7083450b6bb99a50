"""What a suite measures: sections of a report, each a table with aims."""

import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from binaries.benchmarks import contender as contender_lib
from binaries.benchmarks import race
from binaries.benchmarks import work as work_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aim:
  """A bound on the median of an entry: `entry <= factor * reference`."""

  entry: str
  reference: str
  factor: float


@dataclasses.dataclass(kw_only=True)
class Section:
  """A table of the report.

  Attributes:
    name: As in `SECTIONS`.
    title: Of the table.
    timings: Its rows.
    aims: Bounds between its rows.
    facts: Lines below the table.
    figures: Further figures as plain values.
    load_average: When the section ended.
  """

  name: str
  title: str
  timings: list[race.Timing] = dataclasses.field(default_factory=list)
  aims: list[Aim] = dataclasses.field(default_factory=list)
  facts: list[str] = dataclasses.field(default_factory=list)
  figures: dict[str, Any] = dataclasses.field(default_factory=dict)
  load_average: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How to measure.

  Attributes:
    device: 'auto', 'cpu' or 'gpu:N'.
    repetitions: Of a short work; long ones get fewer.
    smoke: Whether to try everything on tiny sizes instead.
    torch_python: A Python with PyTorch, or None for no rows with it.
  """

  device: str = 'auto'
  repetitions: int = 11
  smoke: bool = False
  torch_python: str | None = None

  @property
  def few(self) -> int:
    """Repetitions of a long work."""
    return max(1, min(self.repetitions, (self.repetitions + 2) // 3))


class Contenders:
  """The processes of a section, ended together."""

  def __init__(self, options: Options) -> None:
    """Prepares processes; each starts with its first work."""
    make = contender_lib.tensorflow_contender
    device = options.device
    self.stock = make('stock', 'stock', device)
    self.native = make('native', 'native', device)
    self.accelerated = make('accelerated', 'accelerated', device)
    self.tensorflow = make('tf.function', 'none', device)
    self.torch: contender_lib.Contender | None = None
    if options.torch_python is not None:
      self.torch = contender_lib.torch_contender(options.torch_python, device)

  def everyone(self) -> list[contender_lib.Contender]:
    """Returns all of them."""
    present = [self.stock, self.native, self.accelerated, self.tensorflow]
    return present if self.torch is None else [*present, self.torch]

  def __enter__(self) -> 'Contenders':
    return self

  def __exit__(self, *_: object) -> None:
    for contender in self.everyone():
      contender.close()


STOCK = 'tff.learning, stock context'
TFF_ACCELERATED = 'tff.learning, accelerated'
NATIVE = 'ours, native'
SEQUENCES = 'ours, accelerated, sequences'
RESIDENT = 'ours, accelerated, resident'
BY_HAND = 'tf.function by hand'


def _rounds(options: Options, algorithm: str) -> tuple[list[race.Timing], Contenders]:
  """Times the round of an algorithm in all contexts."""
  num_batches = 1 if algorithm == 'fed_sgd' else (2 if options.smoke else 50)

  def round_work(implementation: str, *, resident: bool = False) -> work_lib.RoundWork:
    return work_lib.RoundWork(
      implementation=implementation,
      algorithm=algorithm,
      num_clients=3 if options.smoke else 25,
      num_batches=num_batches,
      resident=resident,
    )

  contenders = Contenders(options)
  entries = [
    race.Entry(BY_HAND, contenders.tensorflow, round_work('by_hand')),
    race.Entry(RESIDENT, contenders.accelerated, round_work('ours', resident=True)),
    race.Entry(SEQUENCES, contenders.accelerated, round_work('ours')),
    race.Entry(TFF_ACCELERATED, contenders.accelerated, round_work('tff')),
    race.Entry(NATIVE, contenders.native, round_work('ours')),
    race.Entry(STOCK, contenders.stock, round_work('tff')),
  ]
  if contenders.torch is not None and algorithm == 'fed_sgd':
    entries.append(race.Entry('PyTorch by hand', contenders.torch, round_work('by_hand')))
  repetitions = options.repetitions if algorithm == 'fed_sgd' else options.few
  with contenders:
    return race.run(entries, repetitions=repetitions), contenders


def fed_sgd(options: Options) -> Section:
  """One gradient of each of 25 clients, in all contexts; and the start of a run."""
  timings, contenders = _rounds(options, 'fed_sgd')
  section = Section(
    name='fed_sgd',
    title='FedSGD round: 25 clients, batch 10, CNN of 150,666 parameters',
    timings=timings,
    aims=[
      Aim(entry=RESIDENT, reference=BY_HAND, factor=1.15),
      Aim(entry=SEQUENCES, reference=BY_HAND, factor=1.15),
      Aim(entry=RESIDENT, reference=STOCK, factor=1.0),
    ],
  )
  section.figures['contenders'] = {
    contender.name: {
      **contender.facts,
      'start_seconds': contender.start_seconds,
      'log': contender.log()[:4000],
    }
    for contender in contenders.everyone()
  }
  return section


def fed_avg(options: Options) -> Section:
  """One local epoch of 50 batches on each of 25 clients, in all contexts."""
  timings, _ = _rounds(options, 'fed_avg')
  return Section(
    name='fed_avg',
    title='FedAvg round: 25 clients, one local epoch of 50 batches of 10, the same CNN',
    timings=timings,
    aims=[
      Aim(entry=RESIDENT, reference=BY_HAND, factor=1.15),
      Aim(entry=RESIDENT, reference=STOCK, factor=0.5),
      Aim(entry=SEQUENCES, reference=STOCK, factor=0.5),
    ],
  )


def dp_sgd(options: Options) -> Section:
  """What clipping each example and adding noise costs."""

  def round_work(
    implementation: str, *, private: bool, resident: bool = False, per_example: str = 'vmap'
  ) -> work_lib.RoundWork:
    return work_lib.RoundWork(
      implementation=implementation,
      num_clients=3 if options.smoke else 25,
      private=private,
      resident=resident,
      per_example=per_example,
    )

  with Contenders(options) as contenders:
    ours, torch = contenders.accelerated, contenders.torch
    entries = [
      race.Entry(RESIDENT, ours, round_work('ours', private=False, resident=True)),
      race.Entry(f'{RESIDENT}, DP-SGD', ours, round_work('ours', private=True, resident=True)),
      race.Entry(f'{NATIVE}, DP-SGD', contenders.native, round_work('ours', private=True)),
    ]
    if torch is not None:
      for way in ('vmap', 'opacus'):
        work = round_work('by_hand', private=True, per_example=way)
        entries.append(race.Entry(f'PyTorch {way}, DP-SGD', torch, work))
    timings = race.run(entries, repetitions=options.repetitions)
  return Section(
    name='dp_sgd',
    title='DP-SGD FedSGD round: clip each example, noise multiplier 1; otherwise as above',
    timings=timings,
    aims=[
      Aim(entry=f'{RESIDENT}, DP-SGD', reference=RESIDENT, factor=1.3),
      *[
        Aim(entry=f'{RESIDENT}, DP-SGD', reference=entry.name, factor=1.0)
        for entry in entries
        if entry.contender is torch
      ],
    ],
  )


def gather(options: Options) -> Section:
  """Gather and Krum at three sizes, against the rule on a matrix that is already there."""
  sizes = [(25, 10**6), (100, 10**6), (500, 10**5)]
  if options.smoke:
    sizes = [(7, 1000)]
  section = Section(
    name='gather', title='Gather and Krum, f = (n - 3) / 2, against the eager rule on the stack'
  )
  for position, (num_clients, dimension) in enumerate(sizes):
    ours = work_lib.GatherWork(implementation='ours', num_clients=num_clients, dimension=dimension)
    size = f'({num_clients}, {dimension:.0e})'.replace('e+0', 'e')
    with Contenders(options) as contenders:
      entries = [
        race.Entry(
          f'eager rule {size}',
          contenders.tensorflow,
          dataclasses.replace(ours, implementation='by_hand'),
        ),
        race.Entry(f'accelerated {size}', contenders.accelerated, ours),
      ]
      if position == 0:
        entries.append(race.Entry(f'native {size}', contenders.native, ours))
      timings = race.run(entries, repetitions=options.repetitions if position == 0 else options.few)
    section.timings += timings
    section.aims.append(
      Aim(entry=f'accelerated {size}', reference=f'eager rule {size}', factor=1.5)
    )
    for timing in timings:
      if timing.peak_bytes is not None:
        # The matrix of the eager rule was there before.
        held = 1 if timing.name.startswith('eager') else 0
        share = timing.peak_bytes / ours.stack_bytes + held
        section.facts.append(
          f'Peak memory, {timing.name}: {share:.2f} times the stack (aim for ours: at most 2).'
        )
        section.figures[f'peak over stack, {timing.name}'] = share
  return section


def start(options: Options) -> Section:
  """Import to first round, and `--help`."""
  section = Section(name='start', title='Start of a run')
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
  with Contenders(options) as contenders:
    for contender in (contenders.accelerated, contenders.native):
      try:
        answer = contender.prepare('start', work)
      except contender_lib.ContenderError as error:
        section.facts.append(f'{contender.name}: not run: {error}.')
        continue
      section.figures[contender.name] = {
        'start_seconds': contender.start_seconds,
        **{name: answer[f'{name}_seconds'] for name in ('import', 'build', 'first')},
      }
      section.facts.append(
        f'{contender.name}: {contender.start_seconds:.1f} s from the start of Python to the end of'
        f' the first FedSGD round: imports {answer["import_seconds"]:.1f} s, data and computation'
        f' {answer["build_seconds"]:.1f} s, first round {answer["first_seconds"]:.1f} s.'
      )
  return section


def memory(options: Options) -> Section:
  """Growth of memory over thousands of rounds of a small process."""
  warm_up, measured, step = (500, 3000, 100) if not options.smoke else (4, 8, 2)
  work = work_lib.RoundWork(implementation='ours', num_clients=5, hidden_units=2, resident=True)
  section = Section(name='memory', title='Growth of memory: FedSGD of 5 clients, tiny network')
  with Contenders(options) as contenders:
    for contender, own in (
      (contenders.accelerated, work),
      (contenders.native, dataclasses.replace(work, resident=False)),
    ):
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
        section.facts.append(f'{contender.name}: not run: {error}.')
        continue
      known = [value for value in occupied if value is not None]
      if len(known) < len(rounds):
        section.facts.append(f'{contender.name}: this system does not tell.')
        continue
      slope = statistics.linear_regression(rounds, known).slope * 1000 / 1e6
      section.figures[contender.name] = {
        'megabytes_per_1000_rounds': slope,
        'rounds': rounds,
        'bytes': known,
        'seconds_per_round': seconds / rounds[-1],
      }
      section.facts.append(
        f'{contender.name}: {slope:+.2f} MB per 1,000 rounds (aim: at most 1) over {measured:,}'
        f' rounds after {warm_up:,}, from {known[0] / 1e6:.0f} to {known[-1] / 1e6:.0f} MB;'
        f' {1000 * seconds / rounds[-1]:.1f} ms a round.'
      )
  return section


def growth(options: Options) -> Section:
  """Rounds per second over the number of clients and the size of the model."""
  clients = [10, 25, 50, 100, 250, 500] if not options.smoke else [2, 4]
  parameters = [1e4, 1e5, 1e6, 1e7] if not options.smoke else [1e4, 1e5]
  section = Section(
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
  with Contenders(options) as contenders:
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
  return section


SECTIONS: dict[str, Callable[[Options], Section]] = {
  'fed_sgd': fed_sgd,
  'fed_avg': fed_avg,
  'dp_sgd': dp_sgd,
  'gather': gather,
  'start': start,
  'memory': memory,
  'growth': growth,
}


def measure(names: Sequence[str], options: Options) -> list[Section]:
  """Measures sections in turn and says so on standard error."""
  found = []
  for name in names:
    begin = time.perf_counter()
    print(f'{name}: started', file=sys.stderr, flush=True)
    section = SECTIONS[name](options)
    section.load_average = round(os.getloadavg()[0], 2)
    found.append(section)
    seconds = time.perf_counter() - begin
    print(f'{name}: {seconds:.0f} s, load {section.load_average}', file=sys.stderr, flush=True)
  return found
