"""Plug-ins, with the examples of docs/adding_*.md executed as they are printed."""

import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tff_robust import options, plugins, registry
from tff_robust.attacks import attack as attack_lib
from tff_robust.testing import attack_contract, attack_trial, rule_contract

ROOT = pathlib.Path(__file__).parent.parent
# Each page, and its modules with the names under which it says to save them.
RULE_PAGE, ATTACK_PAGE = (
  (ROOT / 'docs' / name).read_text(encoding='utf-8')
  for name in ('adding_a_rule.md', 'adding_an_attack.md')
)


def modules_of(page):
  """Returns the code that a page says to save, by the name of its module."""
  saved = r'[Ss]ave this as `(\w+)\.py`:\n\n```python\n(.*?)```'
  return dict(re.findall(saved, page, re.DOTALL))


def block_of_tests_in(page):
  """Returns the definitions of the one block of tests of a page."""
  blocks = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
  (code,) = [block for block in blocks if 'def test_' in block]
  assert len(blocks) == len(modules_of(page)) + 1
  scope = {}
  exec(compile(code, 'docs', 'exec'), scope)  # The document is ours.
  return scope


def commands_of(page):
  """Returns the arguments of each command of a page, without `python`."""
  blocks = re.findall(r'^```\n(python.*?)```', page, re.DOTALL | re.MULTILINE)
  lines = ''.join(blocks).replace('\\\n', ' ').splitlines()
  commands = [shlex.split(line) for line in lines]
  assert {python for python, *_ in commands} == {'python'}
  return [arguments for _, *arguments in commands]


def run_every_test(scope, name, promises):
  """Runs a parametrised test of a page, which has to try these promises."""
  (mark,) = scope[name].pytestmark
  names, tried = mark.args
  assert names == 'promise'
  assert list(tried) == list(promises)
  for promise in tried:
    scope[name](promise)


@pytest.fixture
def tables(monkeypatch):
  """Lets plug-ins add to copies of the tables."""
  for table in ('AGGREGATORS', 'PREAGGREGATORS', 'ATTACKS', 'OPTIONS'):
    monkeypatch.setattr(registry, table, dict(getattr(registry, table)))


@pytest.fixture
def plug_in(tables, tmp_path, monkeypatch):
  """Saves a module as its page says and imports it as a plug-in."""
  monkeypatch.syspath_prepend(tmp_path)

  def save_and_load(page, name):
    (tmp_path / f'{name}.py').write_text(modules_of(page)[name])
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, name, raising=False)
    plugins.load([name])
    loaded.append(name)
    return sys.modules[name]

  loaded = []
  yield save_and_load
  for name in loaded:
    sys.modules.pop(name, None)


@pytest.fixture
def midrange(plug_in):
  return plug_in(RULE_PAGE, 'midrange')


@pytest.mark.parametrize(('page', 'name'), [(RULE_PAGE, 'midrange'), (ATTACK_PAGE, 'mirrored')])
def test_the_example_has_ten_lines(page, name):
  assert len([line for line in modules_of(page)[name].splitlines() if line.strip()]) <= 10


def test_the_rule_of_the_document_passes_the_tests_of_the_document(midrange):
  rows = np.array([[0, 5], [1, -5], [4, 0], [7, 1], [100, 3]], np.float32)
  np.testing.assert_array_equal(midrange.midrange(rows, 1), [4, 1.5])
  run_every_test(block_of_tests_in(RULE_PAGE), 'test_midrange_keeps', rule_contract.PROMISES)


def test_the_attack_of_the_document_passes_the_tests_of_the_document(plug_in):
  mirrored = plug_in(ATTACK_PAGE, 'mirrored')
  # Honest mean (2, 1); the second attacker's own message is not a number in one place.
  honest = tf.constant([[1.0, 1.0], [3.0, 1.0], [np.inf, 0.0]])
  view = attack_lib.View(honest, tf.constant([[2.5, 0.0], [1.0, np.nan]]), tf.constant(0, tf.int64))
  _, sent = mirrored.mirrored((), view, [1, 2])
  np.testing.assert_array_equal(sent, [[-1.5, -2], [-3, -2]])
  promises = attack_contract.MESSAGE_PROMISES
  run_every_test(block_of_tests_in(ATTACK_PAGE), 'test_mirrored_keeps', promises)


@pytest.mark.parametrize('name', ['pushing', 'either_way', 'next_class'])
def test_every_other_attack_of_the_document_keeps_every_promise(plug_in, name):
  plug_in(ATTACK_PAGE, name)
  attack_contract.check(name)


def test_the_option_of_the_document_reaches_its_attack_and_is_checked(plug_in):
  plug_in(ATTACK_PAGE, 'pushing')
  trial = attack_trial.AttackTrial('pushing', given={'push_strength': 2.0})
  honest = np.arange(12, dtype=np.float32).reshape(2, 6)
  _, sent = trial.send((), honest, honest[:1])
  np.testing.assert_array_equal(sent, [-6 - 2 * np.arange(6)])
  with pytest.raises(ValueError, match=r'push_strength=-1\.0'):
    attack_trial.AttackTrial('pushing', given={'push_strength': -1.0})
  fields = re.findall(r'^- `(\w+)`: ', ATTACK_PAGE.split('\n## An option\n')[1], re.MULTILINE)
  assert tuple(fields[:4]) == options.Option._fields


def test_the_attack_of_the_document_takes_the_way_that_moves_the_rule_more(plug_in):
  either_way = plug_in(ATTACK_PAGE, 'either_way')
  rule = registry.build(registry.AGGREGATORS, 'coordinate_median', {'max_byzantine': 2})
  attack = either_way.build_either_way(rule=rule)
  # Backwards the median of seven is 2 where the mean is 4, onwards 4; then 7 where it is 7, and 9.
  for honest, expected in (([1, 2, 3, 4, 10], -4), ([1, 7, 8, 9, 10], 21)):
    rows = tf.constant(honest, tf.float32)[:, tf.newaxis]
    view = attack_lib.View(rows, rows[:2], tf.constant(0, tf.int64))
    _, sent = attack.apply(attack.init(1), view, tf.constant([1, 2], tf.int64))
    np.testing.assert_array_equal(sent, [[expected], [expected]])


@pytest.mark.parametrize(
  ('page', 'contracts'),
  [
    (RULE_PAGE, [rule_contract.PROMISES]),
    (ATTACK_PAGE, [attack_contract.MESSAGE_PROMISES, attack_contract.DATA_PROMISES]),
  ],
  ids=['rule', 'attack'],
)
def test_the_document_lists_every_promise_in_its_words(page, contracts):
  listed = re.findall(r'^\| `(\w+)` \| (.*) \|$', page, re.MULTILINE)
  said = [
    (name, ' '.join(promise.__doc__.split('\n\n')[0].split()))
    for promises in contracts
    for name, promise in promises.items()
  ]
  assert listed == said


def run_the_commands(folder, page):
  """Runs the commands of a page where its modules lie; returns what the last one printed."""
  for name, code in modules_of(page).items():
    (folder / f'{name}.py').write_text(code)
  for arguments in commands_of(page):
    done = subprocess.run(
      [sys.executable, *arguments],
      cwd=folder,
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.slow
def test_the_commands_of_the_rule_page_train_and_report(tmp_path):
  assert len(commands_of(RULE_PAGE)) == 2
  printed = run_the_commands(tmp_path, RULE_PAGE)
  assert 'midrange' in (tmp_path / 'runs/midrange/config.json').read_text()
  assert '| midrange | - | 17 of 17 |' in printed


@pytest.mark.slow
def test_the_commands_of_the_attack_page_train(tmp_path):
  assert len(commands_of(ATTACK_PAGE)) == 2
  run_the_commands(tmp_path, ATTACK_PAGE)
  for name in ('mirrored', 'pushing'):
    described = json.loads((tmp_path / f'runs/{name}/config.json').read_text())
    assert described['experiment']['attack']['attack'] == name
  assert described['experiment']['attack']['options'] == {'push_strength': 2.0}


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
  plugins.add_attack('pair', 'pair:build', knowledge=('own_clean',), fewest_own_messages=2)
  assert registry.ATTACKS['pair'].fewest_own_messages == 2


@pytest.mark.parametrize(
  ('add', 'words'),
  [
    (lambda: plugins.add_aggregator('krum', 'a:b'), "aggregator 'krum' is there already"),
    (lambda: plugins.add_option('max_norm', None), "option 'max_norm' is there already"),
    (lambda: plugins.add_aggregator('x', 'a:b', reads=['max_bizantine']), "'max_byzantine'"),
    (lambda: plugins.add_aggregator('x', lambda: None), 'define it at the top of a module'),
    (lambda: plugins.add_attack('x', 'a:b'), 'give exactly one'),
    (lambda: plugins.add_attack('x', 'a:b', by_data=True, takes_rule=True), 'try no rule'),
    (lambda: plugins.add_attack('x', 'a:b', knowledge='own_clean'), 'give a tuple of views'),
    (lambda: plugins.add_attack('x', 'a:b', knowledge=('own_claen',)), "'own_clean'"),
    (
      lambda: plugins.add_attack('x', 'a:b', knowledge=('honest_clean',), fewest_own_messages=2),
      'fewest_own_messages=2 has no effect',
    ),
    (
      lambda: plugins.add_aggregator('x', 'a:b', reads=(), defaults={'max_byzantine': 1}),
      r"defaults of 'x' hold 'max_byzantine', which is not among its reads \(none\)",
    ),
    (
      lambda: plugins.add_preaggregator('x', 'a:b', defaults={'bucket_size': 2}),
      "defaults of 'x' hold 'bucket_size'",
    ),
    (
      lambda: plugins.add_attack('x', 'a:b', by_data=True, defaults={'attack_scale': 2.0}),
      "defaults of 'x' hold 'attack_scale'",
    ),
    (lambda: plugins.add_aggregator('x', 'a.b'), "'a.b' is no function's address; write"),
    (lambda: plugins.add_attack('x', 'a.b:', by_data=True), "'a.b:' is no function's address"),
    (lambda: plugins.add_preaggregator('x', 'a/b.py:c'), "'a/b.py:c' is no function's address"),
    (lambda: plugins.add_aggregator('x', 'a:b', oracle='b'), "'b' is no function's address"),
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
