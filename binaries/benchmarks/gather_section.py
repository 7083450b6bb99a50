"""The section that times gathering rows and choosing one by Krum."""

from collections.abc import Mapping, Sequence

from binaries.benchmarks import contender as contender_lib
from binaries.benchmarks import contender_set, race, sections
from binaries.benchmarks import work as work_lib

_EAGER = 'eager rule'
_ACCELERATED = 'accelerated'
_NATIVE = 'native'
# Rounds before those that are timed, in which memory settles: with so many rows as here, 64 MB or
# more, our runtime never turns a round into one graph.
_WARM_UP = 25


def _entries(
  contenders: Mapping[str, contender_lib.Contender], num_clients: int, dimension: int
) -> list[race.Entry]:
  size = f'({num_clients}, {dimension:.0e})'.replace('e+0', 'e')
  return [
    race.Entry(
      f'{name} {size}',
      contender,
      work_lib.GatherWork(
        implementation='by_hand' if name == _EAGER else 'ours',
        num_clients=num_clients,
        dimension=dimension,
      ),
    )
    for name, contender in contenders.items()
  ]


def _race(
  contenders: Mapping[str, contender_lib.Contender],
  num_clients: int,
  dimension: int,
  *,
  repetitions: int,
  warm_up: int,
) -> list[race.Timing]:
  """Times the contenders; what every size needs does not count as memory."""
  race.run(_entries(contenders, 5, 100), repetitions=0)
  entries = _entries(contenders, num_clients, dimension)
  return race.run(entries, repetitions=repetitions, warm_up=warm_up)


def _peaks(timings: Sequence[race.Timing], stack: int) -> dict[str, float]:
  """Returns the most memory of each in all calls, over that of the stack."""
  return {
    # The matrix of the eager rule was there before.
    timing.name: timing.name.startswith(_EAGER) + timing.peak_bytes / stack
    for timing in timings
    if timing.peak_bytes is not None
  }


def _needs(
  options: sections.Options, num_clients: int, dimension: int, *, warm_up: int
) -> dict[str, float]:
  """Does everything once more where TensorFlow gives back at once what it no longer needs."""
  with contender_set.ContenderSet() as contenders:
    named = {
      name: contenders.add(
        contender_lib.tensorflow_contender(
          f'memory of {name}', runtime, options.device, shows_memory=True
        )
      )
      for name, runtime in ((_EAGER, 'none'), (_ACCELERATED, 'accelerated'))
    }
    timings = _race(named, num_clients, dimension, repetitions=0, warm_up=warm_up)
    return _peaks(timings, 4 * num_clients * dimension)


def gather(options: sections.Options) -> sections.Section:
  """Gather and Krum at three sizes, against the rule on a matrix that is already there."""
  sizes = [(25, 10**6), (100, 10**6), (500, 10**5)]
  warm_up = _WARM_UP
  if options.smoke:
    sizes, warm_up = [(7, 1000)], 1
  section = sections.Section(
    name='gather', title='Gather and Krum, f = (n - 3) / 2, against the eager rule on the stack'
  )
  for position, (num_clients, dimension) in enumerate(sizes):
    first = position == 0
    with sections.Contenders(options) as contenders:
      named = {_EAGER: contenders.tensorflow, _ACCELERATED: contenders.accelerated}
      if first:
        named[_NATIVE] = contenders.native
      timings = _race(
        named,
        num_clients,
        dimension,
        repetitions=options.repetitions if first else options.few,
        warm_up=warm_up,
      )
    section.timings += timings
    section.contenders = contenders.facts()
    eager, ours = timings[0].name, timings[1].name
    section.aims.append(sections.Aim(entry=ours, reference=eager, factor=1.5))
    kept = _peaks(timings, 4 * num_clients * dimension)
    needed = _needs(options, num_clients, dimension, warm_up=warm_up)
    for name, share in kept.items():
      section.figures[f'peak over stack, {name}'] = share
      fact = f'Memory, {name}: {share:.2f} times the stack'
      if name in needed:
        section.figures[f'need over stack, {name}'] = needed[name]
        fact += (
          f' (aim for ours: at most 2), and {needed[name]:.2f} times where TensorFlow gives back'
          ' at once what it no longer needs'
        )
      section.facts.append(f'{fact}.')
  return section
