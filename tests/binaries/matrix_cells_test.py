import pytest

from binaries import matrix_cells
from tff_robust import config, registry
from tff_robust.program import run_folder

SETTING = matrix_cells.Setting(
  num_byzantine=5, dirichlet_alpha=None, num_rounds=2, seed=1, runtime='accelerated'
)


def cells_of(folder, **changes):
  setting = SETTING._replace(**changes)
  return matrix_cells.build_cells(folder, ['mean', 'krum'], ['none', 'sign_flip'], setting)


def begin(folder, rule, attack):
  """Leaves the folder of a cell as a run leaves it that was killed."""
  configured, options = cells_of(folder)[rule, attack]
  run_folder.create(
    options.output_dir,
    configured,
    running=options.shared(),
    runtime='here',
    source='drawn',
    options=options.to_json(),
  )


def test_only_cells_that_have_begun_are_resumed(tmp_path):
  begin(tmp_path, 'krum', 'none')
  resumed = [cell for cell, (_, options) in cells_of(tmp_path).items() if options.resume]
  assert resumed == [('krum', 'none')]


@pytest.mark.parametrize(
  'other',
  [
    {'num_byzantine': 4},
    {'dirichlet_alpha': 0.5},
    {'num_rounds': 3},
    {'seed': 2},
    {'runtime': 'native'},
  ],
)
def test_cells_of_another_setting_are_refused(tmp_path, other):
  begin(tmp_path, 'krum', 'sign_flip')
  ((name, value),) = other.items()
  with pytest.raises(ValueError, match='cells of another setting') as caught:
    cells_of(tmp_path, **other)
  assert f'{name}={value!r}' in str(caught.value)
  assert '\n' not in str(caught.value)


def test_folder_of_a_cell_that_holds_no_run_is_refused(tmp_path):
  (tmp_path / 'mean-none').mkdir()
  (tmp_path / 'mean-none' / 'thesis.tex').touch()
  with pytest.raises(ValueError, match='mean-none is not empty'):
    cells_of(tmp_path)


@pytest.mark.parametrize('rule', matrix_cells.RULES)
@pytest.mark.parametrize('attack', matrix_cells.ATTACKS)
def test_every_cell_is_a_valid_experiment(rule, attack):
  cell = matrix_cells.configuration(rule, attack, SETTING)
  assert cell.aggregation.aggregator in registry.AGGREGATORS
  assert cell.attack.num_byzantine == (0 if attack == config.NO_ATTACK else 5)
  assert cell.data.partition == 'iid'


def test_setting_reaches_the_experiment():
  setting = SETTING._replace(num_byzantine=10, dirichlet_alpha=0.5, num_rounds=7, seed=3)
  cell = matrix_cells.configuration('multi_krum', 'min_max', setting)
  assert cell.seed == 3
  assert cell.training.num_rounds == 7
  assert (cell.data.partition, cell.data.dirichlet_alpha) == ('dirichlet', 0.5)
  assert cell.aggregation.options == {'max_byzantine': 10, 'num_selected': 5}
  assert cell.attack.num_byzantine == 10


@pytest.mark.parametrize(
  ('rules', 'attacks', 'num_byzantine', 'sentence'),
  [
    (
      ['mean', 'bulyan'],
      ['none'],
      6,
      "rule 'bulyan' needs at least 27 clients with num_byzantine=6, but a matrix has 25;"
      ' lower num_byzantine or leave bulyan out of rules.',
    ),
    (
      ['multi_krum'],
      ['none'],
      13,
      "rule 'multi_krum' needs at least 29 clients with num_byzantine=13, but a matrix has 25;"
      ' lower num_byzantine or leave multi_krum out of rules.',
    ),
    (
      ['mean'],
      ['fang_krum'],
      12,
      "attack 'fang_krum' needs at least 27 clients with num_byzantine=12, but a matrix has 25;"
      ' lower num_byzantine or leave fang_krum out of attacks.',
    ),
    (
      ['smea'],
      ['none'],
      8,  # 1,081,575 subsets of 17 clients.
      "rule 'smea' would search more than 200,000 subsets of clients with num_byzantine=8;"
      ' lower num_byzantine or leave smea out of rules.',
    ),
    (
      ['fltrust'],
      ['optimal_ipm'],
      2,
      "attack 'optimal_ipm' tries its step on the rule, but rule 'fltrust' answers with a root"
      ' set, which only the server holds; leave fltrust out of rules or optimal_ipm out of'
      ' attacks.',
    ),
    (
      ['mean'],
      ['none'],
      25,
      'num_byzantine=25 leaves no honest client of the 25 of a matrix; lower it.',
    ),
  ],
)
def test_cells_that_cannot_be_are_refused_by_what_a_matrix_can_change(
  tmp_path, rules, attacks, num_byzantine, sentence
):
  setting = SETTING._replace(num_byzantine=num_byzantine)
  with pytest.raises(ValueError) as caught:
    matrix_cells.build_cells(tmp_path, rules, attacks, setting)
  assert str(caught.value) == sentence


def test_a_majority_of_attackers_meets_rules_that_are_told_no_number(tmp_path):
  setting = SETTING._replace(num_byzantine=24)
  cells = matrix_cells.build_cells(tmp_path, ['mean'], ['none', 'sign_flip'], setting)
  assert len(cells) == 2
