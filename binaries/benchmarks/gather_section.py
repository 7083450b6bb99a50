"""The section that times gathering rows and choosing one by Krum."""

import dataclasses

from binaries.benchmarks import race, sections
from binaries.benchmarks import work as work_lib


def gather(options: sections.Options) -> sections.Section:
  """Gather and Krum at three sizes, against the rule on a matrix that is already there."""
  sizes = [(25, 10**6), (100, 10**6), (500, 10**5)]
  if options.smoke:
    sizes = [(7, 1000)]
  section = sections.Section(
    name='gather', title='Gather and Krum, f = (n - 3) / 2, against the eager rule on the stack'
  )
  for position, (num_clients, dimension) in enumerate(sizes):
    ours = work_lib.GatherWork(implementation='ours', num_clients=num_clients, dimension=dimension)
    size = f'({num_clients}, {dimension:.0e})'.replace('e+0', 'e')
    with sections.Contenders(options) as contenders:
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
      repetitions = options.repetitions if position == 0 else options.few
      timings = race.run(entries, repetitions=repetitions, with_memory=True)
    section.timings += timings
    section.contenders = contenders.facts()
    section.aims.append(
      sections.Aim(entry=f'accelerated {size}', reference=f'eager rule {size}', factor=1.5)
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
