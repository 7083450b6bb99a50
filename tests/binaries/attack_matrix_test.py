import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

from binaries import attack_matrix, experiment, matrix_cells
from tff_robust import registry
from tff_robust.program import run_folder

ROOT = pathlib.Path(__file__).parents[2]
SETTING = matrix_cells.Setting(
  num_byzantine=5, dirichlet_alpha=None, num_rounds=2, seed=1, runtime='accelerated'
)


def cells_of(folder):
  return matrix_cells.build_cells(folder, ['mean', 'krum'], ['none', 'sign_flip'], SETTING)


def write_summary(folder, **values):
  folder.mkdir(exist_ok=True)
  (folder / 'summary.json').write_text(json.dumps(values))


def begin(folder, rule, attack, status=None):
  """Leaves the folder of a cell as a run leaves it: killed, or ended with a status."""
  configured, options = cells_of(folder)[rule, attack]
  run_folder.create(
    options.output_dir,
    configured,
    running=options.shared(),
    runtime='here',
    source='drawn',
    options=options.to_json(),
  )
  if status is not None:
    write_summary(options.output_dir, status=status, final_accuracy=0.25)


@pytest.fixture
def started(monkeypatch):
  """Lets cells end at once, with the statuses in `statuses` and then 0; records them."""
  record = types.SimpleNamespace(cells=[], statuses=[], num_closed=0)

  def close():
    record.num_closed += 1

  def prepare(configured, options):
    record.cells.append((options.output_dir.name, options.resume))
    status = record.statuses.pop(0) if record.statuses else 0
    write_summary(options.output_dir, status='completed', final_accuracy=0.75)
    return types.SimpleNamespace(run=lambda: (None, status), close=close)

  monkeypatch.setattr(experiment, 'prepare', prepare)
  return record


def run(folder):
  rules, attacks = ['mean', 'krum'], ['none', 'sign_flip']
  return attack_matrix.run(folder, cells_of(folder), rules, attacks, num_byzantine=5)


def test_matrix_goes_on_with_cells_that_have_not_ended(tmp_path, started):
  begin(tmp_path, 'mean', 'none', 'completed')
  begin(tmp_path, 'mean', 'sign_flip', 'diverged')
  begin(tmp_path, 'krum', 'none', 'interrupted')
  begin(tmp_path, 'krum', 'sign_flip')
  assert run(tmp_path) == 0
  assert started.cells == [('krum-none', True), ('krum-sign_flip', True)]
  # The data set of a cell does not stay on the device.
  assert started.num_closed == 2
  lines = (tmp_path / 'matrix.csv').read_text().splitlines()
  assert lines == ['rule,none,sign_flip', 'mean,0.25,0.25', 'krum,0.75,0.75']


def test_interrupt_in_a_cell_ends_the_matrix(tmp_path, started):
  started.statuses = [0, 130]
  assert run(tmp_path) == 130
  assert started.cells == [('mean-none', False), ('mean-sign_flip', False)]
  assert not (tmp_path / 'matrix.csv').exists()


def test_checkpoints_of_a_cell_that_cannot_be_read_end_the_matrix_in_one_sentence(
  tmp_path, monkeypatch, capsys
):
  begin(tmp_path, 'mean', 'none')

  def refuse():
    raise run_folder.UnreadableError('none can be read; delete them.')

  monkeypatch.setattr(
    experiment,
    'prepare',
    lambda configured, options: types.SimpleNamespace(run=refuse, close=lambda: None),
  )
  assert run(tmp_path) == 2
  assert capsys.readouterr().err.splitlines()[1:] == ['none can be read; delete them.']


def test_table_has_a_row_for_each_rule():
  text = attack_matrix.table(['mean', 'krum'], ['none', 'nan'], [[0.5, 0.1], [0.25, 1.0]])
  assert text.splitlines()[2:] == ['| mean | 0.50 | 0.10 |', '| krum | 0.25 | 1.00 |']


@pytest.mark.parametrize('rule', registry.AGGREGATORS)
@pytest.mark.parametrize('attack', ['none', *registry.ATTACKS])
def test_every_rule_meets_every_attack_unless_it_is_refused_by_name(tmp_path, rule, attack):
  small = SETTING._replace(num_byzantine=2)
  tries_rule = attack != 'none' and registry.ATTACKS[attack].takes_rule
  if tries_rule and registry.AGGREGATORS[rule].needs_root:
    # Who tries the rule does not hold the root set of the server.
    with pytest.raises(ValueError, match=attack):
      matrix_cells.build_cells(tmp_path, [rule], [attack], small)
    return
  ((configured, _),) = matrix_cells.build_cells(tmp_path, [rule], [attack], small).values()
  assert (configured.aggregation.aggregator, configured.attack.attack) == (rule, attack)


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--rules=krun', "Did you mean 'krum'"),
    ('--num_byzantine=0', 'num_byzantine'),
    ('--dirichlet_alpha=0', 'dirichlet_alpha=0.0'),
    ('--num_byzantine=10', "'bulyan'"),
    ('--num_byzantine=13', 'lower num_byzantine or leave krum out of rules.'),
    ('--rules=', 'rules is an empty list'),
    ('--attacks=', 'attacks is an empty list'),
    ('--runtime=remote', '<accelerated|native>'),
    ('--output_dir=README.md', 'README.md is a file'),
  ],
)
def test_bad_flags_are_refused_in_one_sentence(flag, words):
  command = [sys.executable, '-m', 'binaries.attack_matrix', flag]
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert result.returncode == 2
  assert words in result.stderr
  assert result.stderr.count('\n') == 1


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    (['--num_byzantine=25', '--rules=mean'], 'leaves no honest client'),
    (
      ['--dirichlet_alpha=0.001', '--rules=mean'],
      'dirichlet_alpha=0.001 leaves some of the 25 clients of a matrix without examples;'
      ' raise dirichlet_alpha.',
    ),
  ],
)
def test_settings_that_cannot_train_are_refused_before_any_cell(flags, words, tmp_path):
  command = [sys.executable, '-m', 'binaries.attack_matrix', f'--output_dir={tmp_path}', *flags]
  # As a user has it: the tests let TensorFlow say more.
  environment = {name: os.environ[name] for name in os.environ if name != 'TF_CPP_MIN_LOG_LEVEL'}
  result = subprocess.run(
    command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
  )
  assert result.returncode == 2
  assert words in result.stderr
  assert result.stderr.count('\n') == 1
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_matrix_trains_its_cells_and_goes_on_where_it_stopped(tmp_path):
  command = [
    sys.executable,
    '-m',
    'binaries.attack_matrix',
    f'--output_dir={tmp_path}',
    '--rules=mean,coordinate_median',
    '--attacks=none,gaussian',
    '--num_rounds=12',
  ]
  first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
  lines = (tmp_path / 'matrix.csv').read_text(encoding='utf-8').splitlines()
  assert lines[0] == 'rule,none,gaussian'
  cells = {line.split(',')[0]: [float(cell) for cell in line.split(',')[1:]] for line in lines[1:]}
  assert cells['mean'][0] > 0.6
  assert cells['mean'][1] < 0.4
  assert cells['coordinate_median'][1] > 0.6
  assert (tmp_path / 'matrix.png').stat().st_size > 5000
  again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
  assert 'of 4:' in first.stderr
  assert 'of 4:' not in again.stderr
  assert again.stdout == first.stdout
