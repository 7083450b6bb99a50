import json

import pytest

from tff_robust.attacks import attack_schedule
from tff_robust.privacy import privacy_statement
from tff_robust.program import guarantees, history, schedule, summary

PLAN = schedule.Schedule(6, 1.0, attack_schedule.AttackSchedule(3))

PROMISED = guarantees.Guarantees(kappa='No guarantee at f=11 of 25.', max_byzantine=11)


def statement(epsilon=2.5, reason=None):
  figure = privacy_statement.PrivacyFigure(
    view='example',
    epsilon=epsilon,
    reason=reason,
    delta=1e-5,
    accountant='pld',
    adjacency='add or remove one example',
    sampling_model='Poisson with probability 0.1',
    sampling_probability=0.1,
    noise_multiplier=1.0,
    compositions=12,
    participation_count=6,
    steps=12,
  )
  return privacy_statement.PrivacyStatement(
    mechanism='DP-SGD', figures=(figure,), assumptions=('The noise is secret.',)
  )


def rows(*, selects=True):
  found = []
  for round_number in range(7):
    row = history.blank_row(round_number, float(round_number))
    row['test_accuracy'] = [0.1, 0.5, 0.7, 0.8, 0.6, 0.3, 0.1][round_number]
    if round_number < 6:
      row['attack_active'] = int(round_number >= 3)
      row['round_rejected'] = int(round_number == 2)
      if selects:
        row['selected_byzantine_share'] = {3: 1.0, 5: 0.5}.get(round_number, 0.0)
    found.append(row)
  return found


def summarize(
  found=None, *, status='completed', rounds=6, privacy=None, plan=PLAN, promised=PROMISED
):
  return summary.summarize(
    rows() if found is None else found,
    status=status,
    rounds=rounds,
    plan=plan,
    guarantees=promised,
    privacy=privacy or statement(),
    folder='runs/x',
  )


def test_accuracy_before_the_attack_is_that_of_the_model_that_entered_it():
  found = summarize()
  assert found.accuracy_before_attack == 0.8
  assert found.final_accuracy == 0.1
  assert found.best_accuracy == 0.8


def test_accuracy_after_an_attack_that_ends_is_told():
  plan = schedule.Schedule(6, 1.0, attack_schedule.AttackSchedule(3, 5))
  found = summarize(plan=plan)
  assert found.accuracy_after_attack == 0.3
  (told,) = [line for line in found.table().splitlines() if 'after the attack (round 5)' in line]
  assert told.endswith('0.300')
  assert summarize().accuracy_after_attack is None
  assert 'after the attack' not in summarize().table()


def test_rounds_of_which_the_theorem_of_krum_speaks_are_counted():
  found = rows()
  for row, ratio in zip(found, [0.1, 53.0, 51.9, float('nan'), 60.0, 0.2], strict=False):
    row.update(signal_to_noise_ratio=ratio, num_byzantine=1)
  promised = guarantees.Guarantees(kappa='', max_byzantine=1, required_signal_to_noise_ratio=52.0)
  told = summarize(found, promised=promised)
  assert told.krum_theorem_rounds == 2
  assert told.largest_signal_to_noise_ratio == 60.0
  (line,) = [line for line in told.table().splitlines() if "Krum's own theorem" in line]
  assert 'speaks of 2 of 6 rounds' in line
  assert 'above 52, and the largest was 60' in line
  found[1]['num_byzantine'] = 2  # More than the rule is told, of which the theorem is silent.
  assert summarize(found, promised=promised).krum_theorem_rounds == 1
  assert summarize(found).krum_theorem_rounds is None
  assert "Krum's own theorem" not in summarize(found).table()


def test_an_infinite_ratio_has_a_word_in_json():
  found = rows()
  found[0]['signal_to_noise_ratio'] = float('inf')
  assert summarize(found).to_json()['largest_signal_to_noise_ratio'] == 'infinite'


def test_success_of_a_backdoor_is_that_of_the_last_model():
  found = rows()
  found[2]['attack_success_rate'], found[6]['attack_success_rate'] = 0.9, 0.625
  assert summarize(found).attack_success_rate == 0.625
  (told,) = [line for line in summarize(found).table().splitlines() if 'success' in line]
  assert told.endswith('0.625')
  assert summarize().attack_success_rate is None
  assert 'success' not in summarize().table()


def test_messages_that_a_filter_rejected_are_counted_over_the_run():
  found = rows()
  for row, count in zip(found, [0, 3, 0, 2, 0, 1], strict=False):
    row['num_filtered'] = count
  assert summarize(found).filtered_messages == 6
  (told,) = [line for line in summarize(found).table().splitlines() if 'filter rejected' in line]
  assert told.endswith(' 6')
  assert summarize().filtered_messages is None
  assert 'filter' not in summarize().table()


def test_promise_of_the_rule_is_told_in_words():
  (told,) = [line for line in summarize().table().splitlines() if line.startswith('Guarantee')]
  assert told.endswith('No guarantee at f=11 of 25.')
  assert summarize().to_json()['guarantees']['max_byzantine'] == 11


def test_cohorts_with_too_many_byzantine_clients_are_expected_and_counted():
  found = rows()
  for row, count in zip(found[:6], (1, 4, 2, 5, 3, 0), strict=True):
    row['num_byzantine'] = count
  promised = guarantees.Guarantees(
    kappa='k', max_byzantine=3, risk_per_round=0.25, risk_over_run=0.822
  )
  result = summarize(found, promised=promised)
  assert result.excess_rounds == 2
  text = result.table()
  assert 'Cohorts with more than 3 Byzantine clients' in text
  assert '25 % of rounds expected; at least one in 82.2 % of such runs' in text
  assert '2 of 6 rounds' in text
  assert 'Cohorts' not in summarize().table()


def test_share_of_attacked_rounds_counts_rounds_with_any_byzantine_selected():
  found = summarize()
  assert found.attacked_rounds == 3
  assert found.attacked_rounds_with_byzantine_selected == 2
  assert found.selected_share == pytest.approx(2 / 3)
  assert found.rejected_rounds == 1
  assert '2 of 3 (67%)' in found.table()


def certified_rows():
  found = rows()
  for row, predicted, breaking in zip(found[3:6], (1, 0, 0), (0.4, float('inf'), 0.2), strict=True):
    row |= {'predicted_selected': predicted, 'breaking_epsilon_exact': breaking}
  found[0]['breaking_epsilon_exact'] = 77.0
  return found


def test_certificate_is_compared_with_what_was_selected_in_attacked_rounds():
  found = summarize(certified_rows())
  assert (found.certified_agreements, found.certified_rounds) == (2, 3)
  assert found.median_breaking_epsilon == 0.4
  assert 'in 2 of 3 attacked rounds' in found.table()
  assert '0.4' in found.table()


def test_without_a_certificate_nothing_is_said_about_it():
  found = summarize()
  assert found.certified_rounds is None
  assert found.median_breaking_epsilon is None
  assert 'ertificate' not in found.table()


def test_infinite_median_is_told_in_strict_json():
  found = certified_rows()
  found[3]['breaking_epsilon_exact'] = float('inf')
  text = json.dumps(summarize(found).to_json(), allow_nan=False)
  assert json.loads(text)['median_breaking_epsilon'] == 'infinite'


def test_rules_that_select_nobody_have_no_share():
  found = summarize(rows(selects=False))
  assert found.attacked_rounds_with_byzantine_selected is None
  assert found.selected_share is None
  assert 'selected' not in found.table()


def test_table_prints_epsilon_beside_its_conditions():
  text = summarize().table()
  assert 'epsilon = 2.5 at delta = 1e-05' in text
  assert 'add or remove one example' in text
  assert 'Poisson with probability 0.1' in text
  assert 'pld' in text
  assert 'The noise is secret.' in text


def test_table_never_prints_an_epsilon_below_the_true_one():
  text = summarize(privacy=statement(11.8001)).table()
  assert 'epsilon = 11.9 at delta = 1e-05' in text
  assert '11.81' in text  # With a digit more in the statement.


def test_table_prints_the_reason_where_there_is_no_epsilon():
  text = summarize(privacy=statement(None, 'gradients are not clipped.')).table()
  assert 'none: gradients are not clipped.' in text
  assert 'epsilon =' not in text
  assert 'Assumes' not in text


def test_a_run_that_ended_before_the_attack_says_so():
  found = summarize(rows()[:2], status='interrupted', rounds=2)
  assert found.accuracy_before_attack is None
  assert found.selected_share is None
  assert 'interrupted after 2 of 6 rounds' in found.table()
  assert 'Test accuracy, last measured' in found.table()
  assert 'not reached' in found.table()


def test_json_holds_the_figures(tmp_path):
  written = summary.summarize(
    rows(),
    status='diverged',
    rounds=6,
    plan=PLAN,
    guarantees=PROMISED,
    privacy=statement(),
    folder=tmp_path,
  )
  summary.write(written)
  content = json.loads((tmp_path / 'summary.json').read_text())
  assert content['status'] == 'diverged'
  assert content['attacked_rounds_share_with_byzantine_selected'] == pytest.approx(2 / 3)
  assert content['privacy']['figures'][0]['epsilon'] == 2.5
  assert content['accuracy_before_attack'] == 0.8
