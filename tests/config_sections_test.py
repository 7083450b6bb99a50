import pytest

from tff_robust import config


def krum(max_byzantine=11, **options):
  return config.AggregationConfig(
    aggregator='krum', options={'max_byzantine': max_byzantine, **options}
  )


@pytest.mark.parametrize(
  ('given', 'flag'),
  [
    ({'delta': 1e-6}, 'delta=1e-06'),
    ({'noise_source': 'entropy'}, 'dp_noise_source=entropy'),
    ({'amplification': 'none'}, 'privacy_amplification=none'),
    ({'accountant': 'rdp'}, 'accountant=rdp'),
  ],
)
def test_what_only_noise_gives_a_meaning_is_refused_without_noise(given, flag):
  with pytest.raises(ValueError, match=f'^{flag} has no effect without DP noise; give a noise_'):
    config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=0.0, **given)
  unnoised = {'clip_unit': 'minibatch_mean', 'noise_scale': 'per_example_sum'}
  config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=0.0, **unnoised)


def test_defaults_depend_on_the_algorithm():
  averaging = config.TrainingConfig(num_rounds=1)
  assert (averaging.local_epochs, averaging.client_learning_rate) == (1, 0.05)
  assert averaging.server_learning_rate == 1.0
  gradient = config.TrainingConfig(num_rounds=1, algorithm='fed_sgd')
  assert (gradient.local_epochs, gradient.client_learning_rate) == (None, None)
  assert gradient.server_learning_rate == 0.05


@pytest.mark.parametrize(
  ('make', 'words'),
  [
    (lambda: krum(-1), ['max_byzantine=-1', 'at least 0']),
    (lambda: krum(11, num_selected=3), ['num_selected', 'no effect', 'krum', 'max_byzantine']),
    (lambda: config.AggregationConfig(aggregator='krum'), ['krum', 'needs max_byzantine']),
    (lambda: config.AggregationConfig(aggregator='krun'), ['krun', "Did you mean 'krum'"]),
    (
      lambda: config.AggregationConfig(preaggregators=['bucketting']),
      ['preaggregators', "Did you mean 'bucketing'"],
    ),
    (
      lambda: config.AggregationConfig(options={'bucket_size': 2}),
      ['bucket_size', 'no effect', 'mean'],
    ),
    (lambda: config.DataConfig(dataset='minst'), ["Did you mean 'mnist'"]),
    (lambda: config.DataConfig(data_dir='x'), ['data_dir', 'no effect', 'digits']),
    (lambda: config.DataConfig(partition='dirichlet'), ['needs dirichlet_alpha']),
    (lambda: config.DataConfig(dirichlet_alpha=1.0), ['dirichlet_alpha=1.0', 'no effect']),
    (lambda: config.TrainingConfig(num_rounds=1, model='xie_bn'), ['batch normalisation', "'xie'"]),
    (lambda: config.TrainingConfig(), ['exactly one']),
    (lambda: config.TrainingConfig(num_rounds=1, num_server_epochs=1), ['exactly one']),
    (
      lambda: config.TrainingConfig(num_rounds=1, algorithm='fed_sgd', local_epochs=2),
      ['local_epochs=2', 'no effect'],
    ),
    (
      lambda: config.TrainingConfig(num_rounds=1, client_learning_rate=-1.0),
      ['client_learning_rate=-1.0', 'above 0'],
    ),
    (lambda: config.PrivacyConfig(l2_norm_clip=0.0, noise_multiplier=1.0), ['l2_norm_clip=0.0']),
    (
      lambda: config.PrivacyConfig(l2_norm_clip=1e300, noise_multiplier=1.0),
      ['l2_norm_clip=1e+300', 'between 1e-15 and 1e+15'],
    ),
    (lambda: config.PrivacyConfig(l2_norm_clip=1.0), ['needs noise_multiplier']),
    (lambda: config.PrivacyConfig(noise_multiplier=1.0), ['no effect without l2_norm_clip']),
    (lambda: config.PrivacyConfig(delta=1.0), ['delta=1.0']),
    (lambda: config.AttackConfig(num_byzantine=3), ['num_byzantine', 'no effect', 'none']),
    (
      lambda: config.AttackConfig(attack='sign_flip', start=1.5, num_byzantine=1),
      ['attack_start=1.5', 'server_epoch'],
    ),
    (
      lambda: config.AttackConfig(attack='sign_flip', start=3, stop=3, num_byzantine=1),
      ['attack_stop=3', 'attack_start=3', 'leave it out'],
    ),
    (
      lambda: config.AttackConfig(attack='sign_flip', stop=float('inf'), num_byzantine=1),
      ['attack_stop=inf', 'finite', 'leave it out'],
    ),
    (
      lambda: config.AttackConfig(
        attack='sign_flip', stop=float('nan'), num_byzantine=1, start_unit='server_epoch'
      ),
      ['attack_stop=nan', 'finite', 'leave it out'],
    ),
    (
      lambda: config.AttackConfig(
        attack='a_little_is_enough', knowledge='own_messages', num_byzantine=1
      ),
      ['attack_knowledge', 'with attack_deviations given also own_messages'],
    ),
    (
      lambda: config.AttackConfig(
        attack='fang_trimmed_mean', options={'attack_factor': float('inf')}, num_byzantine=1
      ),
      ['attack_factor=inf', 'finite'],
    ),
    (
      lambda: config.AttackConfig(
        attack='model_replacement',
        options={'attack_scale': 5.0, 'attack_trigger_size': 4},
        num_byzantine=1,
      ),
      ['attack_trigger_size=4', 'no effect', 'without attack_target_class'],
    ),
    (
      lambda: config.AttackConfig(attack='sign_flip', stop=2.5, num_byzantine=1),
      ['attack_stop=2.5', 'whole number', 'server_epoch'],
    ),
    (
      lambda: config.AttackConfig(attack='sign_flip', every=0, num_byzantine=1),
      ['attack_every=0', 'at least 1'],
    ),
    *(
      (
        lambda name=name, view=view: config.AttackConfig(
          attack=name, knowledge=view, num_byzantine=1
        ),
        [f'attack_knowledge={view!r}', f"attack '{name}', which allows: own_messages."],
      )
      for name in ('gaussian', 'infinite', 'nan', 'zero')
      for view in ('honest_messages', 'honest_clean', 'own_clean')
    ),
    (
      lambda: config.AttackConfig(attack='label_flip', knowledge='own_clean', num_byzantine=1),
      ['attack_knowledge=own_clean', 'no effect', 'label_flip'],
    ),
    (
      lambda: config.AttackConfig(attack='label_flip', byzantine_dp_noise=True, num_byzantine=1),
      ['byzantine_dp_noise=True', 'no effect', 'label_flip'],
    ),
    (lambda: config.AttackConfig(attack='backdoor'), ['backdoor', 'needs attack_target_class']),
    (
      lambda: config.AttackConfig(attack='label_flip', options={'attack_class_map': '1-7'}),
      ["attack_class_map='1-7'", '1:7,7:1'],
    ),
    (
      lambda: config.AttackConfig(
        attack='noise_matched_ipm',
        options={'attack_epsilon': 0.5},
        knowledge='own_messages',
        num_byzantine=1,
      ),
      ['num_byzantine=1', 'noise_matched_ipm', 'at least 2'],
    ),
    (
      lambda: config.TrainingConfig(num_rounds=1, batch_size=2**31 - 1),
      ['batch_size=2147483647', 'at most 1073741824'],
    ),
    (
      lambda: config.PrivacyConfig(noise_source='entropy'),
      ['dp_noise_source=entropy', 'no effect without l2_norm_clip'],
    ),
    (
      lambda: config.PrivacyConfig(amplification='none'),
      ['privacy_amplification=none', 'no effect without l2_norm_clip'],
    ),
    (
      lambda: config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=1e-200),
      ['noise_multiplier=1e-200', '0 or lie between 1e-06 and 1e+06'],
    ),
    (
      lambda: config.AttackConfig(attack='sign_flip', cohort_risk='fail', num_byzantine=1),
      ['cohort_risk=fail', 'no effect', "byzantine_placement='population'"],
    ),
    (
      lambda: config.AttackConfig(attack='sign_flip'),
      ["attack 'sign_flip' needs num_byzantine, how many clients send it."],
    ),
    (
      lambda: config.AttackConfig(placement='population', cohort_risk='fail'),
      ['byzantine_placement has no effect', "'none'"],
    ),
    (
      lambda: config.AttackConfig(start_unit='server_epoch'),
      ['attack_start_unit has no effect', "'none'"],
    ),
    (
      lambda: config.AggregationConfig(preaggregators=['static_clipping']),
      ["pre-aggregator 'static_clipping' needs max_norm"],
    ),
    (
      lambda: config.AggregationConfig(
        preaggregators=['static_clipping'], options={'max_norm': 1.0, 'bucket_size': 2}
      ),
      [
        "bucket_size has no effect with pre-aggregator 'static_clipping' and aggregator 'mean',"
        ' which read: max_norm;'
      ],
    ),
    (lambda: config.AttackConfig(stop=4), ['attack_stop', 'no effect', "'none'"]),
    (lambda: config.AttackConfig(every=2), ['attack_every', 'no effect', "'none'"]),
    (lambda: config.DataConfig(root_size=0), ['root_size=0', 'at least 1']),
    (
      lambda: config.AggregationConfig(
        aggregator='zeno', options={'max_byzantine': 2, 'norm_penalty': -1.0}
      ),
      ['norm_penalty=-1.0', 'at least 0'],
    ),
    (
      lambda: config.TrainingConfig(num_rounds=1, worker_momentum=1.0),
      ['worker_momentum=1.0', 'below 1'],
    ),
  ],
)
def test_impossible_sections_are_refused_in_one_sentence(make, words):
  with pytest.raises(ValueError) as error:
    make()
  message = str(error.value)
  assert '\n' not in message
  for word in words:
    assert word in message


def test_preaggregators_read_the_same_options_as_the_rule():
  aggregation = config.AggregationConfig(
    aggregator='krum',
    preaggregators=['nearest_neighbor_mixing', 'bucketing'],
    options={'max_byzantine': 2, 'bucket_size': 3},
  )
  assert aggregation.preaggregators == ('nearest_neighbor_mixing', 'bucketing')
  assert aggregation.options == {'max_byzantine': 2, 'bucket_size': 3}
  assert aggregation.rows_before_rule(25) == 9


@pytest.mark.parametrize('attack', ['gaussian', 'infinite', 'nan', 'zero'])
def test_attacks_that_read_nothing_need_no_view_and_may_name_theirs(attack):
  left_out = config.AttackConfig(attack=attack, num_byzantine=1)
  assert left_out.knowledge == 'own_messages'
  assert left_out == config.AttackConfig(attack=attack, knowledge='own_messages', num_byzantine=1)


def test_one_attacker_matches_noise_that_it_is_told():
  alone = config.AttackConfig(
    attack='noise_matched_ipm',
    options={'attack_epsilon': 0.5, 'attack_noise_stddev': 0.1},
    knowledge='own_messages',
    num_byzantine=1,
  )
  assert alone.num_byzantine == 1
