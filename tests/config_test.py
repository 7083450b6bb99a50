import json

import pytest

from tff_robust import config, registry


def experiment(**sections):
  sections.setdefault('training', config.TrainingConfig(num_rounds=3))
  return config.ExperimentConfig(seed=1, **sections)


def krum(max_byzantine=11, **options):
  return config.AggregationConfig(
    aggregator='krum', options={'max_byzantine': max_byzantine, **options}
  )


def test_json_round_trip_restores_the_same_configuration():
  original = experiment(
    data=config.DataConfig(
      dataset='mnist', data_dir='d', partition='dirichlet', dirichlet_alpha=0.3
    ),
    aggregation=krum(),
    attack=config.AttackConfig(
      attack='inner_product_manipulation',
      options={'attack_epsilon': 0.1},
      num_byzantine=11,
      start=4,
    ),
    privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=1.1),
  )
  text = json.dumps(original.to_json())
  assert config.ExperimentConfig.from_json(json.loads(text)) == original


@pytest.mark.parametrize('attack', registry.ATTACKS)
def test_every_attack_survives_the_way_through_json(attack):
  entry = registry.ATTACKS[attack]
  needed = {
    option: registry.OPTIONS[option].example
    for option in entry.reads
    if option not in entry.defaults and option != 'max_byzantine'
  }
  if 'max_byzantine' in entry.reads:
    needed['max_byzantine'] = 11
  original = experiment(
    aggregation=krum(),
    attack=config.AttackConfig(attack=attack, options=needed, num_byzantine=11),
  )
  text = json.dumps(original.to_json())
  assert config.ExperimentConfig.from_json(json.loads(text)) == original


def test_a_backdoor_that_is_not_turned_on_leaves_no_options():
  scaled = {'attack': 'model_replacement', 'num_byzantine': 1}
  alone = config.AttackConfig(**scaled, options={'attack_scale': 25.0})
  assert 'attack_poisoned_fraction' not in alone.options
  both = config.AttackConfig(**scaled, options={'attack_scale': 25.0, 'attack_target_class': 3})
  assert both.options['attack_poisoned_fraction'] == 0.5


@pytest.mark.parametrize(
  ('attack', 'options'),
  [
    ('min_max', {}),
    ('min_sum', {}),
    ('a_little_is_enough', {'attack_deviations': 1.0}),
    ('fang_trimmed_mean_partial', {}),
  ],
)
def test_one_attacker_that_sees_itself_alone_has_no_spread(attack, options):
  values = {'attack': attack, 'options': options, 'knowledge': 'own_messages'}
  with pytest.raises(ValueError, match='num_byzantine=1 makes no attack of'):
    config.AttackConfig(**values, num_byzantine=1)
  assert config.AttackConfig(**values, num_byzantine=2).num_byzantine == 2


def test_root_set_has_a_default_size_with_rules_that_look_at_it_only():
  trusting = experiment(aggregation=config.AggregationConfig(aggregator='fltrust'))
  assert trusting.data.root_size == 100
  assert config.ExperimentConfig.from_json(trusting.to_json()) == trusting
  given = experiment(
    data=config.DataConfig(root_size=7),
    aggregation=config.AggregationConfig(aggregator='zeno', options={'max_byzantine': 24}),
  )
  assert given.data.root_size == 7
  assert given.aggregation.options == {
    'max_byzantine': 24,
    'trial_learning_rate': None,
    'norm_penalty': None,
  }
  assert experiment(aggregation=krum()).data.root_size is None
