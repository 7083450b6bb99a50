import dataclasses

import numpy as np
import pytest

from binaries import attacked_data, federated_data
from tff_robust import config, registry
from tff_robust.data import load
from tff_robust.program import cohorts


def prepare(attack='backdoor', **options):
  experiment = config.ExperimentConfig(
    seed=2,
    data=config.DataConfig(num_clients=5),
    training=config.TrainingConfig(num_rounds=2, clients_per_round=5),
    attack=config.AttackConfig(attack=attack, options=options, num_byzantine=2 * bool(options)),
  )
  data = federated_data.deal(load.load_dataset('digits'), experiment.data, seed=2)
  return experiment, data, cohorts.build_sampler(experiment)


def labels(value):
  return [int(example['y']) for example in value['examples'].as_numpy_iterator()]


@pytest.mark.parametrize('by_index', [False, True])
def test_labels_are_flipped_for_compromised_clients_while_the_attack_is_on(by_index):
  experiment, data, sampler = prepare('label_flip', attack_class_map='1:7,7:1')
  holders = attacked_data.build_holders(experiment, data, sampler)
  value_of = holders.value_of(by_index=by_index)

  def labels_of(*asked):
    value = value_of(*asked)
    if not by_index:
      return labels(value)
    indices = value.get_single_element()['indices']
    return holders.honest.all_arrays[1][indices].tolist()

  liar = int(sampler.byzantine_clients()[0])
  honest = next(client for client in range(5) if client not in sampler.byzantine_clients())
  truth = data.clients.client_arrays(liar)[1].tolist()
  assert labels_of(liar, True, False) == truth
  assert labels_of(liar, True, True) == [{1: 7, 7: 1}.get(y, y) for y in truth]
  assert truth.count(1) > 0
  assert labels_of(honest, False, True) == data.clients.client_arrays(honest)[1].tolist()


def test_triggered_test_images_are_those_of_other_classes_and_asked_to_be_the_target():
  experiment, data, _ = prepare('backdoor', attack_target_class=3, attack_trigger_size=2)
  x, y = attacked_data.triggered_test(experiment, data)
  kept = data.test[1] != 3
  assert set(y.tolist()) == {3}
  assert len(y) == kept.sum() < len(kept)
  # The brightest pixel of the digits: 255 would be far off their scale.
  assert (x[:, -2:, -2:] == 16).all()
  np.testing.assert_array_equal(x[:, :-2], data.test[0][kept][:, :-2])


def test_compromised_clients_hold_the_trigger_that_is_tested():
  experiment, data, sampler = prepare('backdoor', attack_target_class=3, attack_trigger_value=9.0)
  liar = int(sampler.byzantine_clients()[0])
  x, y = attacked_data.build_holders(experiment, data, sampler).attacking.client_arrays(liar)
  stamped = (x[:, -3:, -3:] == 9).all(axis=(1, 2, 3))
  assert abs(stamped.mean() - 0.5) < 0.01
  assert set(y[stamped].tolist()) == {3}
  assert (attacked_data.triggered_test(experiment, data)[0][:, -3:, -3:] == 9).all()


def test_attacks_by_messages_leave_the_data_alone():
  experiment, data, sampler = prepare('sign_flip', attack_scale=2.0)
  holders = attacked_data.build_holders(experiment, data, sampler)
  assert holders == (data.clients, data.clients)
  assert attacked_data.triggered_test(experiment, data) is None


@pytest.mark.parametrize('name', [n for n, entry in registry.ATTACKS.items() if entry.by_data])
def test_an_attack_by_data_without_attackers_changes_nothing(name):
  entry = registry.ATTACKS[name]
  options = {o: registry.OPTIONS[o].example for o in set(entry.reads) - set(entry.defaults)}
  experiment, data, _ = prepare(attack_target_class=1)
  attack = config.AttackConfig(attack=name, options=options, num_byzantine=1)
  experiment = dataclasses.replace(experiment, attack=attack)
  nobody = dataclasses.replace(cohorts.build_sampler(experiment), num_byzantine=0)
  holders = attacked_data.build_holders(experiment, data, nobody)
  for client in range(5):
    for ours, theirs in zip(
      holders.attacking.client_arrays(client), data.clients.client_arrays(client), strict=True
    ):
      np.testing.assert_array_equal(ours, theirs)


def test_a_target_that_is_no_class_is_refused():
  with pytest.raises(ValueError, match='target_class=10 must lie between 0 and 9'):
    attacked_data.build_holders(*prepare('backdoor', attack_target_class=10))


def test_model_replacement_carries_out_a_backdoor_when_it_has_a_target():
  options = {'attack_scale': 25.0, 'attack_target_class': 3}
  experiment, data, sampler = prepare('model_replacement', **options)
  holders = attacked_data.build_holders(experiment, data, sampler)
  liar = int(sampler.byzantine_clients()[0])
  truth, poisoned = holders.honest.client_arrays(liar)[1], holders.attacking.client_arrays(liar)[1]
  changed = truth != poisoned
  assert changed.any()
  assert set(poisoned[changed]) == {3}
  assert set(attacked_data.triggered_test(experiment, data)[1].tolist()) == {3}


def test_model_replacement_without_a_target_leaves_data_as_they_are():
  experiment, data, sampler = prepare('model_replacement', attack_scale=25.0)
  holders = attacked_data.build_holders(experiment, data, sampler)
  assert holders.attacking is holders.honest
  assert attacked_data.triggered_test(experiment, data) is None
