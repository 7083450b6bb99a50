import subprocess
import sys

import pytest

from binaries import attack_matrix
from tff_robust import registry


def test_every_cell_is_a_valid_experiment():
  for rule in attack_matrix.RULES:
    for attack in attack_matrix.ATTACKS:
      cell = attack_matrix.configuration(rule, attack, num_rounds=2, seed=1)
      assert cell.aggregation.aggregator in registry.AGGREGATORS
      expected = 0 if attack == 'none' else attack_matrix.NUM_BYZANTINE
      assert cell.attack.num_byzantine == expected


def test_table_has_a_row_for_each_rule():
  text = attack_matrix.table(['mean', 'krum'], ['none', 'nan'], [[0.5, 0.1], [0.25, 1.0]])
  assert text.splitlines()[2:] == ['| mean | 0.50 | 0.10 |', '| krum | 0.25 | 1.00 |']


def test_unknown_rule_is_refused_in_one_sentence():
  command = [sys.executable, '-m', 'binaries.attack_matrix', '--rules=krun']
  result = subprocess.run(command, capture_output=True, text=True, check=False)
  assert result.returncode == 2
  assert "Did you mean 'krum'" in result.stderr
  assert result.stderr.count('\n') == 1


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
  first = subprocess.run(command, capture_output=True, text=True, check=True)
  lines = (tmp_path / 'matrix.csv').read_text(encoding='utf-8').splitlines()
  assert lines[0] == 'rule,none,gaussian'
  cells = {line.split(',')[0]: [float(cell) for cell in line.split(',')[1:]] for line in lines[1:]}
  assert cells['mean'][0] > 0.6
  assert cells['mean'][1] < 0.4
  assert cells['coordinate_median'][1] > 0.6
  assert (tmp_path / 'matrix.png').stat().st_size > 5000
  again = subprocess.run(command, capture_output=True, text=True, check=True)
  assert 'of 4:' in first.stderr
  assert 'of 4:' not in again.stderr
  assert again.stdout == first.stdout
