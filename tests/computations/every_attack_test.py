"""Without Byzantine clients every attack changes nothing, through the federated wrapper as well."""

import numpy as np
import pytest
import tensorflow_federated as tff

from computations import byzantine_client_work, dp_client_work, local_training
from tff_robust import registry
from tff_robust.attacks import attack_schedule
from tff_robust.testing import attack_trial, toy_problems

BY_MESSAGES = [name for name, entry in registry.ATTACKS.items() if not entry.by_data]
NUM_CLIENTS = 5


def _honest_work():
  return dp_client_work.build_dp_client_work(
    toy_problems.softmax_regression(),
    training=local_training.LocalTraining(algorithm='fed_sgd', batch_size=5),
    mechanism=None,
    seed=1,
  )


def _messages(work, num_byzantine):
  """Returns the messages [clients, d] of two rounds at unchanged weights."""
  problem = toy_problems.blobs(num_clients=NUM_CLIENTS, examples_per_client=10)
  values = toy_problems.cohort(problem, num_byzantine=num_byzantine)
  initial = tff.learning.models.ModelWeights(
    [np.zeros([4, 3], np.float32), np.zeros([3], np.float32)], []
  )
  state, rounds = work.initialize(), []
  for _ in range(2):
    output = work.next(state, [initial] * NUM_CLIENTS, values)
    rounds.append(np.array([result.update['message'] for result in output.result]))
    state = output.state
  return np.array(rounds)


@pytest.fixture(scope='module')
def honest():
  return _messages(_honest_work(), 0)


@pytest.mark.slow
@pytest.mark.parametrize('name', BY_MESSAGES)
def test_an_attack_without_attackers_changes_nothing_and_with_some_only_their_rows(name, honest):
  trial = attack_trial.AttackTrial(name)
  work = byzantine_client_work.build_byzantine_client_work(
    _honest_work(),
    attack=trial.built,
    knowledge=trial.entry.knowledge[0],
    schedule=attack_schedule.AttackSchedule(),
    seed=1,
  )
  np.testing.assert_array_equal(_messages(work, 0), honest)
  attacked = _messages(work, 2)
  np.testing.assert_array_equal(attacked[:, 2:], honest[:, 2:])
  assert (attacked[:, :2] != honest[:, :2]).any()
