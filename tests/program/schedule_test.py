import pytest

from tff_robust import config
from tff_robust.attacks import attack_schedule
from tff_robust.program import schedule


def experiment(*, attack=None, clients=25, cohort=25, **training):
  training.setdefault('num_rounds', 50)
  return config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(num_clients=clients),
    training=config.TrainingConfig(clients_per_round=cohort, **training),
    attack=attack or config.AttackConfig(),
  )


def attack(start, unit='round', **changes):
  return config.AttackConfig(
    attack='sign_flip', num_byzantine=1, start=start, start_unit=unit, **changes
  )


def test_fed_sgd_passes_over_the_data_in_as_many_rounds_as_cohort_batches_fit():
  chosen = schedule.build_schedule(
    experiment(algorithm='fed_sgd', num_rounds=None, num_server_epochs=1.5), [2000] * 25
  )
  assert chosen.rounds_per_server_epoch == 200
  assert chosen.num_rounds == 300
  assert chosen.server_epoch(50) == 0.25
  assert chosen.attack_start_round is None


def test_fed_avg_round_is_a_server_epoch_when_everybody_takes_part():
  assert schedule.build_schedule(experiment(), [500, 100] * 12 + [300]).rounds_per_server_epoch == 1


def test_fed_avg_epoch_takes_four_rounds_when_a_quarter_takes_part():
  chosen = schedule.build_schedule(experiment(clients=100), [500] * 100)
  assert chosen.rounds_per_server_epoch == 4
  twice = schedule.build_schedule(experiment(clients=100, local_epochs=2), [500] * 100)
  assert twice.rounds_per_server_epoch == 2


def test_attack_start_in_epochs_is_the_first_round_at_or_after_it():
  chosen = experiment(attack=attack(10, 'server_epoch'), algorithm='fed_sgd', num_rounds=9000)
  assert schedule.build_schedule(chosen, [2000] * 25).attack_start_round == 2000
  odd = experiment(attack=attack(0.0126, 'server_epoch'), algorithm='fed_sgd', num_rounds=9000)
  assert schedule.build_schedule(odd, [2000] * 25).attack_start_round == 3


def test_rounding_errors_add_no_round():
  # 0.1 * 3 is a little above 0.3 in binary.
  chosen = experiment(algorithm='fed_sgd', num_rounds=None, num_server_epochs=0.1 * 3)
  assert schedule.build_schedule(chosen, [100] * 25).num_rounds == 3


def test_refuses_an_attack_that_never_begins():
  late = experiment(attack=attack(50))
  with pytest.raises(ValueError, match=r'attack_start=50 .*50 rounds'):
    schedule.check_rounds(late)
  with pytest.raises(ValueError, match='lies beyond the last round'):
    schedule.build_schedule(late, [500] * 25)
  schedule.check_rounds(experiment(attack=attack(49)))


def test_stop_is_in_the_unit_of_start_and_the_period_in_rounds():
  chosen = experiment(
    attack=attack(1, 'server_epoch', stop=2.5, every=3), algorithm='fed_sgd', num_rounds=900
  )
  plan = schedule.build_schedule(chosen, [2000] * 25)
  assert plan.attack == attack_schedule.AttackSchedule(200, 500, 3)
  assert plan.attack_stop_round == 500
  assert [r for r in range(900) if plan.attack_is_active(r)] == list(range(200, 500, 3))


def test_an_end_beyond_the_run_is_never_reached():
  plan = schedule.build_schedule(experiment(attack=attack(10, stop=51)), [500] * 25)
  assert plan.attack_stop_round is None
  assert plan.attack_is_active(49)
  without = schedule.build_schedule(experiment(), [500] * 25)
  assert not without.attack_is_active(49)


def test_ends_and_periods_of_any_size_are_those_of_the_run():
  plan = schedule.build_schedule(experiment(attack=attack(10, stop=1e30)), [500] * 25)
  assert plan.attack_stop_round is None
  assert plan.attack == attack_schedule.AttackSchedule(10, 51, 1)
  once = schedule.build_schedule(experiment(attack=attack(10, every=10**20)), [500] * 25)
  assert [r for r in range(50) if once.attack_is_active(r)] == [10]


def test_refuses_an_attack_that_ends_in_the_round_in_which_it_begins():
  chosen = experiment(attack=attack(0.001, 'server_epoch', stop=0.002), algorithm='fed_sgd')
  with pytest.raises(ValueError, match=r'attack_stop=0.002 .*no round to attack'):
    schedule.build_schedule(chosen, [2000] * 25)
