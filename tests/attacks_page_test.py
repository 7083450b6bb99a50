"""The tables of docs/attacks.md say of every attack and pre-aggregator what the registry says."""

import fnmatch
import pathlib
import re

import pytest

from tff_robust import registry
from tff_robust.attacks import knowledge

ROOT = pathlib.Path(__file__).parent.parent
PAGE = (ROOT / 'docs' / 'attacks.md').read_text(encoding='utf-8')
ADDRESSES = dict(re.findall(r'^\[(\w+)\]: (\S+) ".*"$', PAGE, re.MULTILINE))


def table_below(heading, page=PAGE):
  """Returns the rows of the first table below a heading: their names in order, and their cells."""
  section = page.split(f'\n## {heading}\n')[1].split('\n## ')[0]
  lines = [line for line in section.splitlines() if line.startswith('|')]
  rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[2:]]
  assert {len(row) for row in rows} == {lines[0].count('|') - 1}
  return [name.strip('`') for name, *_ in rows], {name.strip('`'): cells for name, *cells in rows}


def options_in(cell):
  """Returns the options that a cell names, each with the text of its default or None."""
  named = re.findall(r'`(\w+)(?:=([^`]+))?`', cell)
  return {option: default or None for option, default in named if option in registry.OPTIONS}


def read(entry):
  """Returns the options that a row needs, and those that it has defaults for, as text."""
  optional = {
    option: None if entry.defaults[option] is None else str(entry.defaults[option])
    for option in entry.reads
    if option in entry.defaults
  }
  return {option: None for option in entry.reads if option not in optional}, optional


def module_of(entry):
  return ROOT / f'{entry.target.split(":")[0].replace(".", "/")}.py'


SENT, SEEN, READ, BEFORE = (
  table_below(heading)
  for heading in (
    'What attackers send',
    'What they have to see',
    'Options',
    'The pre-aggregators',
  )
)


@pytest.mark.parametrize('table', [SENT, SEEN, READ], ids=['sent', 'seen', 'read'])
def test_every_attack_has_one_row_in_the_order_of_the_registry(table):
  names, _ = table
  assert names == list(registry.ATTACKS)


@pytest.mark.parametrize('name', registry.ATTACKS)
def test_the_views_of_an_attack_are_those_of_the_registry(name):
  entry = registry.ATTACKS[name]
  views, own, _ = SEEN[1][name]
  if entry.by_data:
    assert (views, own) == ('by data', '')
    return
  always, _, besides = views.partition(', with ')
  assert entry.knowledge == tuple(fnmatch.filter(knowledge.ALL, always.strip('`')))
  given = None
  if besides:
    option, pattern = re.findall(r'`([^`]+)`', besides)
    given = option, tuple(fnmatch.filter(knowledge.ALL, pattern))
  assert entry.knowledge_with == given
  possible = {*entry.knowledge, *(entry.knowledge_with or ('', ()))[1]}
  assert own == (str(entry.fewest_own_messages) if possible & set(knowledge.OWN) else '')


@pytest.mark.parametrize('name', registry.ATTACKS)
def test_what_an_attack_needs_besides_is_said_where_it_does(name):
  entry, besides = registry.ATTACKS[name], SEEN[1][name][2]
  assert ('tries the live rule' in besides) == entry.takes_rule
  assert ('warm-up' in besides) == ('attack_warmup_rounds' in entry.reads)
  smallest = [entry.required_clients({'max_byzantine': f}) for f in (2, 5)]
  assert smallest == ([7, 13] if 'needs 2f + 3 clients' in besides else [1, 1])


@pytest.mark.parametrize('name', registry.ATTACKS)
def test_the_options_of_an_attack_are_those_of_the_registry(name):
  entry = registry.ATTACKS[name]
  needed, optional = read(entry)
  needs, may = READ[1][name]
  assert options_in(needs) == needed
  if not entry.also_by_data:
    assert options_in(may) == optional
    return
  other, switch = entry.also_by_data
  assert options_in(may) == {**optional, switch: None}
  assert may.endswith(f'`{switch}` and then all of `{other}`')
  rest = read(registry.ATTACKS[other])[1]
  assert read(entry._replace(reads=registry.ATTACKS[other].reads))[1] == {**rest, switch: None}


def test_every_preaggregator_has_one_row_in_the_order_of_the_registry():
  assert BEFORE[0] == list(registry.PREAGGREGATORS)


@pytest.mark.parametrize('name', registry.PREAGGREGATORS)
def test_the_row_of_a_preaggregator_is_that_of_the_registry(name):
  entry = registry.PREAGGREGATORS[name]
  _, needs, fewest, rows, _ = BEFORE[1][name]
  assert (options_in(needs), {}) == read(entry)
  assert ('DP noise' in needs) == entry.takes_noise_limits
  expected = {'1': [1, 1], '2f + 1': [5, 11]}[fewest]
  assert [entry.required_clients({'max_byzantine': f}) for f in (2, 5)] == expected
  left = {'n': [4, 9], 'ceil(n / s)': [2, 3]}[rows]
  assert [entry.rows_after(n, {'bucket_size': 3}) for n in (4, 9)] == left


@pytest.mark.parametrize(
  ('name', 'entry', 'source'),
  [
    *((name, registry.ATTACKS[name], cells[-1]) for name, cells in SENT[1].items()),
    *((name, registry.PREAGGREGATORS[name], cells[-1]) for name, cells in BEFORE[1].items()),
  ],
)
def test_the_source_of_a_row_is_the_one_that_its_module_states(name, entry, source):
  stated = set(re.findall(r'https://[^\s,)]+[^\s,.)]', module_of(entry).read_text()))
  labels = re.findall(r'\]\[(\w+)\]', source)
  assert {ADDRESSES[label] for label in labels} <= stated
  assert bool(labels) == bool(stated) == (source != 'ours')


def test_every_address_of_the_page_is_used():
  assert set(ADDRESSES) == set(re.findall(r'\]\[(\w+)\]', PAGE))


def test_an_attack_without_a_row_and_a_renamed_option_do_not_pass(monkeypatch):
  entry = registry.ATTACKS['replay']
  monkeypatch.setitem(registry.ATTACKS, 'replay', entry._replace(reads={'attack_wait': 'delay'}))
  with pytest.raises(AssertionError):
    test_the_options_of_an_attack_are_those_of_the_registry('replay')
  monkeypatch.setitem(registry.ATTACKS, 'newcomer', entry)
  with pytest.raises(AssertionError):
    test_every_attack_has_one_row_in_the_order_of_the_registry(SENT)
