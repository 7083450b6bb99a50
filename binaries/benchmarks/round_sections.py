"""Sections that time a round of training: FedSGD, FedAvg and DP-SGD."""

from binaries.benchmarks import race, sections
from binaries.benchmarks import work as work_lib
from tff_robust.runtime import graph_calls

STOCK = 'tff.learning, stock context'
# As TensorFlow starts on processors without instructions for neural networks.
STOCK_WITHOUT_ONEDNN = 'tff.learning, stock context, oneDNN off'
TFF_ACCELERATED = 'tff.learning, accelerated'
NATIVE = 'ours, native'
SEQUENCES = 'ours, accelerated, sequences'
RESIDENT = 'ours, accelerated, resident'
BY_HAND = 'tf.function by hand'
_NUM_CLIENTS = 25


def _rounds(
  options: sections.Options, algorithm: str
) -> tuple[list[race.Timing], sections.Contenders]:
  """Times the round of an algorithm in all contexts."""
  num_batches = 1 if algorithm == 'fed_sgd' else (2 if options.smoke else 50)

  def round_work(implementation: str, *, resident: bool = False) -> work_lib.RoundWork:
    return work_lib.RoundWork(
      implementation=implementation,
      algorithm=algorithm,
      num_clients=3 if options.smoke else _NUM_CLIENTS,
      num_batches=num_batches,
      resident=resident,
    )

  contenders = sections.Contenders(options)
  entries = [
    race.Entry(BY_HAND, contenders.tensorflow, round_work('by_hand')),
    race.Entry(RESIDENT, contenders.accelerated, round_work('ours', resident=True)),
    race.Entry(SEQUENCES, contenders.accelerated, round_work('ours')),
    race.Entry(TFF_ACCELERATED, contenders.accelerated, round_work('tff')),
    race.Entry(NATIVE, contenders.native, round_work('ours')),
    race.Entry(STOCK, contenders.stock, round_work('tff')),
    race.Entry(STOCK_WITHOUT_ONEDNN, contenders.stock_without_onednn, round_work('tff')),
  ]
  if contenders.torch is not None and algorithm == 'fed_sgd':
    entries.append(race.Entry('PyTorch by hand', contenders.torch, round_work('by_hand')))
  repetitions, warm_up = options.few, 0
  if algorithm == 'fed_sgd':
    repetitions, warm_up = options.repetitions, _warm_up(options)
  with contenders:
    return race.run(entries, repetitions=repetitions, warm_up=warm_up), contenders


def _warm_up(options: sections.Options) -> int:
  """Returns rounds of FedSGD before those that are timed: by then one is one graph, or never is."""
  return 1 if options.smoke else graph_calls.calls_until_decided(_NUM_CLIENTS)


def fed_sgd(options: sections.Options) -> sections.Section:
  """One gradient of each of 25 clients, in all contexts."""
  timings, contenders = _rounds(options, 'fed_sgd')
  return sections.Section(
    name='fed_sgd',
    title='FedSGD round: 25 clients, batch 10, CNN of 150,666 parameters',
    timings=timings,
    aims=[
      sections.Aim(entry=RESIDENT, reference=BY_HAND, factor=1.15),
      sections.Aim(entry=SEQUENCES, reference=BY_HAND, factor=1.15),
      sections.Aim(entry=RESIDENT, reference=STOCK, factor=1.0),
    ],
    contenders=contenders.facts(),
  )


def fed_avg(options: sections.Options) -> sections.Section:
  """One local epoch of 50 batches on each of 25 clients, in all contexts."""
  timings, contenders = _rounds(options, 'fed_avg')
  return sections.Section(
    name='fed_avg',
    title='FedAvg round: 25 clients, one local epoch of 50 batches of 10, the same CNN',
    timings=timings,
    aims=[
      sections.Aim(entry=RESIDENT, reference=BY_HAND, factor=1.15),
      sections.Aim(entry=RESIDENT, reference=STOCK, factor=0.5),
      sections.Aim(entry=SEQUENCES, reference=STOCK, factor=0.5),
      sections.Aim(entry=RESIDENT, reference=STOCK_WITHOUT_ONEDNN, factor=0.5),
    ],
    contenders=contenders.facts(),
  )


def dp_sgd(options: sections.Options) -> sections.Section:
  """What clipping each example and adding noise costs."""

  def round_work(
    implementation: str, *, private: bool, resident: bool = False, per_example: str = 'vmap'
  ) -> work_lib.RoundWork:
    return work_lib.RoundWork(
      implementation=implementation,
      num_clients=3 if options.smoke else _NUM_CLIENTS,
      private=private,
      resident=resident,
      per_example=per_example,
    )

  with sections.Contenders(options) as contenders:
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
    timings = race.run(entries, repetitions=options.repetitions, warm_up=_warm_up(options))
  return sections.Section(
    name='dp_sgd',
    title='DP-SGD FedSGD round: clip each example, noise multiplier 1; otherwise as above',
    timings=timings,
    aims=[
      sections.Aim(entry=f'{RESIDENT}, DP-SGD', reference=RESIDENT, factor=1.3),
      *[
        sections.Aim(entry=f'{RESIDENT}, DP-SGD', reference=entry.name, factor=1.0)
        for entry in entries
        if entry.contender is torch
      ],
    ],
    contenders=contenders.facts(),
  )
