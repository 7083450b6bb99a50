"""Rules from outside, with the example of docs/adding_a_rule.md executed as it is printed."""

import importlib
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from tff_robust import options, plugins, registry
from tff_robust.testing import rule_contract

ROOT = pathlib.Path(__file__).parent.parent
DOCUMENT = (ROOT / 'docs' / 'adding_a_rule.md').read_text(encoding='utf-8')
RULE, TESTS = re.findall(r'```python\n(.*?)```', DOCUMENT, re.DOTALL)
COMMANDS = re.search(r'```\n(python.*?)```', DOCUMENT, re.DOTALL)[1].splitlines()


@pytest.fixture
def tables(monkeypatch):
  """Lets plug-ins add to copies of the tables."""
  for table in ('AGGREGATORS', 'PREAGGREGATORS', 'ATTACKS', 'OPTIONS'):
    monkeypatch.setattr(registry, table, dict(getattr(registry, table)))


@pytest.fixture
def midrange(tables, tmp_path, monkeypatch):
  """The example, saved as the document says and imported as a plug-in."""
  (tmp_path / 'midrange.py').write_text(RULE)
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.delitem(sys.modules, 'midrange', raising=False)
  plugins.load(['midrange'])
  yield sys.modules['midrange']
  sys.modules.pop('midrange', None)


def test_the_example_has_ten_lines():
  assert len([line for line in RULE.splitlines() if line.strip()]) <= 10


def test_the_rule_of_the_document_passes_the_tests_of_the_document(midrange):
  rows = np.array([[0, 5], [1, -5], [4, 0], [7, 1], [100, 3]], np.float32)
  np.testing.assert_array_equal(midrange.midrange(rows, 1), [4, 1.5])
  scope = {}
  exec(compile(TESTS, 'docs/adding_a_rule.md', 'exec'), scope)  # The document is ours.
  (mark,) = scope['test_midrange_keeps'].pytestmark
  names, promises = mark.args
  assert names == 'promise'
  assert list(promises) == list(rule_contract.PROMISES)
  for promise in promises:
    scope['test_midrange_keeps'](promise)


def test_the_document_lists_every_promise_in_its_words():
  listed = dict(re.findall(r'^\| `(\w+)` \| (.*) \|$', DOCUMENT, re.MULTILINE))
  said = {
    name: ' '.join(promise.__doc__.split('\n\n')[0].split())
    for name, promise in rule_contract.PROMISES.items()
  }
  assert listed == said


@pytest.mark.slow
def test_the_commands_of_the_document_train_and_report(tmp_path):
  (tmp_path / 'midrange.py').write_text(RULE)
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  assert len(COMMANDS) == 2
  for command in COMMANDS:
    python, *arguments = shlex.split(command)
    assert python == 'python'
    done = subprocess.run(
      [sys.executable, *arguments],
      cwd=tmp_path,
      env=environment,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stderr
  assert 'midrange' in (tmp_path / 'runs/midrange/config.json').read_text()
  assert '| midrange | - | 16 of 16 |' in done.stdout


def test_a_plugged_in_rule_has_flags_messages_and_a_bound(midrange):
  entry = registry.AGGREGATORS['midrange']
  assert entry.reads == {'max_byzantine': 'max_byzantine'}
  assert entry.required_clients({'max_byzantine': 3}) == 7
  built = registry.build(registry.AGGREGATORS, 'midrange', {'max_byzantine': 1})
  with pytest.raises(ValueError, match="aggregator 'midrange' with max_byzantine=1 needs at least"):
    built.apply((), np.zeros([2, 2], np.float32), np.ones(2), [1, 2])


def build_nothing():
  """Returns nothing; only its name is used."""


def test_everything_that_can_be_plugged_in_reaches_its_table(tables):
  plugins.add_option('steepness', options.Option(float, 'A slope.', lambda *_: None, example=2.0))
  plugins.add_aggregator(
    'steep',
    build_nothing,
    reads=['steepness'],
    oracle=build_nothing,
    deviations={'keeps_row_order': 'Why.'},
  )
  plugins.add_aggregator('rooted', 'rooted:build', reads=(), needs_root=True)
  plugins.add_preaggregator(
    'pairs',
    'pairs:build',
    required_clients=lambda _: 2,
    rows_after=lambda n, _: n // 2,
    deviations={'keeps_row_order': 'Why.'},
  )
  plugins.add_attack('shout', 'shout:build', reads={'steepness': 'slope'}, knowledge=('own_clean',))
  plugins.add_attack('probe', 'probe:build', knowledge=('own_clean',), takes_rule=True)
  plugins.add_attack('stain', 'stain:build', by_data=True)
  assert registry.OPTIONS['steepness'].example == 2.0
  steep = registry.AGGREGATORS['steep']
  assert steep.target == steep.oracle == f'{__name__}:build_nothing'
  assert steep.required_clients({}) == 1
  assert steep.deviations == {'keeps_row_order': 'Why.'}
  assert registry.AGGREGATORS['rooted'].needs_root
  assert not steep.needs_root
  pairs = registry.PREAGGREGATORS['pairs']
  assert (pairs.rows_after(9, {}), pairs.required_clients({})) == (4, 2)
  assert pairs.deviations == {'keeps_row_order': 'Why.'}
  assert registry.ATTACKS['probe'].takes_rule
  assert not registry.ATTACKS['shout'].takes_rule
  assert registry.ATTACKS['shout'].reads == {'steepness': 'slope'}
  assert registry.ATTACKS['stain'].by_data


@pytest.mark.parametrize(
  ('add', 'words'),
  [
    (lambda: plugins.add_aggregator('krum', 'a:b'), "aggregator 'krum' is there already"),
    (lambda: plugins.add_option('max_norm', None), "option 'max_norm' is there already"),
    (lambda: plugins.add_aggregator('x', 'a:b', reads=['max_bizantine']), "'max_byzantine'"),
    (lambda: plugins.add_aggregator('x', lambda: None), 'define it at the top of a module'),
    (lambda: plugins.add_attack('x', 'a:b'), 'give exactly one'),
    (lambda: plugins.add_attack('x', 'a:b', by_data=True, takes_rule=True), 'try no rule'),
    (lambda: plugins.load(['no_such_module_here']), 'is no module that Python finds'),
  ],
)
def test_mistakes_are_told_in_one_sentence(tables, add, words):
  with pytest.raises(ValueError, match=words) as caught:
    add()
  assert '\n' not in str(caught.value)


def test_a_module_that_a_plug_in_lacks_is_not_taken_for_the_plug_in(tmp_path, monkeypatch):
  (tmp_path / 'needy.py').write_text('import no_such_module_here\n')
  monkeypatch.syspath_prepend(tmp_path)
  importlib.invalidate_caches()
  with pytest.raises(ModuleNotFoundError, match='no_such_module_here'):
    plugins.load(['needy'])
