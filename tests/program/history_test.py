import numpy as np
import pytest

from tff_robust.program import cohorts, history

COHORT = cohorts.Cohort(np.array([2, 3, 5, 8]), np.array([False, True, False, True]))


def metrics(**rule):
  return {
    'client_work': {'loss_sum': np.float32(30), 'num_examples': np.float32(20)},
    'aggregator': {
      'rule': {
        'num_nonfinite': np.int32(1),
        'round_rejected': np.False_,
        'client_ids': COHORT.client_ids,
        **rule,
      },
      'observer': {
        'signal_to_noise_ratio': np.float64(0.25),
        'cosine_to_honest_mean': np.float64(-1),
        'aggregate_norm': np.float64(3),
        'honest_mean_norm': np.float64(4),
        'measured_kappa': np.float64(1.5),
      },
    },
  }


def selecting(*selected):
  return metrics(selected=np.array(selected), score_gap=np.float64(0.5))


def test_cells_hold_means_counts_and_measurements():
  cells = history.round_cells(metrics(), COHORT, attack_is_on=True)
  assert cells['train_loss'] == 1.5
  assert cells['num_examples'] == 20
  assert cells['num_byzantine'] == 2
  assert cells['num_nonfinite'] == 1
  assert cells['round_rejected'] == 0
  assert cells['signal_to_noise_ratio'] == 0.25
  assert cells['attack_active'] == 1
  assert 'selected_client_ids' not in cells
  assert set(cells) < set(history.COLUMNS)


def test_selected_share_counts_byzantine_clients_among_those_selected():
  cells = history.round_cells(selecting(True, True, False, False), COHORT, attack_is_on=True)
  assert cells['selected_client_ids'] == '2;3'
  assert cells['selected_byzantine_share'] == 0.5
  assert cells['score_gap'] == 0.5


def test_rules_that_select_without_ranking_have_no_gap():
  found = metrics(selected=np.array([True, True, True, False]))
  cells = history.round_cells(found, COHORT, attack_is_on=True)
  assert cells['selected_client_ids'] == '2;3;5'
  assert 'score_gap' not in cells


def test_filtered_messages_are_counted_where_a_filter_is():
  cells = history.round_cells(metrics(num_filtered=np.int32(3)), COHORT, attack_is_on=True)
  assert cells['num_filtered'] == 3
  assert 'num_filtered' not in history.round_cells(metrics(), COHORT, attack_is_on=True)


def test_a_byzantine_client_selected_before_the_attack_does_not_count():
  cells = history.round_cells(selecting(False, True, False, False), COHORT, attack_is_on=False)
  assert cells['selected_client_ids'] == '3'
  assert cells['selected_byzantine_share'] == 0
  assert cells['attack_active'] == 0


def test_no_attack_is_active_in_a_cohort_without_byzantine_clients():
  honest = cohorts.Cohort(COHORT.client_ids, np.zeros(4, bool))
  assert history.round_cells(metrics(), honest, attack_is_on=True)['attack_active'] == 0


def test_a_rejected_round_that_selects_nobody_leaves_the_share_blank():
  cells = history.round_cells(selecting(False, False, False, False), COHORT, attack_is_on=True)
  assert cells['selected_client_ids'] == ''
  assert 'selected_byzantine_share' not in cells


def write(path, *lines, end='\n'):
  columns = ','.join(history.COLUMNS)
  path.write_text('\n'.join([columns, *lines]) + end)


def line(round_number, loss='0.5'):
  cells = dict.fromkeys(history.COLUMNS, '')
  cells |= {'round': str(round_number), 'train_loss': loss, 'selected_client_ids': '3;17'}
  return ','.join(cells.values())


def test_reading_tells_numbers_texts_and_blanks_apart(tmp_path):
  path = tmp_path / 'history.csv'
  write(path, line(0), line(1, loss='nan'))
  first, second = history.read(path)
  assert first['round'] == 0
  assert first['train_loss'] == 0.5
  assert first['selected_client_ids'] == '3;17'
  assert first['test_loss'] is None
  assert np.isnan(second['train_loss'])
  assert history.read(tmp_path / 'nothing.csv') == []


@pytest.mark.parametrize(('first_removed', 'left'), [(3, [0, 1, 2]), (1, [0]), (0, [])])
def test_rows_from_a_round_on_are_removed(tmp_path, first_removed, left):
  path = tmp_path / 'history.csv'
  write(path, *map(line, range(4)))
  history.keep_before(path, first_removed)
  assert [row['round'] for row in history.read(path)] == left
  assert path.read_text().splitlines()[0] == ','.join(history.COLUMNS)
  assert [file.name for file in tmp_path.iterdir()] == ['history.csv']


def test_the_row_of_a_final_model_is_removed_and_is_no_round(tmp_path):
  path = tmp_path / 'history.csv'
  history.begin(path)
  took_time = {**history.blank_row(0, 0.0), 'round_seconds': 0.5}
  for row in (took_time, {**took_time, 'round': 1}, history.blank_row(2, 0.0)):
    history.append(path, row)
  assert history.keep_before(path, 1) == 1
  assert [row['round'] for row in history.read(path)] == [0]
  assert history.keep_before(tmp_path / 'none.csv', 1) == 0


def test_a_row_that_was_cut_short_is_removed(tmp_path):
  path = tmp_path / 'history.csv'
  write(path, line(0), line(1)[:-4], end='')
  history.keep_before(path, 12)
  assert [row['round'] for row in history.read(path)] == [0]


def test_rows_of_another_version_keep_their_cells_under_their_names(tmp_path):
  path = tmp_path / 'history.csv'
  path.write_text('round,num_examples,of_old,train_loss\n0,20,7,1.5\n1,30,8,1.25\n')
  history.keep_before(path, 1)
  (row,) = history.read(path)
  assert tuple(row) == history.COLUMNS
  assert (row['round'], row['num_examples'], row['train_loss']) == (0, 20, 1.5)
  assert row['server_epoch'] is None


def test_appended_rows_are_read_as_they_were(tmp_path):
  path = tmp_path / 'history.csv'
  history.begin(path)
  rows = [
    {**history.blank_row(0, 0.0), 'train_loss': 0.1 + 0.2, 'selected_client_ids': '3;17'},
    {**history.blank_row(1, 0.5), 'attack_active': 1, 'measured_kappa': float('inf')},
  ]
  for row in rows:
    history.append(path, row)
  assert history.read(path) == rows


def test_blank_row_holds_every_column_in_order():
  row = history.blank_row(7, 3.5)
  assert tuple(row) == history.COLUMNS
  assert (row.pop('round'), row.pop('server_epoch')) == (7, 3.5)
  assert set(row.values()) == {None}
