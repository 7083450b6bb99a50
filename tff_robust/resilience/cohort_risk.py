"""How often a sampled cohort holds more Byzantine clients than a rule is told.

A population has a fixed set of Byzantine clients, and each round samples a cohort
uniformly without replacement: the number of Byzantine clients in it is
hypergeometric. A rule that tolerates f of n promises nothing in a round with more.
"""

import math

from scipy import stats

from tff_robust import checks


def excess_probability(
  *, population: int, num_byzantine: int, clients_per_round: int, max_byzantine: int
) -> float:
  """Returns the probability that one round's cohort holds more than `max_byzantine`.

  With 100 clients of whom 11 are Byzantine and cohorts of 25, more than 5 are drawn in
  2.6 percent of rounds, more than 11 never.

  Args:
    population: Clients in all.
    num_byzantine: Byzantine clients in the population.
    clients_per_round: Size of a cohort, n.
    max_byzantine: Byzantine clients that the rule is declared to tolerate, f.

  Raises:
    ValueError: If a count is negative or larger than the set it is drawn from.
  """
  _check(population, num_byzantine, clients_per_round)
  checks.at_least('max_byzantine', max_byzantine, 0)
  return float(stats.hypergeom.sf(max_byzantine, population, num_byzantine, clients_per_round))


def shortage_probability(
  *,
  population: int,
  num_byzantine: int,
  clients_per_round: int,
  fewest: int,
  most: int | None = None,
) -> float:
  """Returns the probability that a cohort holds Byzantine clients, but fewer than `fewest`.

  Args:
    population: Clients in all.
    num_byzantine: Byzantine clients in the population.
    clients_per_round: Size of a cohort, n.
    fewest: Byzantine clients that an attack takes, at least 1.
    most: Where cohorts with more Byzantine clients are not drawn (`cohort_risk=stratify`); None
      where any is.

  Raises:
    ValueError: If a count is negative or larger than the set it is drawn from.
  """
  _check(population, num_byzantine, clients_per_round)
  checks.at_least('fewest', fewest, 1)
  drawn = stats.hypergeom(population, num_byzantine, clients_per_round)
  too_few = fewest - 1 if most is None else min(fewest - 1, most)
  possible = 1.0 if most is None else float(drawn.cdf(most))
  return float(drawn.cdf(too_few) - drawn.cdf(0)) / possible if possible else 0.0


def excess_probability_over_run(
  *,
  population: int,
  num_byzantine: int,
  clients_per_round: int,
  max_byzantine: int,
  num_rounds: int,
) -> float:
  """Returns the probability that at least one of `num_rounds` cohorts exceeds the bound.

  Cohorts of different rounds are independent.

  Raises:
    ValueError: If a count is negative or larger than the set it is drawn from.
  """
  checks.at_least('num_rounds', num_rounds, 0)
  single = excess_probability(
    population=population,
    num_byzantine=num_byzantine,
    clients_per_round=clients_per_round,
    max_byzantine=max_byzantine,
  )
  if single >= 1:
    return 1.0 if num_rounds > 0 else 0.0
  return -math.expm1(num_rounds * math.log1p(-single))


def smallest_safe_max_byzantine(
  *,
  population: int,
  num_byzantine: int,
  clients_per_round: int,
  num_rounds: int,
  risk: float,
) -> int:
  """Returns the smallest f whose chance of being exceeded in the run is at most `risk`.

  Whether a rule is defined for that f and n is for the rule to say.

  Args:
    population: Clients in all.
    num_byzantine: Byzantine clients in the population.
    clients_per_round: Size of a cohort, n.
    num_rounds: Rounds of the run.
    risk: Accepted probability, strictly between 0 and 1.

  Raises:
    ValueError: If `risk` is not in (0, 1), or a count is negative or larger than the set it is
      drawn from.
  """
  checks.in_open_unit_interval('risk', risk)
  for candidate in range(min(num_byzantine, clients_per_round) + 1):
    exceeded = excess_probability_over_run(
      population=population,
      num_byzantine=num_byzantine,
      clients_per_round=clients_per_round,
      max_byzantine=candidate,
      num_rounds=num_rounds,
    )
    if exceeded <= risk:
      return candidate
  return min(num_byzantine, clients_per_round)


def _check(population: int, num_byzantine: int, clients_per_round: int) -> None:
  checks.at_least('population', population, 1)
  for name, value in (('num_byzantine', num_byzantine), ('clients_per_round', clients_per_round)):
    checks.at_least(name, value, 0)
    if value > population:
      raise ValueError(
        f'{name}={value} is more than the population of {population} clients; lower it.'
      )
