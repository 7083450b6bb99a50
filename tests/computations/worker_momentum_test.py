import functools

import numpy as np
import pytest
import tensorflow_federated as tff

from computations import (
  byzantine_client_work,
  dp_client_work,
  learning_process,
  local_training,
  observation,
  worker_momentum,
)
from tff_robust import config
from tff_robust.attacks import attack_schedule, inner_product_manipulation
from tff_robust.privacy import dp_gradient
from tff_robust.runtime import accelerated, native
from tff_robust.testing import toy_problems

NUM_CLIENTS, BETA, DIMENSION = 6, 0.75, 15


# Built once: most of the time goes into building and compiling.
@functools.cache
def honest_work(noise_multiplier=1.0):
  return dp_client_work.build_dp_client_work(
    toy_problems.softmax_regression(),
    training=local_training.LocalTraining(algorithm='fed_sgd', batch_size=6),
    mechanism=dp_gradient.GradientMechanism(
      l2_norm_clip=1.0, noise_multiplier=noise_multiplier, expected_batch_size=6
    ),
    seed=1,
  )


@functools.cache
def wrap(noise_multiplier=1.0, momentum=BETA):
  return worker_momentum.build_worker_momentum(
    honest_work(noise_multiplier), num_clients=NUM_CLIENTS, momentum=momentum
  )


def run(work, cohorts, *, num_byzantine=0, spoiled=(), same_data=False):
  """Returns the messages [clients, d] of each round, and the last state.

  Args:
    work: Client work.
    cohorts: Client ids of each round.
    num_byzantine: Clients with a smaller id are Byzantine.
    spoiled: Pairs (round, client) whose data hold an infinity.
    same_data: Whether all clients hold the data of the first.
  """
  problem = toy_problems.blobs(num_clients=NUM_CLIENTS, examples_per_client=12)
  initial = tff.learning.models.ModelWeights(
    [np.zeros([4, 3], np.float32), np.zeros([3], np.float32)], []
  )

  def value(round_number, client):
    holder = 0 if same_data else client
    x = problem.x[holder].copy()
    if (round_number, client) in spoiled:
      x[:, 0] = np.inf
    return toy_problems.client_value(
      x, problem.y[holder], client_id=client, is_byzantine=client < num_byzantine
    )

  state, rounds = work.initialize(), []
  for round_number, cohort in enumerate(cohorts):
    values = [value(round_number, client) for client in cohort]
    output = work.next(state, [initial] * len(cohort), values)
    rounds.append(np.array([result.update['message'] for result in output.result]))
    state = output.state
  return rounds, state


EVERYBODY = list(range(NUM_CLIENTS))
COHORTS = [[0, 1, 2], [4, 1, 5], [2, 1, 0], [5, 4, 3]]


def test_type_signature():
  weights_text = 'trainable=<float32[4,3],float32[3]>,non_trainable=<>'
  state_text = '<work=<seed=int64[2],round=int64>,momenta=float32[6,15]>@SERVER'
  assert str(wrap().next.type_signature) == (
    f'(<state={state_text},weights={{<{weights_text}>}}@CLIENTS,'
    'values={<examples=<x=float32[4],y=int32>*,'
    'identity=<client_id=int64,is_byzantine=bool>*>}@CLIENTS> -> '
    f'<state={state_text},'
    'result={<update=<message=float32[15],client_id=int64,is_byzantine=bool>,'
    'update_weight=float32>}@CLIENTS,'
    'measurements=<loss_sum=float32,num_examples=float32>@SERVER>)'
  )


@pytest.mark.parametrize('runtime', ['native', 'accelerated'])
def test_equals_the_recursion_in_cohorts_that_change(runtime):
  build = {'native': native.native_context, 'accelerated': accelerated.accelerated_context}
  with build[runtime]() as context, tff.framework.get_context_stack().install(context):
    gradients, _ = run(honest_work(), COHORTS)
    sent, state = run(wrap(), COHORTS)
  momenta = np.zeros([NUM_CLIENTS, DIMENSION])
  for cohort, plain, found in zip(COHORTS, gradients, sent, strict=True):
    for client, gradient, message in zip(cohort, plain, found, strict=True):
      momenta[client] = BETA * momenta[client] + (1 - BETA) * gradient
      np.testing.assert_allclose(message, momenta[client], atol=1e-6)
  np.testing.assert_allclose(state['momenta'], momenta, atol=1e-6)
  # A control: nobody who takes part twice sends a share of the gradient alone.
  assert np.abs(sent[2] - (1 - BETA) * gradients[2]).max(axis=1).min() > 1e-3


def test_no_momentum_changes_no_bit():
  plain, _ = run(honest_work(), COHORTS)
  found, _ = run(wrap(momentum=0.0), COHORTS)
  np.testing.assert_array_equal(np.array(found), np.array(plain))


@pytest.mark.parametrize('knowledge', ['honest_messages', 'own_clean'])
def test_attackers_see_momenta(knowledge):
  sees_clean = knowledge.endswith('_clean')
  attacked = byzantine_client_work.build_byzantine_client_work(
    wrap(),
    attack=inner_product_manipulation.build_inner_product_manipulation(epsilon=0.5),
    knowledge=knowledge,
    schedule=attack_schedule.AttackSchedule(),
    seed=1,
    clean_work=wrap(0.0) if sees_clean else None,
  )
  cohorts = [EVERYBODY] * 3
  lies, _ = run(attacked, cohorts, num_byzantine=2)
  seen, _ = run(wrap(0.0 if sees_clean else 1.0), cohorts)
  honest, _ = run(wrap(), cohorts)
  for lie, view, truth in zip(lies, seen, honest, strict=True):
    known = view[:2] if sees_clean else view[2:]
    expected = -0.5 * known.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(lie[:2], np.tile(expected, [2, 1]), atol=1e-6)
    np.testing.assert_array_equal(lie[2:], truth[2:])


def test_diverged_round_is_sent_as_it_is_and_then_forgotten():
  cohorts = [[0, 1]] * 3
  sent, _ = run(wrap(), cohorts, spoiled=[(1, 0)])
  gradients, _ = run(honest_work(), cohorts)
  assert not np.isfinite(sent[1][0]).any()
  first, third = gradients[0][0], gradients[2][0]
  expected = BETA * (1 - BETA) * first + (1 - BETA) * third
  np.testing.assert_allclose(sent[2][0], expected, atol=1e-6)
  undisturbed, _ = run(wrap(), cohorts)
  for found, other in zip(sent, undisturbed, strict=True):
    np.testing.assert_array_equal(found[1], other[1])


def test_signal_to_noise_ratio_rises_as_predicted():
  # Full batches of the same data at weights that stay: gradients are constant, noise is not.
  cohorts = [EVERYBODY] * 60

  def ratio(work):
    rounds, _ = run(work, cohorts, same_data=True)
    seen = [observation.observe(rows, np.zeros(len(rows), bool), rows[0]) for rows in rounds[20:]]
    return np.mean([measured['signal_to_noise_ratio'] for measured in seen])

  gain = ratio(wrap()) / ratio(honest_work())
  predicted = (1 + BETA) / (1 - BETA)
  assert predicted / 1.6 < gain < predicted * 1.6


def test_ids_beyond_the_table_are_refused():
  small = worker_momentum.build_worker_momentum(honest_work(), num_clients=2, momentum=BETA)
  with pytest.raises(Exception, match='client ids must be below num_clients=2'):
    run(small, [[0, 1, 2]])


def test_momentum_of_one_is_refused():
  with pytest.raises(ValueError, match=r'worker_momentum=1.0 must be at least 0 and below 1'):
    wrap(momentum=1.0)


def test_learning_process_sends_momenta_to_rule_and_adversary():
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12)
  experiment = config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(num_clients=8),
    training=config.TrainingConfig(
      num_rounds=1,
      clients_per_round=8,
      batch_size=12,
      algorithm='fed_sgd',
      server_learning_rate=1.0,
      worker_momentum=0.75,
    ),
    attack=config.AttackConfig(
      attack='inner_product_manipulation',
      options={'attack_epsilon': 1.0},
      num_byzantine=2,
      knowledge='honest_clean',
    ),
  )
  process = learning_process.build_learning_process(
    experiment, model=toy_problems.softmax_regression()
  )
  output = process.next(process.initialize(), toy_problems.cohort(problem, num_byzantine=2))
  kernel = process.get_model_weights(output.state).trainable[0]
  # Six honest rows, and two that are minus their mean: half of the mean is left.
  gradients = []
  for x, y in zip(problem.x[2:], problem.y[2:], strict=True):
    error = np.full([12, 3], 1 / 3)
    error[np.arange(12), y] -= 1
    gradients.append(x.T @ error / 12)
  np.testing.assert_allclose(kernel, -0.5 * 0.25 * np.mean(gradients, axis=0), atol=1e-6)
  for part in ('honest', 'clean'):
    np.testing.assert_allclose(
      output.state.client_work[part]['momenta'][2:, :12],
      0.25 * np.reshape(gradients, [6, 12]),
      atol=1e-6,
    )
