import dataclasses

import numpy as np
import pytest

from computations import learning_process
from tff_robust import config
from tff_robust.attacks import attack_schedule
from tff_robust.program import certificates, cohorts, history
from tff_robust.testing import toy_problems

KRUM = config.AggregationConfig(aggregator='krum', options={'max_byzantine': 2})


def experiment(*, aggregation=KRUM, num_byzantine=0, epsilon=0.5, **training):
  training.setdefault('algorithm', 'fed_sgd')
  attack = config.AttackConfig()
  if num_byzantine:
    attack = config.AttackConfig(
      attack='inner_product_manipulation',
      options={'attack_epsilon': epsilon},
      num_byzantine=num_byzantine,
    )
  return config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(num_clients=8),
    training=config.TrainingConfig(num_rounds=1, clients_per_round=8, batch_size=12, **training),
    aggregation=aggregation,
    attack=attack,
  )


def train(experiment_config, num_rounds, problem, num_byzantine=0, **options):
  process = learning_process.build_learning_process(
    experiment_config, model=toy_problems.softmax_regression(), **options
  )
  state, metrics = process.initialize(), []
  for _ in range(num_rounds):
    output = process.next(state, toy_problems.cohort(problem, num_byzantine=num_byzantine))
    state = output.state
    metrics.append(output.metrics)
  weights = process.get_model_weights(state).trainable
  return np.concatenate([np.ravel(leaf) for leaf in weights]), metrics


def accuracy(flat, problem):
  x, y = problem.x.reshape(-1, 4), problem.y.ravel()
  return np.mean(np.argmax(x @ flat[:12].reshape(4, 3) + flat[12:], axis=1) == y)


def mean_gradients(problem):
  """Each client's gradient of the mean cross-entropy at zero weights, [clients, 15]."""
  rows = []
  for x, y in zip(problem.x.astype(np.float64), problem.y, strict=True):
    error = np.full((len(y), 3), 1 / 3)
    error[np.arange(len(y)), y] -= 1
    rows.append(np.concatenate([(x.T @ error).ravel(), error.sum(axis=0)]) / len(y))
  return np.array(rows)


def test_type_signature_of_a_private_attacked_krum_process():
  process = learning_process.build_learning_process(
    experiment(num_byzantine=2), model=toy_problems.softmax_regression()
  )
  state = (
    'global_model_weights=<trainable=<float32[4,3],float32[3]>,non_trainable=<>>,'
    'distributor=<>,'
    'client_work=<honest=<seed=int64[2],round=int64>,clean=<>,'
    'adversary=<memory=<>,seed=int64[2],round=int64>>,'
    'aggregator=<rule=<>,seed=int64[2],round=int64>,'
    'finalizer=<learning_rate=float32>'
  )
  metrics = (
    'distributor=<>,client_work=<loss_sum=float32,num_examples=float32>,'
    'aggregator=<rule=<num_nonfinite=int32,round_rejected=bool,selected=bool[?],'
    'score_gap=float64,client_ids=int64[?]>,'
    'observer=<signal_to_noise_ratio=float64,cosine_to_honest_mean=float64,'
    'aggregate_norm=float64,honest_mean_norm=float64,measured_kappa=float64,num_honest=int32,'
    'num_honest_nonfinite=int32,num_byzantine=int32,gram=float64[?,?]>>,'
    'finalizer=<update_non_finite=int32>'
  )
  assert str(process.next.type_signature) == (
    f'(<state=<{state}>@SERVER,client_data={{<examples=<x=float32[4],y=int32>*,'
    'identity=<client_id=int64,is_byzantine=bool>*>}@CLIENTS> -> '
    f'<state=<{state}>@SERVER,metrics=<{metrics}>@SERVER>)'
  )


def test_krum_round_subtracts_the_selected_clients_gradient():
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12)
  flat, metrics = train(experiment(server_learning_rate=0.5), 1, problem)
  gradients = mean_gradients(problem)
  distances = ((gradients[:, None] - gradients[None]) ** 2).sum(axis=2)
  np.fill_diagonal(distances, np.inf)
  winner = int(np.argmin(np.sort(distances, axis=1)[:, :4].sum(axis=1)))
  np.testing.assert_allclose(flat, -0.5 * gradients[winner], atol=1e-6)
  rule = metrics[0]['aggregator']['rule']
  assert rule['client_ids'].tolist() == list(range(8))
  assert np.flatnonzero(rule['selected']).tolist() == [winner]


def test_mean_weighs_clients_by_their_examples():
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12)
  process = learning_process.build_learning_process(
    experiment(aggregation=config.AggregationConfig(), server_learning_rate=1.0),
    model=toy_problems.softmax_regression(),
  )
  # Three clients with 2, 4 and 6 examples: weights 1/6, 1/3 and 1/2.
  sizes = [2, 4, 6]
  values = [
    toy_problems.client_value(problem.x[index, :size], problem.y[index, :size], client_id=index)
    for index, size in enumerate(sizes)
  ]
  output = process.next(process.initialize(), values)
  trained = process.get_model_weights(output.state).trainable
  flat = np.concatenate([np.ravel(leaf) for leaf in trained])
  rows = [
    mean_gradients(toy_problems.Blobs(problem.x[[index], :size], problem.y[[index], :size]))[0]
    for index, size in enumerate(sizes)
  ]
  np.testing.assert_allclose(flat, -np.average(rows, axis=0, weights=sizes), atol=1e-6)
  assert np.abs(flat + np.mean(rows, axis=0)).max() > 1e-3


def test_order_in_which_clients_answer_changes_nothing():
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12)
  process = learning_process.build_learning_process(
    experiment(num_byzantine=2), model=toy_problems.softmax_regression()
  )
  values, state = toy_problems.cohort(problem, num_byzantine=2), process.initialize()
  forward, backward = process.next(state, values), process.next(state, values[::-1])
  for one, other in zip(
    process.get_model_weights(forward.state).trainable,
    process.get_model_weights(backward.state).trainable,
    strict=True,
  ):
    np.testing.assert_array_equal(one, other)
  rules = [output.metrics['aggregator']['rule'] for output in (forward, backward)]
  assert rules[0]['selected'].tolist() == rules[1]['selected'].tolist()


RATES = {
  'fed_sgd': {'algorithm': 'fed_sgd', 'server_learning_rate': 0.3},
  'fed_avg': {'algorithm': 'fed_avg', 'client_learning_rate': 0.3},
}


@pytest.mark.parametrize('rates', RATES.values(), ids=RATES.keys())
def test_small_manipulation_captures_krum_and_the_mean_survives_it(rates):
  # Noisy, alike clients: the signal is weak against the spread, so Krum is captured.
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12, spread=1.0)
  attacked, metrics = train(
    experiment(num_byzantine=2, epsilon=0.3, **rates), 12, problem, num_byzantine=2
  )
  mean = experiment(num_byzantine=2, epsilon=0.3, aggregation=config.AggregationConfig(), **rates)
  averaged, _ = train(mean, 12, problem, num_byzantine=2)
  captured = [bool(m['aggregator']['rule']['selected'][:2].any()) for m in metrics]
  cosines = [float(m['aggregator']['observer']['cosine_to_honest_mean']) for m in metrics]
  assert np.mean(captured) > 0.7
  assert np.mean(cosines) < -0.5
  assert accuracy(attacked, problem) < 1 / 4
  assert accuracy(averaged, problem) > 1 / 2


def test_certificate_says_in_every_round_whether_krum_selects_an_attacker():
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12, spread=1.0)
  outcomes = []
  for epsilon, knowledge in (
    (0.3, 'honest_messages'),
    (1.6, 'honest_messages'),
    (1.0, 'own_clean'),
  ):
    chosen = experiment(num_byzantine=2, epsilon=epsilon, **RATES['fed_sgd'])
    attack = dataclasses.replace(chosen.attack, knowledge=knowledge)
    chosen = dataclasses.replace(chosen, attack=attack)
    certificate = certificates.build_certificate(chosen)
    _, metrics = train(chosen, 12, problem, num_byzantine=2)
    cohort = cohorts.Cohort(np.arange(8), np.arange(8) < 2)
    for found in metrics:
      cells = history.round_cells(found, cohort, attack_is_on=True, certificate=certificate)
      outcomes.append((cells['predicted_selected'], cells['selected_byzantine_share']))
      if knowledge == 'honest_messages' and cells['predicted_selected']:
        assert cells['breaking_epsilon_exact'] > epsilon
  assert all(predicted == share for predicted, share in outcomes)
  assert 5 < sum(predicted for predicted, _ in outcomes) < 31


def test_krum_learns_when_nobody_lies():
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12, spread=1.0)
  honest, metrics = train(experiment(**RATES['fed_sgd']), 12, problem)
  assert 'gram' not in metrics[0]['aggregator']['observer']
  assert accuracy(honest, problem) > 1 / 2
  cosines = [float(m['aggregator']['observer']['cosine_to_honest_mean']) for m in metrics]
  assert min(cosines) > 0


def test_preaggregators_come_before_the_rule():
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12)
  mixed = config.AggregationConfig(
    aggregator='krum', preaggregators=['nearest_neighbor_mixing'], options={'max_byzantine': 2}
  )
  flat, metrics = train(experiment(aggregation=mixed, server_learning_rate=1.0), 1, problem)
  gradients = mean_gradients(problem)
  distances = ((gradients[:, None] - gradients[None]) ** 2).sum(axis=2)
  # Each row becomes the mean of the 6 rows nearest to it, itself included.
  rows = gradients[np.argsort(distances, axis=1, kind='stable')[:, :6]].mean(axis=1)
  winner = np.flatnonzero(metrics[0]['aggregator']['rule']['selected'])
  assert len(winner) == 1
  np.testing.assert_allclose(flat, -rows[winner[0]], atol=1e-6)


def test_attack_starts_at_the_given_round():
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12, spread=1.5)
  _, metrics = train(
    experiment(num_byzantine=2, epsilon=0.3),
    4,
    problem,
    num_byzantine=2,
    schedule=attack_schedule.AttackSchedule(start_round=2),
  )
  cosines = [float(m['aggregator']['observer']['cosine_to_honest_mean']) for m in metrics]
  assert min(cosines[:2]) > 0
  assert max(cosines[2:]) < 0


@pytest.mark.parametrize('knowledge', ['own_messages', 'own_clean'])
def test_constrained_attackers_scale_what_they_trained_near_the_model(knowledge):
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12)
  base = experiment(
    aggregation=config.AggregationConfig(aggregator='mean'),
    algorithm='fed_avg',
    local_epochs=5,
    client_learning_rate=0.3,
  )

  def norms(**options):
    attack = config.AttackConfig(
      attack='model_replacement',
      options={'attack_scale': 8.0, **options},
      num_byzantine=1,
      knowledge=knowledge,
    )
    schedule = attack_schedule.AttackSchedule(start_round=1)
    attacked = dataclasses.replace(base, attack=attack)
    _, metrics = train(attacked, 2, problem, num_byzantine=1, schedule=schedule)
    return [float(m['aggregator']['observer']['aggregate_norm']) for m in metrics]

  (before, unconstrained), (same, constrained) = norms(), norms(attack_anomaly_weight=0.7)
  assert before == same
  # One attacker's row, eight times what it trained, is about all that the mean moves.
  assert constrained < 0.6 * unconstrained


def test_round_with_too_many_diverged_clients_leaves_the_model_and_says_so():
  problem = toy_problems.blobs(num_clients=8, examples_per_client=12)
  problem.x[:3, 0, 0] = np.nan
  flat, metrics = train(experiment(), 1, problem)
  np.testing.assert_array_equal(flat, np.zeros(15))
  assert bool(metrics[0]['aggregator']['rule']['round_rejected'])
  assert metrics[0]['aggregator']['rule']['num_nonfinite'] == 3
  assert metrics[0]['aggregator']['observer']['num_honest_nonfinite'] == 3
