import pytest

from tff_robust import config


def experiment(**sections):
  sections.setdefault('training', config.TrainingConfig(num_rounds=3))
  return config.ExperimentConfig(seed=1, **sections)


def krum(max_byzantine=11, **options):
  return config.AggregationConfig(
    aggregator='krum', options={'max_byzantine': max_byzantine, **options}
  )


@pytest.mark.parametrize(
  ('make', 'words'),
  [
    (lambda: experiment(aggregation=krum(12)), ['krum', 'max_byzantine=12', '27', '=25']),
    (
      lambda: experiment(
        aggregation=config.AggregationConfig(aggregator='smea', options={'max_byzantine': 8})
      ),
      ["'smea'", 'max_byzantine=8 of 25', '1,081,575 subsets', 'caf'],
    ),
    (
      lambda: experiment(
        aggregation=config.AggregationConfig(
          aggregator='divide_and_conquer', options={'max_byzantine': 9, 'filter_factor': 3.0}
        )
      ),
      ['divide_and_conquer', 'max_byzantine=9', '28'],
    ),
    (
      lambda: experiment(
        aggregation=config.AggregationConfig(
          aggregator='krum',
          preaggregators=('bucketing',),
          options={'max_byzantine': 6, 'bucket_size': 2},
        )
      ),
      ['krum', '15', 'rows after pre-aggregation=13'],
    ),
    (
      lambda: experiment(
        attack=config.AttackConfig(
          attack='sign_flip', num_byzantine=1, placement='population', cohort_risk='stratify'
        )
      ),
      ['cohort_risk=stratify', 'no effect', "'mean'"],
    ),
    (
      lambda: experiment(
        training=config.TrainingConfig(num_rounds=3, algorithm='fed_sgd'),
        attack=config.AttackConfig(
          attack='model_replacement',
          options={'attack_scale': 25.0, 'attack_anomaly_weight': 0.3},
          num_byzantine=1,
        ),
      ),
      ['attack_anomaly_weight=0.3', "algorithm='fed_sgd'", "take algorithm='fed_avg'"],
    ),
    *(
      (
        lambda attack=attack: experiment(
          attack=config.AttackConfig(attack=attack, options={'max_byzantine': 12}, num_byzantine=1)
        ),
        [f'attack {attack!r}', 'max_byzantine=12', 'at least 27', 'clients_per_round=25'],
      )
      for attack in ('fang_krum', 'adaptive_krum')
    ),
    *(
      (
        lambda step=step: experiment(
          aggregation=config.AggregationConfig(preaggregators=[step], options={'max_byzantine': 13})
        ),
        [f'pre-aggregator {step!r}', 'max_byzantine=13', 'at least 27', 'clients_per_round=25'],
      )
      for step in ('nearest_neighbor_mixing', 'adaptive_clipping')
    ),
    (
      lambda: experiment(
        aggregation=config.AggregationConfig(
          preaggregators=['bucketing', 'nearest_neighbor_mixing'],
          options={'max_byzantine': 7, 'bucket_size': 2},
        )
      ),
      ["'nearest_neighbor_mixing'", 'at least 15', 'rows after the steps before it=13'],
    ),
    (
      lambda: experiment(attack=config.AttackConfig(attack='sign_flip', num_byzantine=26)),
      ['num_byzantine=26', 'clients_per_round=25'],
    ),
    (
      lambda: experiment(training=config.TrainingConfig(num_rounds=1, clients_per_round=26)),
      ['clients_per_round=26', 'num_clients=25'],
    ),
    (
      lambda: experiment(
        privacy=config.PrivacyConfig(
          l2_norm_clip=1.0, noise_multiplier=1.0, amplification='poisson'
        )
      ),
      ['privacy_amplification', 'shuffled'],
    ),
    (
      lambda: experiment(
        attack=config.AttackConfig(attack='sign_flip', num_byzantine=1, byzantine_dp_noise=True)
      ),
      ['byzantine_dp_noise=True', 'no effect'],
    ),
    (
      lambda: experiment(data=config.DataConfig(root_size=50), aggregation=krum()),
      ['root_size=50', 'no effect', "'krum'", 'fltrust, zeno'],
    ),
    (
      lambda: experiment(
        aggregation=config.AggregationConfig(aggregator='fltrust'),
        attack=config.AttackConfig(attack='optimal_ipm', num_byzantine=2),
      ),
      ["'optimal_ipm'", "'fltrust'", 'root set', 'another attack'],
    ),
    (
      lambda: experiment(
        aggregation=config.AggregationConfig(
          aggregator='zeno',
          preaggregators=['static_clipping'],
          options={'max_byzantine': 2, 'max_norm': 1.0},
        ),
        attack=config.AttackConfig(attack='optimal_alie', num_byzantine=2),
      ),
      ["'optimal_alie'", "'zeno'"],
    ),
    (
      lambda: experiment(
        aggregation=config.AggregationConfig(aggregator='zeno', options={'max_byzantine': 25})
      ),
      ["'zeno'", 'max_byzantine=25', 'at least 26'],
    ),
    (
      lambda: experiment(
        aggregation=config.AggregationConfig(preaggregators=['noise_consistency_filter']),
        privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=0.0),
      ),
      ['noise_consistency_filter', 'there is none', 'noise_multiplier above 0'],
    ),
    (
      lambda: experiment(
        training=config.TrainingConfig(num_rounds=3, worker_momentum=0.9),
        aggregation=config.AggregationConfig(preaggregators=['noise_consistency_filter']),
        privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=1.0),
      ),
      ['worker_momentum=0.9', 'noise_consistency_filter', 'give up one'],
    ),
    (
      lambda: experiment(
        aggregation=config.AggregationConfig(
          preaggregators=['static_clipping', 'noise_consistency_filter'], options={'max_norm': 1.0}
        ),
        privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=1.0),
      ),
      ['static_clipping,noise_consistency_filter', 'once, and first'],
    ),
    (
      lambda: experiment(
        aggregation=config.AggregationConfig(
          aggregator='multi_krum', options={'max_byzantine': 11, 'num_selected': 15}
        )
      ),
      ['num_selected=15', '14'],
    ),
    (
      lambda: experiment(
        attack=config.AttackConfig(
          attack='sign_flip', num_byzantine=1, placement='population', cohort_risk='fail'
        )
      ),
      ['cohort_risk=fail', 'no effect', "'mean'", 'told no max_byzantine'],
    ),
    (
      lambda: experiment(
        data=config.DataConfig(num_clients=30),
        attack=config.AttackConfig(attack='sign_flip', num_byzantine=31, placement='population'),
      ),
      ['num_byzantine=31', 'num_clients=30'],
    ),
  ],
)
def test_sections_that_contradict_each_other_are_refused_in_one_sentence(make, words):
  with pytest.raises(ValueError) as error:
    make()
  message = str(error.value)
  assert '\n' not in message
  for word in words:
    assert word in message


def test_smallest_cohort_at_which_krum_is_defined_is_accepted():
  assert experiment(aggregation=krum(11)).aggregation.options == {'max_byzantine': 11}
