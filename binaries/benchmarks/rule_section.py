"""Sections that time every rule of the registry at one size, beside byzfl and flwr."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from binaries.benchmarks import contender as contender_lib
from binaries.benchmarks import contender_set, machine, peer_rules, race, rule_options, sections
from binaries.benchmarks import work as work_lib
from tff_robust import processor, registry
from tff_robust.runtime import graph_calls

SIZES = tuple((n, d) for d in (10**5, 10**6) for n in (25, 100, 500))
EAGER = 'eager'
FEDERATED = 'federated'
MATMUL = 'one float32 matrix product'
# The size at which memory is measured: the largest at which every rule is quick.
_MEMORY_SIZE = (100, 10**6)
# A rule that takes longer is given up.
_ANSWER_SECONDS = 240.0
# Time for the repetitions of an entry.
_BUDGET_SECONDS = 1.5
# Stacks that must fit into memory: ours, that of the rule within the federation, and what it makes.
_STACKS = 4


class _Contenders(contender_set.ContenderSet):
  """Who has rules: TensorFlow eagerly and federated, twice where memory counts, and the peers.

  Besides, a matrix product on all cores: one operation for which nothing else runs.
  """

  def __init__(self, options: sections.Options, *, with_memory: bool) -> None:
    super().__init__()

    def make(name: str, runtime: str, **settings: Any) -> contender_lib.Contender:
      return self.add(
        contender_lib.tensorflow_contender(
          name, runtime, options.device, answer_seconds=_ANSWER_SECONDS, **settings
        )
      )

    self.rules = {EAGER: make('tf.function', 'none'), FEDERATED: make('accelerated', 'accelerated')}
    self.product = make('product', 'none', operation_threads=processor.num_cores())
    self.memory: dict[str, contender_lib.Contender] = {}
    if with_memory:
      self.memory = {
        EAGER: make('memory of tf.function', 'none', shows_memory=True),
        FEDERATED: make('memory of accelerated', 'accelerated', shows_memory=True),
      }
    self.peers: contender_lib.Contender | None = None
    if options.peers_python is not None:
      self.peers = self.add(
        contender_lib.peers_contender(options.peers_python, answer_seconds=_ANSWER_SECONDS)
      )


def _works(num_clients: int, dimension: int) -> Iterator[tuple[str, work_lib.RuleWork | str]]:
  """Yields each name in the registry with what is timed of it, or why nothing is."""
  for kind, table in (
    ('aggregator', registry.AGGREGATORS),
    ('preaggregator', registry.PREAGGREGATORS),
  ):
    for name, entry in table.items():
      try:
        options = rule_options.choose(entry, num_clients=num_clients, dimension=dimension)
      except ValueError as error:
        yield name, str(error)
        continue
      yield (
        name,
        work_lib.RuleWork(
          implementation='ours',
          kind=kind,
          rule=name,
          options=options,
          num_clients=num_clients,
          dimension=dimension,
        ),
      )


def _entries(contenders: _Contenders, work: work_lib.RuleWork) -> list[race.Entry]:
  """Returns a rule eagerly and federated, and whoever else has it."""

  def entry(how: str, contender: contender_lib.Contender, implementation: str) -> race.Entry:
    own = dataclasses.replace(work, implementation=implementation)
    warm_up = 0
    if how == FEDERATED and work.num_clients * work.dimension < graph_calls.LARGE_ENTRIES:
      warm_up = graph_calls.calls_until_decided(work.num_clients)
    return race.Entry(f'{work.rule}, {how}', contender, own, warm_up)

  entries = [entry(how, contender, 'ours') for how, contender in contenders.rules.items()]
  if work.rule == 'krum':
    entries.append(entry(MATMUL, contenders.product, 'matmul'))
  if contenders.peers is not None:
    entries += [
      entry(implementation, contenders.peers, implementation)
      for implementation, known in peer_rules.IMPLEMENTATIONS.items()
      if work.rule in known
    ]
  return entries


def _best(timings: dict[str, race.Timing], library: str) -> float | None:
  """Returns the smallest median of a library's implementations."""
  found = [
    timing.median for how, timing in timings.items() if how.split()[0] == library and timing.median
  ]
  return min(found, default=None)


def _peaks(contenders: _Contenders, work: work_lib.RuleWork) -> dict[str, float]:
  """Returns the most memory of a call over that of the stack, which is counted."""
  entries = [race.Entry(how, contender, work) for how, contender in contenders.memory.items()]
  stack = 4 * work.num_clients * work.dimension
  peaks = {}
  for timing in race.run(entries, repetitions=0):
    if timing.first is not None and timing.first.peak_bytes is not None:
      # The stack of the eager rule was there before.
      peaks[timing.name] = (timing.name == EAGER) + timing.first.peak_bytes / stack
  return peaks


def _figures(
  work: work_lib.RuleWork, timings: dict[str, race.Timing], peaks: dict[str, float]
) -> list[dict[str, Any]]:
  """Returns a rule's figures as plain values, eagerly and federated."""
  byzfl, flwr = _best(timings, 'byzfl'), _best(timings, 'flwr')
  best = min((seconds for seconds in (byzfl, flwr) if seconds is not None), default=None)
  peers = [name for name, known in peer_rules.IMPLEMENTATIONS.items() if work.rule in known]

  def figure(where: str) -> dict[str, Any]:
    seconds = timings[where].median
    return {
      'rule': work.rule,
      'kind': work.kind,
      'n': work.num_clients,
      'd': work.dimension,
      'where': where,
      'options': dict(work.options),
      'seconds': seconds,
      'error': timings[where].error,
      'peers': peers,
      'byzfl_seconds': byzfl,
      'flwr_seconds': flwr,
      'ratio': None if seconds is None or best is None else seconds / best,
      'peak_over_stack': peaks.get(where),
    }

  return [figure(where) for where in (EAGER, FEDERATED)]


def _measure(options: sections.Options, name: str, num_clients: int, dimension: int) -> Any:
  section = sections.Section(
    name=name,
    title=f'Rules: {num_clients} clients, {dimension:,} coordinates',
    figures={'rules': []},
  )
  needed = 4 * num_clients * dimension * _STACKS
  if needed > machine.available_bytes():
    section.facts.append(f'Not run: needs {needed / 1e9:.0f} GB of free memory.')
    return section
  with_memory = options.smoke or (num_clients, dimension) == _MEMORY_SIZE
  with _Contenders(options, with_memory=with_memory) as contenders:
    _warm_up(contenders)
    for rule, work in _works(num_clients, dimension):
      if options.rules is not None and rule not in options.rules:
        continue
      if isinstance(work, str):
        section.timings.append(race.Timing(name=rule, error=work))
        continue
      entries = _entries(contenders, work)
      found = race.run(entries, repetitions=options.repetitions, budget_seconds=_BUDGET_SECONDS)
      section.timings += found
      by_how = {timing.name.partition(', ')[2]: timing for timing in found}
      section.figures['rules'] += _figures(work, by_how, _peaks(contenders, work))
      for contender in contenders.everyone():
        contender.renew()
      if MATMUL in by_how:
        section.aims.append(
          sections.Aim(entry=f'{rule}, {EAGER}', reference=f'{rule}, {MATMUL}', factor=2.0)
        )
  section.contenders = contenders.facts()
  return section


def _warm_up(contenders: _Contenders) -> None:
  """Loads what every rule needs, so that it does not count as memory or time of the first."""
  work = work_lib.RuleWork(
    implementation='ours', kind='aggregator', rule='krum', options={'max_byzantine': 1},
    num_clients=5, dimension=10,
  )  # fmt: skip
  entries = [
    race.Entry(contender.name, contender, work)
    for contender in (*contenders.rules.values(), *contenders.memory.values())
  ]
  race.run(entries, repetitions=0)


def _section(num_clients: int, dimension: int) -> Callable[[sections.Options], sections.Section]:
  name = section_name(num_clients, dimension)

  def measure(options: sections.Options) -> sections.Section:
    size = (11, 300) if options.smoke else (num_clients, dimension)
    return _measure(options, name, *size)

  return measure


def section_name(num_clients: int, dimension: int) -> str:
  """Returns the name of the section of a size, such as `n100_d1e6`."""
  return f'n{num_clients}_d{dimension:.0e}'.replace('e+0', 'e')


SECTIONS = {section_name(*size): _section(*size) for size in SIZES}
