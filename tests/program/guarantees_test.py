import dataclasses

import pytest

from tff_robust import config
from tff_robust.program import cohorts, guarantees


def experiment(aggregator='krum', *, preaggregators=(), num_byzantine=11, **attack):
  options = {} if aggregator == 'mean' else {'max_byzantine': 5}
  return config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(num_clients=100),
    training=config.TrainingConfig(num_rounds=50),
    aggregation=config.AggregationConfig(
      aggregator=aggregator, preaggregators=preaggregators, options=options
    ),
    attack=config.AttackConfig(attack='sign_flip', num_byzantine=num_byzantine, **attack),
  )


def population(*, num_clients=100, clients_per_round=5, **attack):
  return config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(num_clients=num_clients),
    training=config.TrainingConfig(num_rounds=5, clients_per_round=clients_per_round),
    attack=config.AttackConfig(**attack),
  )


def build(*arguments, **changes):
  return guarantees.build_guarantees(experiment(*arguments, **changes), num_rounds=50)


def test_risk_of_a_cohort_is_hypergeometric():
  found = build(placement='population')
  # Hypergeometric(100, 11, 25) above 5, by counting: 0.02634; once in 50: 1 - 0.97366^50.
  assert found.risk_per_round == pytest.approx(0.0264, abs=0.0003)
  assert found.risk_over_run == pytest.approx(1 - (1 - found.risk_per_round) ** 50)
  assert '2.6' in found.risk()
  assert 'at least one in 7' in found.risk()


def test_cohorts_with_too_few_attackers_for_an_attack_are_told():
  few = {'attack': 'min_max', 'placement': 'population', 'knowledge': 'own_messages'}
  told = guarantees.describe_shortage(population(num_byzantine=10, clients_per_round=5, **few))
  # One of 10 among 5 of 100: 10 * C(90, 4) / C(100, 5) = 0.3394.
  assert '33.9 % of rounds' in told
  assert 'fewer than the 2 attackers' in told
  # Whoever sees honest messages needs no spread of its own.
  seeing = {**few, 'knowledge': 'honest_messages'}
  assert guarantees.describe_shortage(population(num_byzantine=10, **seeing)) is None
  # All of 24 of 25 clients are drawn but one: there are always two attackers.
  everyone = population(num_clients=25, clients_per_round=24, num_byzantine=4, **few)
  assert guarantees.describe_shortage(everyone) is None


def test_no_more_byzantine_clients_than_declared_is_no_risk():
  assert build(placement='population', num_byzantine=5).risk_per_round == 0
  assert build(placement='population', num_byzantine=6).risk_per_round > 0


def test_risk_is_told_of_sampled_populations_and_rules_that_are_told_a_number_only():
  assert build().risk() is None
  assert build('mean', placement='population').risk() is None
  assert build('mean', placement='population').max_byzantine is None


def test_failing_names_the_probability_and_passes_where_there_is_none():
  with pytest.raises(ValueError, match=r'cohort_risk=fail.*max_byzantine=5.*2\.6\d? % of rounds'):
    guarantees.check_cohort_risk(experiment(placement='population', cohort_risk='fail'))
  guarantees.check_cohort_risk(
    experiment(placement='population', cohort_risk='fail', num_byzantine=5)
  )
  guarantees.check_cohort_risk(experiment(placement='population'))


def test_stratified_runs_keep_the_promise_and_say_that_no_server_could():
  stratified = experiment(placement='population', cohort_risk='stratify')
  found = guarantees.build_guarantees(stratified, num_rounds=50)
  assert 'a real server does not know' in found.risk()
  sampler = cohorts.build_sampler(stratified)
  assert max(sampler.cohort(r).is_byzantine.sum() for r in range(300)) == 5
  regardless = dataclasses.replace(sampler, byzantine_limit=None)
  assert max(regardless.cohort(r).is_byzantine.sum() for r in range(300)) > 5


def test_kappa_is_told_in_words():
  # 6 (1 + 5 / 15) = 8 for Krum.
  assert 'No guarantee for krum at f=5 of 25' in build(num_byzantine=5).kappa
  assert 'kappa is at most 8' in build(num_byzantine=5).kappa
  assert 'mean has no guarantee at f=11 of 25' in build('mean').kappa
  mixed = build(preaggregators=['nearest_neighbor_mixing']).kappa
  # 8 * 5 / 20 * (1 + 8)
  assert 'nearest_neighbor_mixing then krum at f=5 of 25: kappa is at most 18' in mixed
  assert 'No bound' in build(preaggregators=['adaptive_clipping', 'nearest_neighbor_mixing']).kappa


def test_what_the_theorem_of_krum_requires_is_told_of_krum_alone():
  # 2 (n - f + (f (n - f - 2) + f^2 (n - f - 1)) / (n - 2f - 2)), here with n = 25 and f = 5.
  assert build().required_signal_to_noise_ratio == pytest.approx(2 * (20 + (5 * 18 + 25 * 19) / 13))
  assert build('mean').required_signal_to_noise_ratio is None
  uneven = dataclasses.replace(
    experiment(),
    data=config.DataConfig(num_clients=100, partition='dirichlet', dirichlet_alpha=0.5),
  )
  told = guarantees.build_guarantees(uneven, num_rounds=50)
  assert told.required_signal_to_noise_ratio is None
  assert build(preaggregators=['nearest_neighbor_mixing']).required_signal_to_noise_ratio is None


def test_a_cohort_with_more_than_declared_is_promised_nothing():
  assert 'In truth each cohort holds 11' in build().kappa
  assert 'In truth' not in build(num_byzantine=5).kappa
  assert 'In truth' not in build('mean').kappa


@pytest.mark.parametrize(
  ('probability', 'words'),
  [(0.0, '0 %'), (1.0, '100 %'), (3e-7, '3.0e-05 %'), (0.0263, '2.63 %'), (0.99999, 'more than')],
)
def test_small_risks_are_not_rounded_away(probability, words):
  found = guarantees.Guarantees(
    kappa='', max_byzantine=1, risk_per_round=probability, risk_over_run=probability
  )
  assert words in found.risk()
