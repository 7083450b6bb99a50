import math

import numpy as np
import pytest

from tff_robust.resilience import cohort_risk

_ELEVEN_OF_A_HUNDRED = {'population': 100, 'num_byzantine': 11, 'clients_per_round': 25}


def _tail(population, num_byzantine, clients_per_round, max_byzantine):
  total = math.comb(population, clients_per_round)
  return (
    sum(
      math.comb(num_byzantine, j) * math.comb(population - num_byzantine, clients_per_round - j)
      for j in range(max_byzantine + 1, min(num_byzantine, clients_per_round) + 1)
    )
    / total
  )


@pytest.mark.parametrize('max_byzantine', [0, 2, 5, 8, 10])
def test_counts_the_cohorts_that_exceed_the_bound(max_byzantine):
  found = cohort_risk.excess_probability(**_ELEVEN_OF_A_HUNDRED, max_byzantine=max_byzantine)
  assert found == pytest.approx(_tail(100, 11, 25, max_byzantine), rel=1e-9)


def test_cannot_exceed_the_number_of_byzantine_clients():
  assert cohort_risk.excess_probability(**_ELEVEN_OF_A_HUNDRED, max_byzantine=11) == 0.0


def test_counts_in_a_cohort_have_the_known_mean_and_spread():
  # 25 * 11 / 100, and 2.75 * 0.89 * 75 / 99 for the variance.
  exceeded = [
    cohort_risk.excess_probability(**_ELEVEN_OF_A_HUNDRED, max_byzantine=bound)
    for bound in range(26)
  ]
  weights = -np.diff([1.0, *exceeded])
  counts = np.arange(26)
  mean = weights @ counts
  assert weights.sum() == pytest.approx(1.0)
  assert mean == pytest.approx(2.75)
  assert math.sqrt(weights @ (counts - mean) ** 2) == pytest.approx(1.36, abs=0.005)
  assert weights[0] == pytest.approx(0.035, abs=0.0005)


def test_agrees_with_sampled_cohorts():
  generator = np.random.default_rng(0)
  draws = generator.hypergeometric(11, 89, 25, size=200_000)
  found = cohort_risk.excess_probability(**_ELEVEN_OF_A_HUNDRED, max_byzantine=4)
  assert np.mean(draws > 4) == pytest.approx(found, rel=0.03)


def test_a_run_multiplies_the_chances_of_its_rounds():
  single = _tail(100, 11, 25, 5)
  run = cohort_risk.excess_probability_over_run(
    **_ELEVEN_OF_A_HUNDRED, max_byzantine=5, num_rounds=50
  )
  assert run == pytest.approx(1 - (1 - single) ** 50)
  assert run > 20 * single


def test_keeps_tiny_chances_and_reaches_certainty():
  tiny = cohort_risk.excess_probability_over_run(
    population=1000, num_byzantine=20, clients_per_round=20, max_byzantine=15, num_rounds=10
  )
  assert tiny == pytest.approx(10 * _tail(1000, 20, 20, 15), rel=1e-6)
  assert 0 < tiny < 1e-20
  certain = {'population': 10, 'num_byzantine': 10, 'clients_per_round': 5, 'max_byzantine': 4}
  assert cohort_risk.excess_probability_over_run(**certain, num_rounds=3) == 1.0
  assert cohort_risk.excess_probability_over_run(**certain, num_rounds=0) == 0.0


def test_suggests_the_smallest_bound_that_meets_the_risk():
  setting = {**_ELEVEN_OF_A_HUNDRED, 'num_rounds': 200}
  bound = cohort_risk.smallest_safe_max_byzantine(**setting, risk=0.01)
  assert 1 - (1 - _tail(100, 11, 25, bound)) ** 200 <= 0.01
  assert 1 - (1 - _tail(100, 11, 25, bound - 1)) ** 200 > 0.01


@pytest.mark.parametrize('name', ['num_byzantine', 'clients_per_round'])
def test_refuses_counts_larger_than_the_population(name):
  with pytest.raises(ValueError, match=f'{name}=101 is more than the population'):
    cohort_risk.excess_probability(**{**_ELEVEN_OF_A_HUNDRED, name: 101}, max_byzantine=5)


def test_counts_cohorts_with_some_but_too_few():
  # 2 Byzantine of 4, cohorts of 2, by hand: none in 1 of 6, one in 4 of 6, two in 1 of 6.
  sampled = {'population': 4, 'num_byzantine': 2, 'clients_per_round': 2}
  assert cohort_risk.shortage_probability(**sampled, fewest=2) == pytest.approx(4 / 6)
  assert cohort_risk.shortage_probability(**sampled, fewest=3) == pytest.approx(5 / 6)
  assert cohort_risk.shortage_probability(**sampled, fewest=1) == 0
  # Of the five ways of six without a pair, four hold one.
  assert cohort_risk.shortage_probability(**sampled, fewest=2, most=1) == pytest.approx(4 / 5)
  with pytest.raises(ValueError, match='fewest=0'):
    cohort_risk.shortage_probability(**sampled, fewest=0)
