import json

from tff_robust import config


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
