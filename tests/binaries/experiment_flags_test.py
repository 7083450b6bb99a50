import dataclasses

import pytest
from absl import flags

from binaries import experiment_flags
from tff_robust import config, registry

# A value that differs from its default for each flag that is not an option of a rule or an
# attack, in four runs, since some exclude each other.
AVERAGING = {
  'dataset': 'cifar10',
  'data_dir': 'somewhere',
  'num_clients': 40,
  'partition': 'dirichlet',
  'dirichlet_alpha': 0.3,
  'validation_fraction': 0.2,
  'model': 'literal',
  'clients_per_round': 31,
  'num_rounds': 7,
  'batch_size': 12,
  'local_epochs': 3,
  'client_learning_rate': 0.02,
  'server_learning_rate': 0.7,
  'worker_momentum': 0.85,
  'aggregator': 'multi_krum',
  'max_byzantine': 5,
  'num_selected': 4,
  'attack': 'inner_product_manipulation',
  'attack_epsilon': 0.1,
  'num_byzantine': 3,
  'byzantine_placement': 'population',
  'cohort_risk': 'stratify',
  'attack_knowledge': 'own_clean',
  'attack_start': 2.5,
  'attack_start_unit': 'server_epoch',
  'attack_stop': 6.25,
  'attack_every': 9,
  'seed': 12,
}
PRIVATE = {
  'algorithm': 'fed_sgd',
  'num_rounds': 7,
  'batch_sampling': 'poisson',
  'l2_norm_clip': 1.5,
  'noise_multiplier': 0.9,
  'clip_unit': 'minibatch_mean',
  'noise_scale': 'on_mean',
  'delta': 1e-6,
  'dp_noise_source': 'entropy',
  'privacy_amplification': 'poisson',
  'accountant': 'rdp',
  'attack': 'sign_flip',
  'num_byzantine': 2,
  'byzantine_dp_noise': True,
}
EPOCHS = {
  'num_server_epochs': 2.5,
  'partition': 'label_shards',
  'shards_per_client': 2,
  'preaggregators': 'static_clipping,bucketing',
  'max_norm': 2.25,
  'bucket_size': 3,
}
ROOTED = {
  'num_rounds': 7,
  'aggregator': 'fltrust',
  'root_size': 60,
}
# What a flag fills where it does not have the flag's name.
FIELDS = {
  'byzantine_placement': 'placement',
  'attack_knowledge': 'knowledge',
  'attack_start': 'start',
  'attack_start_unit': 'start_unit',
  'attack_stop': 'stop',
  'attack_every': 'every',
  'dp_noise_source': 'noise_source',
  'privacy_amplification': 'amplification',
}
TEXTS = {'attack_direction': ('sign',), 'attack_class_map': ('1:7,7:1',)}
RUNS = (AVERAGING, PRIVATE, EPOCHS, ROOTED)


def parse(*arguments):
  flag_values = flags.FlagValues()
  experiment_flags.define_flags(flag_values)
  flag_values(['experiment', *arguments])
  return flag_values


def arguments_of(values):
  return [f'--{name}={value}' for name, value in values.items()]


def leaves(values, path=()):
  for name, value in values.items():
    if isinstance(value, dict):
      yield from leaves(value, (*path, name))
    else:
      yield (*path, name), value


def value_of(name, values):
  """Returns what the one field that a flag fills holds; None if there is no such field."""
  field = FIELDS.get(name, name)
  found = [value for path, value in leaves(values) if path[-1] == field]
  assert len(found) <= 1, name
  return found[0] if found else None


@pytest.mark.parametrize('values', RUNS)
def test_each_flag_given_changes_its_field_of_the_configuration(values):
  default = experiment_flags.config_from_flags(parse('--num_rounds=3', '--seed=1')).to_json()
  whole = experiment_flags.config_from_flags(parse(*arguments_of(values))).to_json()
  for name, value in values.items():
    wanted = tuple(value.split(',')) if name == 'preaggregators' else value
    assert value_of(name, whole) == wanted, name
    assert value_of(name, default) != wanted, name


def sample(name):
  option = registry.OPTIONS[name]
  for candidate in {int: (3,), float: (0.5, 1.5), str: TEXTS.get(name, ())}[option.kind]:
    try:
      option.check(name, candidate)
    except ValueError:
      continue
    return candidate
  raise AssertionError(f'no sample value for option {name}')


@pytest.mark.parametrize(
  ('section', 'chooser', 'chosen'),
  [('aggregation', 'aggregator', name) for name in registry.AGGREGATORS]
  + [('attack', 'attack', name) for name in registry.ATTACKS],
)
def test_every_option_reaches_the_rule_or_attack_that_reads_it(section, chooser, chosen):
  table = registry.AGGREGATORS if chooser == 'aggregator' else registry.ATTACKS
  values = {name: sample(name) for name in registry.options_of(table, table[chosen])}
  attackers = ['--num_byzantine=2'] if chooser == 'attack' else []
  found = experiment_flags.config_from_flags(
    parse('--num_rounds=3', f'--{chooser}={chosen}', *attackers, *arguments_of(values))
  )
  assert getattr(found, section).options == values
  other = {'aggregation': found.attack, 'attack': found.aggregation}[section]
  assert other.options == {}


def test_an_option_that_both_read_reaches_both():
  found = experiment_flags.config_from_flags(
    parse(
      '--num_rounds=3',
      '--aggregator=krum',
      '--attack=fang_krum',
      '--num_byzantine=4',
      '--max_byzantine=4',
    )
  )
  assert found.aggregation.options == {'max_byzantine': 4}
  assert found.attack.options == {'max_byzantine': 4}


def test_no_flag_is_unread():
  given = set().union(*RUNS) | set(registry.OPTIONS)
  assert given == set(experiment_flags.names())
  defined = {
    flag.name
    for flag in parse('--num_rounds=1').flags_by_module_dict()['binaries.experiment_flags']
  }
  assert defined == set(experiment_flags.names())


def test_defaults_are_those_of_the_configuration():
  found = experiment_flags.config_from_flags(parse('--num_rounds=3', '--seed=1'))
  assert found == config.ExperimentConfig(seed=1, training=config.TrainingConfig(num_rounds=3))


def test_every_option_of_the_registry_is_a_flag_without_a_default():
  flag_values = parse('--num_rounds=1')
  for name, option in registry.OPTIONS.items():
    assert flag_values[name].default is None
    assert option.help in flag_values[name].help
  text = flag_values['max_byzantine'].help
  assert 'Read by --aggregator=krum' in text


def test_help_says_what_a_left_out_learning_rate_becomes():
  text = parse('--num_rounds=1')['server_learning_rate'].help
  assert '0.05 with --algorithm=fed_sgd, 1.0 with --algorithm=fed_avg' in text


def test_seed_is_drawn_anew_when_left_out():
  drawn = {experiment_flags.config_from_flags(parse('--num_rounds=1')).seed for _ in range(4)}
  assert len(drawn) == 4
  assert min(drawn) > 2**20


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    ('--max_byzantine=3', ['max_byzantine', 'no effect', "aggregator 'mean'"]),
    ('--aggregator=krum --max_byzantine=3 --attack_scale=2', ['attack_scale', "attack 'none'"]),
    ('--attack=sign_flip --attack_epsilon=2', ['attack_epsilon', "attack 'sign_flip'"]),
    ('--aggregator=krumm --max_byzantine=3', ['krumm', "Did you mean 'krum'"]),
    ('--attack=inner_product', ["Did you mean 'inner_product_manipulation'"]),
  ],
)
def test_refuses_options_that_nothing_reads_and_unknown_names(arguments, words):
  with pytest.raises(ValueError) as caught:
    experiment_flags.config_from_flags(parse('--num_rounds=3', *arguments.split()))
  assert all(word in str(caught.value) for word in words)


def test_flags_left_out_agree_with_any_stored_run():
  stored = experiment_flags.config_from_flags(parse(*arguments_of(AVERAGING)))
  assert experiment_flags.resumed(stored, parse()) == stored
  assert experiment_flags.resumed(stored, parse(*arguments_of(AVERAGING))) == stored


def test_data_may_lie_in_another_folder_when_a_run_goes_on():
  stored = experiment_flags.config_from_flags(
    parse(*arguments_of({**AVERAGING, 'dataset': 'mnist', 'data_dir': 'here'}))
  )
  found = experiment_flags.resumed(stored, parse('--data_dir=there'))
  assert (stored.data.data_dir, found.data.data_dir) == ('here', 'there')
  assert found != stored
  assert found.is_same_run(stored)
  seeded = dataclasses.replace(found, seed=found.seed + 1)
  assert not seeded.is_same_run(stored)


@pytest.mark.parametrize('name', ['seed', 'batch_size', 'max_byzantine', 'attack_epsilon'])
def test_a_flag_that_differs_from_the_stored_run_is_named(name):
  stored = experiment_flags.config_from_flags(parse(*arguments_of(AVERAGING)))
  with pytest.raises(ValueError, match=f'--{name}=99.* has {name}={AVERAGING[name]}'):
    experiment_flags.resumed(stored, parse(f'--{name}=99'))
