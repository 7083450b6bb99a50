import os
import pathlib
import subprocess
import sys

import pytest

from binaries import plugin_flag

ROOT = pathlib.Path(__file__).parents[2]
# Without TensorFlow: the builder's module is imported only when the rule is built.
LIGHT = """
from tff_robust import checks, options, plugins
plugins.add_option('slope', options.Option(float, 'A slope.', checks.positive, example=1.0))
plugins.add_aggregator('steep', 'steep_rule:build', reads=['slope', 'max_byzantine'])
"""


def start(folder, *arguments, **environment):
  return subprocess.run(
    [sys.executable, '-m', 'binaries.train', *arguments],
    cwd=folder,
    env={**os.environ, 'PYTHONPATH': str(ROOT), **environment},
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'light.py').write_text(LIGHT)
  (tmp_path / 'more.flags').write_text('--plugins=light\n--aggregator=steep\n')
  return tmp_path


def test_rules_and_options_of_a_plug_in_are_flags(folder):
  shown = start(folder, '--plugins=light', '--help')
  assert shown.returncode == 0
  assert '--slope' in shown.stdout
  assert 'Read by --aggregator=steep' in ' '.join(shown.stdout.split())
  assert '--plugins' in shown.stdout
  assert '--slope' not in start(folder, '--help').stdout


@pytest.mark.parametrize(
  ('arguments', 'environment'),
  [
    (['--plugins=light', '--aggregator=steep'], {}),
    (['--flagfile=more.flags'], {}),
    (['--aggregator=steep'], {plugin_flag.VARIABLE: 'light'}),
  ],
)
def test_plug_ins_come_from_flags_flag_files_and_the_environment(folder, arguments, environment):
  done = start(
    folder, '--num_rounds=3', '--max_byzantine=1', '--slope=0', *arguments, **environment
  )
  assert (done.returncode, done.stderr) == (2, 'slope=0.0 must be a finite number above 0.\n')


def test_a_plug_in_that_is_not_there_is_refused_in_one_sentence(folder):
  done = start(folder, '--plugins=lite', '--num_rounds=3')
  assert done.returncode == 2
  assert done.stderr.startswith("plugins='lite' is no module that Python finds")
  assert done.stderr.count('\n') == 1


def test_an_option_of_the_name_of_a_flag_is_refused_in_one_sentence(folder):
  (folder / 'seeded.py').write_text(
    'from tff_robust import checks, options, plugins\n'
    "plugins.add_option('num_rounds', options.Option(int, 'A number.', checks.positive))\n"
  )
  done = start(folder, '--plugins=seeded', '--num_rounds=3')
  assert (done.returncode, done.stderr) == (
    2,
    "plugins=seeded add an option 'num_rounds', and there is a flag of that name; give the option"
    ' another name.\n',
  )


def test_processes_that_are_started_inherit_plug_ins(tmp_path, monkeypatch):
  (tmp_path / 'inherited_plugin.py').write_text('LOADED = True\n')
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setenv(plugin_flag.VARIABLE, '')
  plugin_flag.load(['--num_rounds=3', '--plugins', 'inherited_plugin'])
  assert os.environ[plugin_flag.VARIABLE] == 'inherited_plugin'
  assert 'inherited_plugin' in plugin_flag.loaded()
  del sys.modules['inherited_plugin']
  plugin_flag.load()
  assert sys.modules['inherited_plugin'].LOADED


def test_an_empty_flag_keeps_plug_ins_of_the_environment_from_all_processes(monkeypatch):
  monkeypatch.setenv(plugin_flag.VARIABLE, 'no_such_module_here')
  plugin_flag.load(['--plugins='])
  assert plugin_flag.VARIABLE not in os.environ
