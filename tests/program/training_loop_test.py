"""The loop around a process that is a few lines of NumPy, with TFF's managers."""

import collections
import io
import os
import pathlib
import signal
import types

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_robust.attacks import attack_schedule
from tff_robust.program import (
  checkpoints,
  cohorts,
  history,
  interruption,
  progress,
  releases,
  schedule,
  training_loop,
)

SAMPLER = cohorts.CohortSampler(seed=1, num_clients=10, clients_per_round=5, num_byzantine=2)


FROM_FIVE = attack_schedule.AttackSchedule(5)


class FakeProcess:
  """Adds the mean client id of the cohort to one weight; selects the smallest id."""

  def __init__(self, *, on_round=lambda round_number: None, honest_nonfinite_from=None):
    self.on_round = on_round
    self.honest_nonfinite_from = honest_nonfinite_from
    self.rounds_run = []

  def initialize(self):
    weights = tff.learning.models.ModelWeights((np.zeros(3, np.float32),), ())
    return tff.learning.templates.LearningAlgorithmState(
      weights, (), (), collections.OrderedDict(round=np.int64(0)), ()
    )

  def get_model_weights(self, state):
    return state.global_model_weights

  def next(self, state, data):
    round_number = int(state.aggregator['round'])
    self.rounds_run.append(round_number)
    step = self.on_round(round_number) or np.float32(np.mean([client_id for client_id, _ in data]))
    weights = tff.learning.models.ModelWeights(
      (state.global_model_weights.trainable[0] + step,), ()
    )
    ids = np.array([client_id for client_id, _ in data])
    lost = self.honest_nonfinite_from is not None and round_number >= self.honest_nonfinite_from
    metrics = {
      'client_work': {'loss_sum': np.float32(round_number), 'num_examples': np.float32(2)},
      'aggregator': {
        'rule': {
          'num_nonfinite': np.int32(0),
          'round_rejected': np.bool_(lost),
          'client_ids': ids,
          'selected': ids == ids.min(),
          'score_gap': np.float64(1),
        },
        'observer': {
          'signal_to_noise_ratio': np.float64('nan'),
          'cosine_to_honest_mean': np.float64(1),
          'aggregate_norm': np.float64(1),
          'honest_mean_norm': np.float64(1),
          'measured_kappa': np.float64(0),
          'num_honest': np.int32(3),
          'num_honest_nonfinite': np.int32(3 * lost),
        },
      },
    }
    following = collections.OrderedDict(round=np.int64(round_number + 1))
    return tff.learning.templates.LearningProcessOutput(
      state._replace(global_model_weights=weights, aggregator=following), metrics
    )


def evaluate(weights):
  value = float(weights.trainable[0][0])
  return {
    'validation_accuracy': 0.5,
    'validation_loss': value,
    'test_accuracy': 0.25,
    'test_loss': value,
  }


def run(folder, process=None, *, num_rounds=8, attack=FROM_FIVE, every=3):
  folder = pathlib.Path(folder)
  process = process or FakeProcess()
  loop = training_loop.TrainingLoop(
    process=process,
    plan=schedule.Schedule(num_rounds, 2.0, attack),
    cohort_of=SAMPLER.cohort,
    client_value=lambda client_id, is_byzantine, attack_is_on: (client_id, attack_is_on),
    evaluate=evaluate,
    saved=checkpoints.Checkpoints(folder / 'checkpoints', keep=2),
    evaluate_every=every,
    checkpoint_every=3,
  )
  rounds, state = loop.start()
  history.keep_before(folder / history.FILE_NAME, rounds)
  with interruption.Interruption() as stop:
    shown = progress.Progress(num_rounds, first_round=rounds, stream=io.StringIO())
    outcome = loop.run(
      rounds, state, release=releases.open_releases(folder), shown=shown, stop=stop
    )
  return types.SimpleNamespace(
    outcome=outcome,
    first_round=rounds,
    rows=history.read(folder / history.FILE_NAME),
    process=process,
  )


def without_timing(rows):
  kept = [{k: v for k, v in row.items() if k not in history.TIMING_COLUMNS} for row in rows]
  return repr(kept)  # In which a NaN equals a NaN.


def saved_rounds(folder):
  return sorted(int(path.name.split('_')[-1]) for path in (folder / 'checkpoints').iterdir())


def test_a_whole_run_is_told_row_by_row(tmp_path):
  result = run(tmp_path)
  assert result.outcome.status == training_loop.COMPLETED
  assert result.outcome.rounds == 8
  assert [row['round'] for row in result.rows] == list(range(9))
  assert [row['server_epoch'] for row in result.rows][:3] == [0.0, 0.5, 1.0]
  # Every third round, the model that enters the first attacked round, and the final model.
  evaluated = [row['round'] for row in result.rows if row['test_loss'] is not None]
  assert evaluated == [0, 3, 5, 6, 8]
  assert result.rows[0]['test_loss'] == 0.0
  assert result.rows[3]['test_loss'] == pytest.approx(
    sum(SAMPLER.cohort(r).client_ids.mean() for r in range(3)), rel=1e-6
  )
  assert [row['attack_active'] for row in result.rows] == [0] * 5 + [1] * 3 + [None]
  assert result.rows[4]['train_loss'] == 2.0
  assert result.rows[8]['train_loss'] is None
  assert tuple(result.rows[0]) == history.COLUMNS


def test_an_attack_that_pauses_and_ends_is_told(tmp_path):
  result = run(tmp_path, attack=attack_schedule.AttackSchedule(1, 5, every=2))
  assert [row['attack_active'] for row in result.rows[:8]] == [0, 1, 0, 1, 0, 0, 0, 0]
  evaluated = [row['round'] for row in result.rows if row['test_loss'] is not None]
  assert evaluated == [0, 1, 3, 5, 6, 8]


def test_clients_are_asked_for_their_values_with_the_state_of_the_attack(tmp_path):
  process = FakeProcess()
  states = []
  following = process.next
  process.next = lambda state, data: (
    states.append({on for _, on in data}),
    following(state, data),
  )[1]
  run(tmp_path, process, attack=attack_schedule.AttackSchedule(1, 5, every=2))
  assert states == [{False}, {True}, {False}, {True}, {False}, {False}, {False}, {False}]


def test_two_runs_have_the_same_history(tmp_path):
  first, second = run(tmp_path / 'a'), run(tmp_path / 'b')
  assert without_timing(first.rows) == without_timing(second.rows)


def test_a_few_checkpoints_are_kept_and_the_last_round_is_one(tmp_path):
  run(tmp_path)
  assert saved_rounds(tmp_path) == [6, 8]


class KilledError(BaseException):
  """No `Exception`: what is killed saves nothing."""


def killing(round_number):
  def on_round(current):
    if current == round_number:
      raise KilledError

  return FakeProcess(on_round=on_round)


def test_a_round_that_fails_leaves_what_the_rounds_before_it_computed(tmp_path):
  whole = run(tmp_path / 'whole')

  def fail_in_five(round_number):
    if round_number == 5:
      raise RuntimeError('out of memory')

  with pytest.raises(RuntimeError, match='out of memory'):
    run(tmp_path / 'failed', FakeProcess(on_round=fail_in_five))
  assert saved_rounds(tmp_path / 'failed')[-1] == 5
  resumed = run(tmp_path / 'failed')
  assert resumed.process.rounds_run == [5, 6, 7]
  assert without_timing(resumed.rows) == without_timing(whole.rows)


@pytest.mark.parametrize('killed_in', [0, 2, 3, 5, 7])
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, killed_in):
  whole = run(tmp_path / 'whole')
  with pytest.raises(KilledError):
    run(tmp_path / 'killed', killing(killed_in))
  resumed = run(tmp_path / 'killed')
  assert resumed.first_round == killed_in // 3 * 3
  assert resumed.process.rounds_run == list(range(resumed.first_round, 8))
  assert without_timing(resumed.rows) == without_timing(whole.rows)
  np.testing.assert_array_equal(
    resumed.outcome.state.global_model_weights.trainable[0],
    whole.outcome.state.global_model_weights.trainable[0],
  )


def test_a_completed_run_that_is_resumed_changes_nothing(tmp_path):
  whole = run(tmp_path)
  again = run(tmp_path)
  assert again.process.rounds_run == []
  assert without_timing(again.rows) == without_timing(whole.rows)


def test_a_damaged_checkpoint_is_set_aside_for_an_older_one(tmp_path):
  whole = run(tmp_path)
  damaged = tmp_path / 'checkpoints' / 'state_after_round_8'
  (damaged / 'saved_model.pb').write_bytes(b'')
  (tmp_path / 'checkpoints' / 'state_after_round_9_temp1234').mkdir()
  again = run(tmp_path)
  assert again.first_round == 6
  assert without_timing(again.rows) == without_timing(whole.rows)
  assert saved_rounds(tmp_path) == [6, 8, 8]


def test_no_readable_checkpoint_at_all_is_an_error_that_removes_nothing(tmp_path):
  run(tmp_path)
  for path in (tmp_path / 'checkpoints').iterdir():
    (path / 'saved_model.pb').write_bytes(b'')
  with pytest.raises(ValueError, match=r'none of the checkpoints in .* can be read'):
    run(tmp_path)
  assert saved_rounds(tmp_path) == [6, 8]


def test_weights_that_are_no_numbers_end_the_run_as_diverged(tmp_path):
  process = FakeProcess(on_round=lambda r: np.float32('inf') if r == 4 else None)
  result = run(tmp_path, process)
  assert result.outcome.status == training_loop.DIVERGED
  assert result.outcome.rounds == 5
  assert [row['round'] for row in result.rows] == list(range(6))
  assert np.isinf(result.rows[-1]['test_loss'])
  assert saved_rounds(tmp_path) == [3]


def test_honest_messages_that_are_no_numbers_end_the_run_as_diverged(tmp_path):
  result = run(tmp_path, FakeProcess(honest_nonfinite_from=3))
  assert result.outcome.status == training_loop.DIVERGED
  assert result.outcome.rounds == 4
  assert result.rows[3]['round_rejected'] == 1
  assert result.rows[4]['test_loss'] is not None


def test_a_diverged_run_diverges_again_when_it_is_resumed(tmp_path):
  first = run(tmp_path, FakeProcess(honest_nonfinite_from=4))
  second = run(tmp_path, FakeProcess(honest_nonfinite_from=4))
  assert second.process.rounds_run == [3, 4]
  assert second.outcome.status == training_loop.DIVERGED
  assert without_timing(first.rows) == without_timing(second.rows)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_round_with_a_checkpoint(tmp_path, number):
  def on_round(round_number):
    if round_number == 4:
      os.kill(os.getpid(), number)

  result = run(tmp_path / 'stopped', FakeProcess(on_round=on_round))
  assert result.outcome.status == training_loop.INTERRUPTED
  assert result.outcome.rounds == 5
  assert [row['round'] for row in result.rows] == list(range(5))
  resumed = run(tmp_path / 'stopped')
  assert resumed.first_round == 5
  assert without_timing(resumed.rows) == without_timing(run(tmp_path / 'whole').rows)


def test_a_signal_in_the_last_round_leaves_a_completed_run(tmp_path):
  def on_round(round_number):
    if round_number == 7:
      os.kill(os.getpid(), signal.SIGINT)

  result = run(tmp_path, FakeProcess(on_round=on_round))
  assert result.outcome.status == training_loop.COMPLETED
  assert len(result.rows) == 9


def test_tensorboard_gets_the_numbers(tmp_path):
  run(tmp_path)
  events = b''.join(path.read_bytes() for path in (tmp_path / 'tensorboard').iterdir())
  assert b'train_loss' in events
  assert b'selected_client_ids' not in events
