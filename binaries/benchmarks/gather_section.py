"""The section that times gathering rows and choosing one by Krum."""

from binaries.benchmarks import contender as contender_lib
from binaries.benchmarks import race, sections
from binaries.benchmarks import work as work_lib


def _entries(
  contenders: sections.Contenders, num_clients: int, dimension: int, *, with_native: bool
) -> list[race.Entry]:
  size = f'({num_clients}, {dimension:.0e})'.replace('e+0', 'e')

  def entry(name: str, contender: contender_lib.Contender, how: str) -> race.Entry:
    work = work_lib.GatherWork(implementation=how, num_clients=num_clients, dimension=dimension)
    return race.Entry(f'{name} {size}', contender, work)

  entries = [
    entry('eager rule', contenders.tensorflow, 'by_hand'),
    entry('accelerated', contenders.accelerated, 'ours'),
  ]
  return entries + [entry('native', contenders.native, 'ours')] * with_native


def gather(options: sections.Options) -> sections.Section:
  """Gather and Krum at three sizes, against the rule on a matrix that is already there."""
  sizes = [(25, 10**6), (100, 10**6), (500, 10**5)]
  if options.smoke:
    sizes = [(7, 1000)]
  section = sections.Section(
    name='gather', title='Gather and Krum, f = (n - 3) / 2, against the eager rule on the stack'
  )
  for position, (num_clients, dimension) in enumerate(sizes):
    first = position == 0
    with sections.Contenders(options) as contenders:
      # Loads what every size needs, so that it does not count as memory of the first call.
      race.run(_entries(contenders, 5, 100, with_native=first), repetitions=0)
      timings = race.run(
        _entries(contenders, num_clients, dimension, with_native=first),
        repetitions=options.repetitions if first else options.few,
      )
    section.timings += timings
    section.contenders = contenders.facts()
    eager, ours = timings[0].name, timings[1].name
    section.aims.append(sections.Aim(entry=ours, reference=eager, factor=1.5))
    for timing in timings:
      if timing.first is not None and timing.first.peak_bytes is not None:
        # The matrix of the eager rule was there before.
        held = 1 if timing.name == eager else 0
        share = held + timing.first.peak_bytes / (4 * num_clients * dimension)
        section.facts.append(
          f'Peak memory, {timing.name}: {share:.2f} times the stack (aim for ours: at most 2).'
        )
        section.figures[f'peak over stack, {timing.name}'] = share
  return section
