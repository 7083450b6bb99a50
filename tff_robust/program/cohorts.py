"""The cohort of each round, drawn from the seed and the round alone.

Nothing is remembered between rounds, so a resumed run draws the cohorts that the
uninterrupted one would have drawn.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from tff_robust import checks, config, seeds


class Cohort(NamedTuple):
  """The clients of one round, sorted by id.

  Attributes:
    client_ids: int64 [n].
    is_byzantine: bool [n], whether the adversary controls the client.
  """

  client_ids: np.ndarray
  is_byzantine: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class CohortSampler:
  """Samples cohorts uniformly without replacement, under one of two adversaries.

  The adversary controls the same clients in every round. With `placement='cohort'` it
  controls `ceil(num_byzantine * num_clients / clients_per_round)` clients and each cohort
  holds exactly `num_byzantine` of them. With `placement='population'` it controls
  `num_byzantine` clients and cohorts are drawn regardless of it, so the number of
  Byzantine clients of a cohort is hypergeometric. With a `byzantine_limit` too, cohorts are
  uniform among those that hold no more than so many: a simulator's favour to the rule, since
  a server that knew whom to leave out would not need it.

  Attributes:
    seed: The seed of the run.
    num_clients: Clients in the population; their ids are 0 to `num_clients - 1`.
    clients_per_round: Clients in a cohort, n.
    num_byzantine: Byzantine clients of a cohort or of the population.
    placement: 'cohort' or 'population'.
    byzantine_limit: The most Byzantine clients of a cohort, for `placement='population'`.
  """

  seed: int
  num_clients: int
  clients_per_round: int
  num_byzantine: int = 0
  placement: str = 'cohort'
  byzantine_limit: int | None = None

  def __post_init__(self) -> None:
    checks.known_name('placement', self.placement, config.PLACEMENTS)
    checks.at_least('clients_per_round', self.clients_per_round, 1)
    checks.at_least('num_byzantine', self.num_byzantine, 0)
    if self.clients_per_round > self.num_clients:
      raise ValueError(
        f'clients_per_round={self.clients_per_round} exceeds num_clients={self.num_clients};'
        ' lower it or raise num_clients.'
      )
    limit, unit = (
      (self.clients_per_round, 'clients_per_round')
      if self.placement == 'cohort'
      else (self.num_clients, 'num_clients')
    )
    if self.byzantine_limit is not None:
      checks.at_least('byzantine_limit', self.byzantine_limit, 0)
      honest = self.num_clients - self.num_byzantine
      if self.placement != 'population':
        raise ValueError("byzantine_limit has no effect with placement='cohort'; leave it out.")
      if honest + self.byzantine_limit < self.clients_per_round:
        raise ValueError(
          f'clients_per_round={self.clients_per_round} cannot be drawn with at most'
          f' {self.byzantine_limit} Byzantine clients from {honest} honest ones; lower it.'
        )
    if self.num_byzantine >= limit:
      raise ValueError(
        f'num_byzantine={self.num_byzantine} leaves no honest client, since {unit}={limit};'
        ' lower it.'
      )

  def byzantine_clients(self) -> np.ndarray:
    """Returns the ids of the clients that the adversary controls, int64, sorted."""
    size = self.num_byzantine
    if self.placement == 'cohort':
      size = math.ceil(self.num_byzantine * self.num_clients / self.clients_per_round)
    generator = seeds.host_generator(self.seed, seeds.Purpose.BYZANTINE_CLIENTS)
    return np.sort(generator.choice(self.num_clients, size, replace=False))

  def cohort(self, round_number: int) -> Cohort:
    """Returns the cohort of a round, counted from 0."""
    generator = seeds.host_generator(self.seed, seeds.Purpose.COHORT, round_number)
    byzantine = self.byzantine_clients()
    if self.placement == 'cohort' or self.byzantine_limit is not None:
      count = self.num_byzantine if self.placement == 'cohort' else self._limited(generator)
      honest = np.setdiff1d(np.arange(self.num_clients), byzantine)
      drawn = [
        generator.choice(byzantine, count, replace=False),
        generator.choice(honest, self.clients_per_round - count, replace=False),
      ]
      client_ids = np.sort(np.concatenate(drawn))
    else:
      client_ids = np.sort(
        generator.choice(self.num_clients, self.clients_per_round, replace=False)
      )
    return Cohort(client_ids.astype(np.int64), np.isin(client_ids, byzantine))

  def _limited(self, generator: np.random.Generator) -> int:
    """Draws the number of Byzantine clients of a cohort, given that it is within the limit."""
    honest = self.num_clients - self.num_byzantine
    largest = min(self.byzantine_limit or 0, self.num_byzantine, self.clients_per_round)
    ways = [
      math.comb(self.num_byzantine, count) * math.comb(honest, self.clients_per_round - count)
      for count in range(largest + 1)
    ]
    return int(generator.choice(len(ways), p=[way / sum(ways) for way in ways]))

  def participation_counts(self, num_rounds: int) -> np.ndarray:
    """Returns in how many of the first rounds each client takes part, int64 [num_clients]."""
    counts = np.zeros(self.num_clients, np.int64)
    for round_number in range(num_rounds):
      counts[self.cohort(round_number).client_ids] += 1
    return counts

  def max_honest_participation(self, num_rounds: int) -> int:
    """Returns the largest participation count among honest clients.

    The privacy statement is about honest clients: the worst off of them is the one that
    took part most often.
    """
    counts = np.delete(self.participation_counts(num_rounds), self.byzantine_clients())
    return int(counts.max())


def build_sampler(experiment: config.ExperimentConfig) -> CohortSampler:
  """Returns the sampler that a configuration describes.

  Raises:
    ValueError: When the numbers of clients do not fit together.
  """
  return CohortSampler(
    seed=experiment.seed,
    num_clients=experiment.data.num_clients,
    clients_per_round=experiment.training.clients_per_round,
    num_byzantine=experiment.attack.num_byzantine,
    placement=experiment.attack.placement,
    byzantine_limit=(
      int(experiment.aggregation.options['max_byzantine'] or 0)
      if experiment.attack.cohort_risk == 'stratify'
      else None
    ),
  )
