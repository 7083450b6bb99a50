import dataclasses
import math
import pathlib
import sys
import textwrap
import types

import numpy as np
import pytest

from binaries.benchmarks import (
  contender,
  gather_rows,
  peer_rules,
  race,
  report,
  rule_options,
  rule_section,
  rule_table,
  sections,
)
from binaries.benchmarks import work as work_lib
from tff_robust import options, processor, registry

ROOT = pathlib.Path(__file__).parents[2]

# Stand-ins for the libraries: the mean is doubled, and Krum returns row f.
FAKE_BYZFL = {
  '__init__.py': "raise ImportError('the experiments need torchvision')",
  'aggregators/__init__.py': '',
  'aggregators/preaggregators.py': """
    class Clipping:
      def __init__(self, c):
        self.c = c
      def __call__(self, rows):
        rows[:] = rows * 0.5
        return rows
    """,
  'aggregators/aggregators.py': """
    class Average:
      def __call__(self, rows):
        return 2 * rows.mean(0)
    class Krum:
      def __init__(self, f):
        self.f = f
      def __call__(self, rows):
        return rows[self.f]
    """,
}


@pytest.fixture
def peers(tmp_path):
  for name, code in FAKE_BYZFL.items():
    file = tmp_path / 'byzfl' / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(code))
  running = contender.Contender(
    'peers',
    [sys.executable, '-m', 'binaries.benchmarks.peers_contender'],
    environment={'PYTHONPATH': f'{ROOT}:{tmp_path}'},
  )
  yield running
  running.close()


def rule_work(implementation, rule, **options):
  return work_lib.RuleWork(
    implementation=implementation,
    kind='aggregator',
    rule=rule,
    options=options,
    num_clients=7,
    dimension=40,
  )


def row(**fields):
  return {
    'rule': 'krum', 'n': 25, 'd': 1000, 'where': 'eager', 'seconds': 0.5, 'peers': ['flwr'],
    'ratio': 0.25, 'peak_over_stack': None, **fields,
  }  # fmt: skip


@pytest.mark.parametrize('rule', ['krum', 'bulyan', 'centered_clipping', 'bucketing'])
def test_rule_gets_every_option_that_it_reads(rule):
  entry = {**registry.AGGREGATORS, **registry.PREAGGREGATORS}[rule]
  options = rule_options.choose(entry, num_clients=100, dimension=400)
  assert set(options) == set(entry.reads)
  assert options.get('max_byzantine', 10) == 10
  assert options.get('clip_radius', 10.0) == 10.0
  assert entry.required_clients(options) <= 100


def test_max_byzantine_is_lowered_to_what_a_rule_permits():
  strict = registry.AGGREGATORS['krum']._replace(
    required_clients=lambda options: 20 * options['max_byzantine'] + 1
  )
  assert rule_options.choose(strict, num_clients=45, dimension=9) == {'max_byzantine': 2}


@pytest.mark.parametrize(('num_clients', 'expected'), [(25, 2), (100, 2), (500, 1)])
def test_rules_that_search_subsets_are_given_no_more_than_take_seconds(num_clients, expected):
  entry = registry.AGGREGATORS['smea']
  options = rule_options.choose(entry, num_clients=num_clients, dimension=9)
  assert options == {'max_byzantine': expected}


def test_option_of_a_plug_in_has_its_example(monkeypatch):
  slope = options.Option(float, 'A slope.', lambda *_: None, example=0.75)
  monkeypatch.setitem(registry.OPTIONS, 'slope', slope)
  entry = registry.AGGREGATORS['mean']._replace(reads={'slope': 'slope'})
  assert rule_options.choose(entry, num_clients=25, dimension=10) == {'slope': 0.75}


def test_option_without_a_value_is_named():
  entry = registry.AGGREGATORS['mean']._replace(reads={'root_examples': 'root_examples'})
  with pytest.raises(ValueError, match='no value for root_examples'):
    rule_options.choose(entry, num_clients=25, dimension=10)


@pytest.mark.parametrize(
  ('implementation', 'rule', 'n', 'd', 'words'),
  [
    ('byzfl numpy', 'smea', 25, 10**6, 'would take (about|hours)'),
    ('byzfl torch', 'minimum_diameter_averaging', 100, 10**5, 'would take (about|hours)'),
    ('flwr legacy', 'bulyan', 500, 10**5, 'would take (about|hours)'),
    ('flwr legacy', 'krum', 500, 10**6, 'would take (about|hours)'),
    ('byzfl torch', 'nearest_neighbor_mixing', 100, 10**6, '36 GB'),
  ],
)
def test_peer_that_would_take_too_much_is_left_out(implementation, rule, n, d, words):
  size = {'num_clients': n, 'dimension': d, 'available_bytes': 24e9}
  options = {'max_byzantine': n // 10}
  with pytest.raises(ValueError, match=words):
    peer_rules.check_size(implementation, rule, options, **size)
  small = {**size, 'num_clients': 10, 'dimension': 1000}
  peer_rules.check_size(implementation, rule, {'max_byzantine': 1}, **small)


def test_peers_have_only_rules_of_the_registry():
  ours = {*registry.AGGREGATORS, *registry.PREAGGREGATORS}
  for known in peer_rules.IMPLEMENTATIONS.values():
    assert set(known) <= ours


def test_peers_aggregate_the_rows_that_we_aggregate(peers):
  mean, krum, clipped, torch, flwr = race.run(
    [
      race.Entry('mean', peers, rule_work('byzfl numpy', 'mean')),
      race.Entry('krum', peers, rule_work('byzfl numpy', 'krum', max_byzantine=2)),
      race.Entry('clip', peers, rule_work('byzfl numpy', 'static_clipping', max_norm=1.0)),
      race.Entry('torch', peers, rule_work('byzfl torch', 'mean')),
      race.Entry('flwr', peers, rule_work('flwr legacy', 'mean')),
    ],
    repetitions=2,
  )
  rows = gather_rows.independent(7, 40).astype(np.float64)
  assert mean.first.figure == pytest.approx(2 * np.linalg.norm(rows.mean(0)), rel=1e-5)
  assert krum.first.figure == pytest.approx(np.linalg.norm(rows[2]), rel=1e-5)
  # The first row halved once: every repetition gets rows that were not clipped before.
  assert clipped.first.figure == pytest.approx(np.linalg.norm(rows[0]) / 2, rel=1e-5)
  assert len(mean.seconds) == len(krum.seconds) == len(clipped.seconds) == 2
  assert 'torch' in torch.error
  assert 'flwr' in flwr.error
  assert peers.facts['flwr'] == 'not installed'


def test_table_tells_ratio_none_and_not_run():
  lines = rule_table.lines(
    [
      row(),
      row(d=10**6, ratio=None),
      row(rule='caf', peers=[], ratio=None),
      row(rule='caf', d=10**6, seconds=None),
      row(where='federated', seconds=2.0, ratio=1.0, peak_over_stack=1.75),
    ]
  )
  assert '| rule | (25, 1e3) | (25, 1e6) |' in lines
  assert '| krum | 0.5 s, 0.25 | 0.5 s, not run |' in lines
  assert '| caf | 0.5 s, none | not run |' in lines
  assert '| krum | 2 s, 1.00 |' in lines
  assert '| krum | (25, 1,000) | federated | 1.75 |' in lines


def test_report_without_rules_has_no_table_of_rules():
  assert rule_table.lines([]) == []
  assert 'All rules' not in report.markdown({}, [sections.Section(name='a', title='A')])


def test_there_is_a_section_for_every_size():
  assert list(rule_section.SECTIONS) == [
    'n25_d1e5', 'n100_d1e5', 'n500_d1e5', 'n25_d1e6', 'n100_d1e6', 'n500_d1e6',
  ]  # fmt: skip


@pytest.mark.parametrize(
  ('num_clients', 'dimension', 'expected'),
  [
    # 20 calls, or a third of the clients, then the first of the graph, and 10 that are compared.
    (25, 10**5, 31),
    (100, 10**5, 33 + 11),
    # Rows of 64 MB or more stay interpreted.
    (25, 10**6, 0),
  ],
)
def test_rules_are_timed_when_it_is_decided_whether_they_are_one_graph(
  num_clients, dimension, expected
):
  contenders = types.SimpleNamespace(
    rules={rule_section.EAGER: 'a', rule_section.FEDERATED: 'b'}, peers=None
  )
  work = dataclasses.replace(
    rule_work('ours', 'mean'), num_clients=num_clients, dimension=dimension
  )
  eager, federated = rule_section._entries(contenders, work)
  assert (eager.warm_up, federated.warm_up) == (0, expected)


def test_section_that_does_not_fit_into_memory_says_so(monkeypatch):
  monkeypatch.setattr(rule_section.machine, 'available_bytes', lambda: 1e9)
  section = rule_section.SECTIONS['n500_d1e6'](sections.Options())
  assert section.figures == {'rules': []}
  assert section.facts == ['Not run: needs 8 GB of free memory.']


@pytest.mark.slow
def test_every_rule_gives_the_same_eagerly_and_federated():
  options = sections.Options(
    device='cpu', repetitions=1, smoke=True, rules=['mean', 'krum', 'static_clipping']
  )
  section = rule_section.SECTIONS['n25_d1e5'](options)
  assert [timing.error for timing in section.timings] == [''] * 7
  first = {timing.name: timing.first.figure for timing in section.timings}
  for rule in ('mean', 'krum'):
    assert first[f'{rule}, eager'] > 0
    assert first[f'{rule}, federated'] == pytest.approx(first[f'{rule}, eager'], rel=1e-5)
  figures = section.figures['rules']
  assert [(found['rule'], found['where']) for found in figures] == [
    (rule, where)
    for rule in ('mean', 'krum', 'static_clipping')
    for where in ('eager', 'federated')
  ]
  for found in figures:
    assert (found['n'], found['d']) == (11, 300)
    assert found['seconds'] > 0
    assert found['ratio'] is None
    assert math.isfinite(found['peak_over_stack'])
  assert section.aims == [
    sections.Aim(entry='krum, eager', reference='krum, one float32 matrix product', factor=2.0)
  ]
  # A product is alone, and has all cores; in rules, blocks side by side share them.
  cores = processor.num_cores()
  said = f'operations on {cores} thread{"s" * (cores > 1)} each'
  assert section.contenders['product']['operations'] == said
  assert section.contenders['tf.function']['operations'] == 'operations on 1 thread each'
