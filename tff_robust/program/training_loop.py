"""The rounds of a run: cohort, evaluation, update, release, checkpoint.

No mathematics and no configuration: everything is handed in. Nothing here is random, so
a run that is resumed from a checkpoint goes on as if it had never stopped.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.program import (
  certificates,
  checkpoints,
  cohorts,
  history,
  interruption,
  progress,
  schedule,
)

COMPLETED = 'completed'
DIVERGED = 'diverged'
INTERRUPTED = 'interrupted'


class Outcome(NamedTuple):
  """How a run ended.

  Attributes:
    status: `COMPLETED`, `DIVERGED` (weights or loss of the global model are no longer
      numbers, or every honest message of a round was not) or `INTERRUPTED`.
    rounds: Rounds that were done, those before a resumption included.
    state: The last state of the process.
  """

  status: str
  rounds: int
  state: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingLoop:
  """A run, ready to go.

  Attributes:
    process: The learning process.
    plan: Lengths of the run in rounds.
    cohort_of: Round to cohort.
    client_value: Client id, whether it is Byzantine, and whether the attack is on in the
      round, to the client's value in the process.
    evaluate: Weights of the model to the evaluation columns of a history row.
    saved: Where checkpoints are.
    evaluate_every: Rounds between evaluations. The models that enter the first attacked
      round and the first one after the attack, and the final model, are evaluated in any case.
    checkpoint_every: Rounds between checkpoints.
    certificate: What tells when Krum selects the attackers, where it applies.
  """

  process: tff.learning.templates.LearningProcess
  plan: schedule.Schedule
  cohort_of: Callable[[int], cohorts.Cohort]
  client_value: Callable[[int, bool, bool], Any]
  evaluate: Callable[[Any], Mapping[str, history.Cell]]
  saved: checkpoints.Checkpoints
  evaluate_every: int
  checkpoint_every: int
  certificate: certificates.KrumCertificate | None = None

  def start(self, *, tell: Callable[[str], None] = lambda sentence: None) -> tuple[int, Any]:
    """Returns the rounds done and the state of the newest checkpoint, else the beginning.

    Args:
      tell: Called with a sentence for each checkpoint that cannot be read.

    Raises:
      run_folder.UnreadableError: If there are checkpoints and none of them can be read.
    """
    initial = self.process.initialize()
    return self.saved.newest(initial, tell=tell) or (0, initial)

  def run(
    self,
    rounds: int,
    state: Any,
    *,
    release: Callable[[Mapping[str, history.Cell]], None],
    shown: progress.Progress,
    stop: interruption.Interruption,
  ) -> Outcome:
    """Runs the rounds that are left.

    Args:
      rounds: Rounds done, from `start`.
      state: The state after them, from `start`.
      release: Called with each row of the history.
      shown: Told about each round.
      stop: Asked after each round. An interrupted run leaves a checkpoint of its last round.
    """
    weights = self.process.get_model_weights(state)
    while rounds < self.plan.num_rounds:
      row = history.blank_row(rounds, self.plan.server_epoch(rounds))
      if self._is_evaluated(rounds):
        row.update(self.evaluate(weights))
      if not _losses_are_finite(row):
        release(row)
        return Outcome(DIVERGED, rounds, state)
      try:
        output = self._round(rounds, state, row)
      except Exception:
        self.saved.save(state, rounds)  # Whatever is wrong, what was computed stays.
        raise
      state, rounds = output.state, rounds + 1
      release(row)
      shown.update(row)
      weights = self.process.get_model_weights(state)
      if _is_diverged(output.metrics) or not _weights_are_finite(weights):
        self._release_final(rounds, weights, release)
        return Outcome(DIVERGED, rounds, state)
      if stop.requested or rounds % self.checkpoint_every == 0 or rounds == self.plan.num_rounds:
        self.saved.save(state, rounds)
      if stop.requested and rounds < self.plan.num_rounds:
        return Outcome(INTERRUPTED, rounds, state)
    finite = self._release_final(rounds, weights, release)
    return Outcome(COMPLETED if finite else DIVERGED, rounds, state)

  def _is_evaluated(self, rounds: int) -> bool:
    of_attack = (self.plan.attack_start_round, self.plan.attack_stop_round)
    return rounds % self.evaluate_every == 0 or rounds in of_attack

  def _round(
    self, rounds: int, state: Any, row: history.Row
  ) -> tff.learning.templates.LearningProcessOutput:
    """Runs one round and fills its row."""
    cohort = self.cohort_of(rounds)
    attack_is_on = self.plan.attack_is_active(rounds)
    members = zip(cohort.client_ids.tolist(), cohort.is_byzantine.tolist(), strict=True)
    begin = time.monotonic()
    values = [self.client_value(*member, attack_is_on) for member in members]
    output = self.process.next(state, values)
    row['round_seconds'] = round(time.monotonic() - begin, 4)
    row.update(
      history.round_cells(
        output.metrics,
        cohort,
        attack_is_on=attack_is_on,
        certificate=self.certificate,
      )
    )
    return output

  def _release_final(
    self, rounds: int, weights: Any, release: Callable[[Mapping[str, history.Cell]], None]
  ) -> bool:
    """Releases the row of the final model; tells whether its losses are numbers."""
    row = history.blank_row(rounds, self.plan.server_epoch(rounds))
    row.update(self.evaluate(weights))
    release(row)
    return _losses_are_finite(row)


def _losses_are_finite(row: Mapping[str, history.Cell]) -> bool:
  losses: Sequence[history.Cell] = [row['validation_loss'], row['test_loss']]
  return all(loss is None or math.isfinite(float(loss)) for loss in losses)


def _is_diverged(metrics: Mapping[str, Any]) -> bool:
  """Tells whether every honest message of a round held a NaN or an infinity."""
  observed = metrics['aggregator']['observer']
  num_honest = int(observed['num_honest'])
  return num_honest > 0 and int(observed['num_honest_nonfinite']) == num_honest


def _weights_are_finite(weights: Any) -> bool:
  return all(bool(np.isfinite(leaf).all()) for leaf in tf.nest.flatten(weights))
