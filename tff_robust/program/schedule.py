"""Rounds and server epochs of a run: how long it is and when the attack begins.

A server epoch is one pass over the training set, all clients together: with `fed_sgd`,
as many rounds as minibatches of a whole cohort fit into the training set; with
`fed_avg`, as many rounds as it takes the cohorts to have each example visited once on
average.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from tff_robust import config
from tff_robust.attacks import attack_schedule

_ROUNDING = 1e-9  # A whole number of rounds must not become one more by a rounding error.


class Schedule(NamedTuple):
  """Lengths of a run in rounds.

  Attributes:
    num_rounds: Rounds of the run.
    rounds_per_server_epoch: Rounds in one pass over the training set.
    attack: In which rounds the attack is on, or None without an attack.
  """

  num_rounds: int
  rounds_per_server_epoch: float
  attack: attack_schedule.AttackSchedule | None

  @property
  def attack_start_round(self) -> int | None:
    """The first attacked round, or None without an attack."""
    return None if self.attack is None else self.attack.start_round

  @property
  def attack_stop_round(self) -> int | None:
    """The first round after the attack if the run reaches it, else None."""
    stop = None if self.attack is None else self.attack.stop_round
    return None if stop is None or stop > self.num_rounds else stop

  def attack_is_active(self, round_number: int) -> bool:
    """Tells whether the attack is on in a round, given somebody to carry it out."""
    return self.attack is not None and bool(self.attack.is_active(round_number))

  def server_epoch(self, round_number: int) -> float:
    """Returns the passes over the training set made before a round."""
    return round_number / self.rounds_per_server_epoch


def _whole_rounds(rounds: float) -> int:
  return math.ceil(rounds - _ROUNDING)


def _check_attack_begins(attack: config.AttackConfig, start: int, num_rounds: int) -> None:
  if start >= num_rounds:
    raise ValueError(
      f'attack_start={attack.start:g} ({attack.start_unit}) lies beyond the last round: the run'
      f' has {num_rounds} rounds and the attack would begin in round {start}, counted from 0;'
      ' begin it earlier or train longer.'
    )


def check_rounds(experiment: config.ExperimentConfig) -> None:
  """Raises ValueError when it is plain without any data that the attack never begins."""
  attack, num_rounds = experiment.attack, experiment.training.num_rounds
  if attack.attack != config.NO_ATTACK and attack.start_unit == 'round' and num_rounds is not None:
    _check_attack_begins(attack, int(attack.start), num_rounds)


def build_schedule(experiment: config.ExperimentConfig, client_sizes: Sequence[int]) -> Schedule:
  """Returns the schedule of a run.

  Args:
    experiment: The configuration of the run.
    client_sizes: Training examples of each client of the population.

  Raises:
    ValueError: When the attack would begin after the last round.
  """
  training = experiment.training
  if training.algorithm == 'fed_sgd':
    examples_per_round = float(training.clients_per_round * training.batch_size)
  else:
    mean_size = sum(client_sizes) / len(client_sizes)
    examples_per_round = training.clients_per_round * mean_size * (training.local_epochs or 1)
  rounds_per_server_epoch = sum(client_sizes) / examples_per_round
  num_rounds = training.num_rounds
  if num_rounds is None:
    num_rounds = max(1, _whole_rounds((training.num_server_epochs or 0) * rounds_per_server_epoch))
  attacked = None
  attack = experiment.attack
  if attack.attack != config.NO_ATTACK:
    unit = 1.0 if attack.start_unit == 'round' else rounds_per_server_epoch
    start = _whole_rounds(attack.start * unit)
    _check_attack_begins(attack, start, num_rounds)
    stop = None if attack.stop is None else _whole_rounds(attack.stop * unit)
    if stop is not None and stop <= start:
      raise ValueError(
        f'attack_stop={attack.stop:g} ({attack.start_unit}) leaves no round to attack: it comes'
        f' down to round {stop} and the attack begins in round {start}; end it later.'
      )
    # Whatever lies beyond the run is the same to it, and fits into the integers of TensorFlow.
    stop = None if stop is None else min(stop, num_rounds + 1)
    attacked = attack_schedule.AttackSchedule(start, stop, min(attack.every, num_rounds))
  return Schedule(num_rounds, rounds_per_server_epoch, attacked)
