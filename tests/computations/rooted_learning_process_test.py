import numpy as np
import pytest
import tensorflow_federated as tff

from computations import learning_process, root_set
from tff_robust import config
from tff_robust.aggregators import fltrust
from tff_robust.runtime import accelerated
from tff_robust.testing import toy_problems

FLTRUST = config.AggregationConfig(aggregator='fltrust')
ZENO = config.AggregationConfig(aggregator='zeno', options={'max_byzantine': 3})
ROOTED = pytest.mark.parametrize('aggregation', [FLTRUST, ZENO], ids=['fltrust', 'zeno'])


def experiment(aggregation, *, num_byzantine=0, **training):
  training = {'algorithm': 'fed_sgd', 'batch_size': 12, 'server_learning_rate': 0.5, **training}
  attack = config.AttackConfig()
  if num_byzantine:
    attack = config.AttackConfig(
      attack='sign_flip', options={'attack_scale': 5.0}, num_byzantine=num_byzantine
    )
  return config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(num_clients=8),
    training=config.TrainingConfig(num_rounds=1, clients_per_round=8, **training),
    aggregation=aggregation,
    attack=attack,
  )


@pytest.fixture(scope='module')
def problem():
  return toy_problems.blobs(num_clients=8, examples_per_client=12)


@pytest.fixture(scope='module')
def root():
  found = toy_problems.blobs(num_clients=1, examples_per_client=12, seed=9)
  return root_set.RootSet(found.x[0], found.y[0])


def build(chosen, root):
  return learning_process.build_learning_process(
    chosen,
    model=toy_problems.softmax_regression(),
    root=root if chosen.aggregation.needs_root else None,
  )


def flat_weights(process, state):
  trainable = process.get_model_weights(state).trainable
  return np.concatenate([np.ravel(leaf) for leaf in trainable])


def train(chosen, num_rounds, problem, root, num_byzantine=0):
  process = build(chosen, root)
  state, metrics = process.initialize(), []
  for _ in range(num_rounds):
    state, found = process.next(state, toy_problems.cohort(problem, num_byzantine=num_byzantine))
    metrics.append(found)
  return flat_weights(process, state), metrics


def probabilities(flat, x):
  exponentials = np.exp(x.astype(np.float64) @ flat[:12].reshape(4, 3) + flat[12:])
  return exponentials / exponentials.sum(axis=1, keepdims=True)


def gradient(x, y):
  """The gradient of the mean cross-entropy at zero weights, [15]."""
  error = probabilities(np.zeros(15), x) - np.eye(3)[y]
  return np.concatenate([(x.T @ error).ravel(), error.sum(axis=0)]) / len(y)


def gradients(problem):
  return np.array([gradient(x, y) for x, y in zip(problem.x, problem.y, strict=True)])


def accuracy(flat, problem):
  chosen = probabilities(flat, problem.x.reshape(-1, 4)).argmax(axis=1)
  return np.mean(chosen == problem.y.ravel())


MEASURED = {
  'fltrust': 'num_nonfinite=int32,round_rejected=bool,trust=float64[?]',
  'zeno': 'num_nonfinite=int32,round_rejected=bool,selected=bool[?],score_gap=float64',
}


@ROOTED
def test_type_signature(aggregation, root):
  process = build(experiment(aggregation), root)
  state = (
    'global_model_weights=<trainable=<float32[4,3],float32[3]>,non_trainable=<>>,'
    'distributor=<>,client_work=<seed=int64[2],round=int64>,'
    'aggregator=<rule=<>,seed=int64[2],round=int64>,'
    'finalizer=<learning_rate=float32>'
  )
  metrics = (
    'distributor=<>,client_work=<loss_sum=float32,num_examples=float32>,'
    f'aggregator=<rule=<{MEASURED[aggregation.aggregator]},client_ids=int64[?]>,'
    'observer=<signal_to_noise_ratio=float64,cosine_to_honest_mean=float64,'
    'aggregate_norm=float64,honest_mean_norm=float64,measured_kappa=float64,num_honest=int32,'
    'num_honest_nonfinite=int32,num_byzantine=int32>>,'
    'finalizer=<update_non_finite=int32>'
  )
  assert str(process.next.type_signature) == (
    f'(<state=<{state}>@SERVER,client_data={{<examples=<x=float32[4],y=int32>*,'
    'identity=<client_id=int64,is_byzantine=bool>*>}@CLIENTS> -> '
    f'<state=<{state}>@SERVER,metrics=<{metrics}>@SERVER>)'
  )


def test_process_is_the_standard_one_but_for_what_the_rule_measures(root):
  rooted = build(experiment(FLTRUST), root)
  standard = build(experiment(config.AggregationConfig()), root)
  for name in ('initialize', 'get_model_weights', 'set_model_weights', 'get_hparams'):
    own, given = getattr(rooted, name).type_signature, getattr(standard, name).type_signature
    assert own == given
  state = rooted.initialize()
  assert isinstance(state, tff.learning.templates.LearningAlgorithmState)
  weights = rooted.get_model_weights(state)
  assert isinstance(weights, tff.learning.models.ModelWeights)
  moved = tff.learning.models.ModelWeights(
    [np.ones([4, 3], np.float32), np.full(3, 2, np.float32)], []
  )
  state = rooted.set_model_weights(state, moved)
  np.testing.assert_array_equal(flat_weights(rooted, state), [1] * 12 + [2] * 3)
  hparams = rooted.get_hparams(state)
  assert hparams['finalizer']['learning_rate'] == 0.5
  hparams['finalizer']['learning_rate'] = 0.25
  changed = rooted.get_hparams(rooted.set_hparams(state, hparams))
  assert changed['finalizer']['learning_rate'] == 0.25


def test_fltrust_round_subtracts_what_the_formula_says(problem, root):
  flat, metrics = train(experiment(FLTRUST, num_byzantine=3), 1, problem, root, num_byzantine=3)
  rows, direction = gradients(problem), gradient(*root)
  rows[:3] *= -5
  cosines = rows @ direction / np.linalg.norm(rows, axis=1) / np.linalg.norm(direction)
  trust = np.maximum(cosines, 0)
  unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
  expected = np.linalg.norm(direction) * trust @ unit / trust.sum()
  np.testing.assert_allclose(flat, -0.5 * expected, atol=1e-6)
  rule = metrics[0]['aggregator']['rule']
  np.testing.assert_allclose(rule['trust'], trust, atol=1e-5)
  assert (rule['trust'] > 0).tolist() == [False] * 3 + [True] * 5
  assert rule['client_ids'].tolist() == list(range(8))
  eager = fltrust.fltrust(rows.astype(np.float32), root_update=direction.astype(np.float32))
  np.testing.assert_allclose(flat, -0.5 * eager.numpy(), atol=1e-6)


def test_zeno_round_averages_the_clients_that_lower_the_loss_most(problem, root):
  flat, metrics = train(experiment(ZENO, num_byzantine=2), 1, problem, root, num_byzantine=2)
  rows = gradients(problem)
  rows[:2] *= -5
  labels = np.arange(12), root.y
  scores = [
    np.log(probabilities(-0.5 * row, root.x)[labels]).mean() - 0.5 / 200 * row @ row for row in rows
  ]
  best = np.sort(np.argsort(scores)[3:])
  assert not {0, 1} & set(best)
  np.testing.assert_allclose(flat, -0.5 * rows[best].mean(axis=0), atol=1e-6)
  rule = metrics[0]['aggregator']['rule']
  assert np.flatnonzero(rule['selected']).tolist() == best.tolist()
  np.testing.assert_allclose(rule['score_gap'], np.diff(np.sort(scores))[2], atol=1e-6)


RATES = {
  'fed_sgd': {'algorithm': 'fed_sgd', 'server_learning_rate': 0.5},
  'fed_avg': {'algorithm': 'fed_avg', 'client_learning_rate': 0.5, 'server_learning_rate': 1.0},
}


@pytest.mark.parametrize(
  'rates',
  [
    pytest.param(RATES['fed_sgd'], id='fed_sgd'),
    pytest.param(RATES['fed_avg'], id='fed_avg', marks=pytest.mark.slow),
  ],
)
def test_rooted_rules_learn_where_the_mean_is_turned_around(rates, problem, root):
  reached = {}
  for aggregation in (config.AggregationConfig(), FLTRUST, ZENO):
    chosen = experiment(aggregation, num_byzantine=3, **rates)
    flat, metrics = train(chosen, 8, problem, root, num_byzantine=3)
    cosines = [float(found['aggregator']['observer']['cosine_to_honest_mean']) for found in metrics]
    reached[aggregation.aggregator] = accuracy(flat, problem), np.mean(cosines)
  assert reached['mean'][0] < 1 / 3
  assert reached['mean'][1] < 0
  for name in ('fltrust', 'zeno'):
    assert reached[name][0] > 2 / 3
    assert reached[name][1] > 0.5


def test_order_in_which_clients_answer_changes_nothing(problem, root):
  process = build(experiment(ZENO, num_byzantine=2), root)
  values, state = toy_problems.cohort(problem, num_byzantine=2), process.initialize()
  forward, backward = process.next(state, values), process.next(state, values[::-1])
  np.testing.assert_array_equal(
    flat_weights(process, forward.state), flat_weights(process, backward.state)
  )


@ROOTED
def test_both_runtimes_agree(aggregation, problem, root):
  chosen = experiment(
    aggregation, num_byzantine=3, batch_size=5, algorithm='fed_avg', server_learning_rate=1.0
  )
  native, _ = train(chosen, 2, problem, root, num_byzantine=3)
  with (
    accelerated.accelerated_context(client_threads=2) as context,
    tff.framework.get_context_stack().install(context),
  ):
    in_process, _ = train(chosen, 2, problem, root, num_byzantine=3)
  np.testing.assert_allclose(in_process, native, atol=1e-5)
  assert np.linalg.norm(native) > 1e-2


def test_server_draws_other_batches_in_each_round(problem, root):
  # Clients whose gradients do not depend on the batch, and a server with small batches.
  chosen = experiment(FLTRUST, batch_size=4)
  x = np.repeat(problem.x[:, :1], 12, axis=1)
  same = toy_problems.Blobs(x, np.repeat(problem.y[:, :1], 12, axis=1))
  process = build(chosen, root)
  start = process.initialize()
  first = process.next(start, toy_problems.cohort(same))
  back = process.set_model_weights(first.state, process.get_model_weights(start))
  second = process.next(back, toy_problems.cohort(same))
  trust = [found.metrics['aggregator']['rule']['trust'] for found in (first, second)]
  assert np.abs(trust[0] - trust[1]).max() > 1e-2
  again = process.next(start, toy_problems.cohort(same))
  np.testing.assert_array_equal(again.metrics['aggregator']['rule']['trust'], trust[0])


def test_preaggregators_come_before_a_rooted_rule(problem, root):
  clipped = config.AggregationConfig(
    aggregator='zeno',
    preaggregators=['static_clipping'],
    options={'max_byzantine': 3, 'max_norm': 1e-3},
  )
  flat, metrics = train(experiment(clipped), 1, problem, root)
  rows = gradients(problem)
  rows *= 1e-3 / np.linalg.norm(rows, axis=1, keepdims=True)
  selected = metrics[0]['aggregator']['rule']['selected']
  assert selected.sum() == 5
  np.testing.assert_allclose(flat, -0.5 * rows[selected].mean(axis=0), atol=1e-8)


def test_round_without_trust_leaves_the_model_and_says_so(problem, root):
  flipped = experiment(FLTRUST, num_byzantine=8)
  flat, metrics = train(flipped, 1, problem, root, num_byzantine=8)
  np.testing.assert_array_equal(flat, np.zeros(15))
  assert bool(metrics[0]['aggregator']['rule']['round_rejected'])


def test_root_set_is_given_exactly_when_the_rule_looks_at_it(root):
  model = toy_problems.softmax_regression()
  with pytest.raises(ValueError, match="'fltrust' looks at a root set; give root"):
    learning_process.build_learning_process(experiment(FLTRUST), model=model)
  averaging = experiment(config.AggregationConfig())
  with pytest.raises(ValueError, match="root has no effect with rule 'mean'"):
    learning_process.build_learning_process(averaging, model=model, root=root)
