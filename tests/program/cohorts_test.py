import numpy as np
import pytest

from tff_robust import config
from tff_robust.program import cohorts


def sampler(**changes):
  values = {'seed': 7, 'num_clients': 100, 'clients_per_round': 25, 'num_byzantine': 11}
  return cohorts.CohortSampler(**{**values, **changes})


def test_every_cohort_holds_exactly_the_byzantine_clients_asked_for():
  chosen = sampler()
  for round_number in range(50):
    cohort = chosen.cohort(round_number)
    assert cohort.is_byzantine.sum() == 11
    assert len(set(cohort.client_ids.tolist())) == 25
    assert cohort.client_ids.tolist() == sorted(cohort.client_ids.tolist())


def test_adversary_controls_a_fixed_set_that_scales_with_the_population():
  chosen = sampler()
  controlled = set(chosen.byzantine_clients().tolist())
  assert len(controlled) == 44
  seen = set()
  for round_number in range(60):
    cohort = chosen.cohort(round_number)
    seen |= set(cohort.client_ids[cohort.is_byzantine].tolist())
    assert not set(cohort.client_ids[~cohort.is_byzantine].tolist()) & controlled
  assert seen == controlled


def test_size_of_the_controlled_set_is_rounded_up():
  assert sampler(num_clients=26, num_byzantine=1).byzantine_clients().size == 2


def test_population_placement_gives_the_hypergeometric_count():
  chosen = sampler(placement='population')
  assert chosen.byzantine_clients().size == 11
  counts = np.array([chosen.cohort(r).is_byzantine.sum() for r in range(2000)])
  # Hypergeometric(100, 11, 25): mean 2.75, standard deviation 1.36.
  assert abs(counts.mean() - 2.75) < 4 * 1.36 / np.sqrt(2000)
  assert abs(counts.std() - 1.362) < 0.1
  assert abs((counts == 0).mean() - 0.0347) < 0.017


def test_limited_cohorts_are_uniform_among_those_within_the_limit():
  chosen = sampler(placement='population', byzantine_limit=2)
  drawn = [chosen.cohort(r) for r in range(2000)]
  counts = np.array([cohort.is_byzantine.sum() for cohort in drawn])
  assert counts.max() == 2
  # Hypergeometric(100, 11, 25) below 3: 0.0347 : 0.1468 : 0.2655.
  shares = np.array([(counts == count).mean() for count in range(3)])
  np.testing.assert_allclose(shares, np.array([0.0347, 0.1468, 0.2655]) / 0.4470, atol=0.04)
  assert {len(set(cohort.client_ids.tolist())) for cohort in drawn} == {25}
  seen = np.concatenate([cohort.client_ids for cohort in drawn])
  assert set(seen.tolist()) == set(range(100))


def test_a_cohort_depends_on_seed_and_round_alone():
  backwards = [sampler().cohort(r).client_ids.tolist() for r in (9, 5, 3)]
  chosen = sampler()
  forwards = [chosen.cohort(r).client_ids.tolist() for r in (3, 5, 9)]
  assert backwards == forwards[::-1]
  assert len({tuple(ids) for ids in forwards}) == 3
  assert sampler(seed=8).cohort(3).client_ids.tolist() != forwards[0]


def test_a_cohort_of_everybody_holds_everybody():
  chosen = sampler(num_clients=25)
  assert chosen.cohort(4).client_ids.tolist() == list(range(25))
  assert chosen.participation_counts(6).tolist() == [6] * 25


def test_participation_is_counted_over_the_first_rounds():
  chosen = sampler()
  counts = chosen.participation_counts(40)
  assert counts.sum() == 40 * 25
  by_hand = sum(17 in chosen.cohort(r).client_ids for r in range(40))
  assert counts[17] == by_hand


def test_worst_off_honest_client_is_not_a_byzantine_one():
  # The adversary controls 10 of 11 clients: the honest one sits in every cohort.
  chosen = sampler(num_clients=11, clients_per_round=10, num_byzantine=9)
  assert chosen.max_honest_participation(30) == 30
  assert sorted(chosen.participation_counts(30))[-2] < 30
  alone = sampler(num_clients=50, clients_per_round=2, num_byzantine=0)
  assert alone.max_honest_participation(30) == alone.participation_counts(30).max()


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'clients_per_round': 101}, ['clients_per_round=101', 'num_clients=100']),
    ({'num_byzantine': 25}, ['num_byzantine=25', 'no honest client', 'clients_per_round=25']),
    (
      {'num_byzantine': 100, 'placement': 'population'},
      ['num_byzantine=100', 'no honest client', 'num_clients=100'],
    ),
    (
      {'num_byzantine': 80, 'placement': 'population', 'byzantine_limit': 4},
      ['clients_per_round=25', 'at most 4 Byzantine', '20 honest'],
    ),
    ({'byzantine_limit': 4}, ['byzantine_limit', 'no effect']),
    ({'placement': 'cohorts'}, ['placement', "Did you mean 'cohort'"]),
  ],
)
def test_refuses_numbers_that_do_not_fit_together(changes, words):
  with pytest.raises(ValueError) as caught:
    sampler(**changes)
  assert all(word in str(caught.value) for word in words)


def test_sampler_follows_the_configuration():
  experiment = config.ExperimentConfig(
    seed=3,
    data=config.DataConfig(num_clients=40),
    training=config.TrainingConfig(num_rounds=2, clients_per_round=10),
    attack=config.AttackConfig(
      attack='sign_flip', options={}, num_byzantine=4, placement='population'
    ),
  )
  assert cohorts.build_sampler(experiment) == cohorts.CohortSampler(
    seed=3, num_clients=40, clients_per_round=10, num_byzantine=4, placement='population'
  )
