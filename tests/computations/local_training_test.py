import numpy as np
import pytest
import tensorflow as tf

from computations import local_training
from tff_robust.privacy import dp_gradient
from tff_robust.testing import toy_problems

SEED = np.array([3, 4], np.int64)
OTHER_SEED = np.array([5, 6], np.int64)


def softmax_gradient(kernel, bias, x, y):
  """Gradient of the mean cross-entropy in NumPy, flattened kernel first."""
  logits = x.astype(np.float64) @ kernel + bias
  exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
  error = exponentials / exponentials.sum(axis=1, keepdims=True)
  error[np.arange(len(y)), y] -= 1.0
  return np.concatenate([(x.T @ error).ravel(), error.sum(axis=0)]) / len(y)


def update(training, x, y, mechanism=None, kernel=None, bias=None, noise_seed=SEED, **penalty):
  model = toy_problems.softmax_regression()
  function = tf.function(
    local_training.build_client_update(model, training, mechanism), autograph=False
  )
  kernel = np.zeros([4, 3], np.float32) if kernel is None else kernel
  bias = np.zeros([3], np.float32) if bias is None else bias
  return function([tf.constant(kernel), tf.constant(bias)], x, y, SEED, noise_seed, **penalty)


def problem(examples=20):
  data = toy_problems.blobs(num_clients=1, examples_per_client=examples)
  return data.x[0], data.y[0]


def test_gradient_of_a_batch_that_holds_everything_is_the_full_gradient():
  x, y = problem()
  generator = np.random.default_rng(1)
  kernel = generator.standard_normal([4, 3]).astype(np.float32)
  bias = generator.standard_normal(3).astype(np.float32)
  training = local_training.LocalTraining(algorithm='fed_sgd', batch_size=20)
  result = update(training, x, y, kernel=kernel, bias=bias)
  np.testing.assert_allclose(result.message, softmax_gradient(kernel, bias, x, y), atol=1e-6)
  assert float(result.num_used) == 20


def test_local_epochs_are_steps_of_gradient_descent_from_the_broadcast_weights():
  x, y = problem()
  training = local_training.LocalTraining(
    algorithm='fed_avg', batch_size=20, local_epochs=3, learning_rate=0.5
  )
  result = update(training, x, y)
  flat = np.zeros(15)
  for _ in range(3):
    flat = flat - 0.5 * softmax_gradient(flat[:12].reshape(4, 3), flat[12:], x, y)
  np.testing.assert_allclose(result.message, -flat, atol=1e-6)
  assert float(result.num_used) == 60


def test_every_epoch_uses_every_example_exactly_once():
  batches = [
    np.asarray(local_training.shuffled_batch(tf.constant(10), 4, tf.constant(step, tf.int64), SEED))
    for step in range(6)
  ]
  assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
  first, second = np.concatenate(batches[:3]), np.concatenate(batches[3:])
  assert sorted(first) == list(range(10))
  assert sorted(second) == list(range(10))
  assert first.tolist() != second.tolist()


def test_poisson_batches_vary_in_size_around_the_expected_size():
  draw = tf.function(
    lambda step: local_training.poisson_batch(tf.constant(500), 10, step, tf.constant(SEED))
  )
  batches = [np.asarray(draw(tf.constant(step, tf.int64))) for step in range(400)]
  sizes = np.array([len(batch) for batch in batches])
  # Binomial(500, 0.02): mean 10, variance 9.8; 400 draws have standard error 0.157.
  assert abs(sizes.mean() - 10) < 5 * 0.157
  assert abs(sizes.var() / 9.8 - 1) < 0.5
  assert all(len(set(batch.tolist())) == len(batch) for batch in batches)
  joined = np.bincount(np.concatenate(batches), minlength=500)
  assert abs(joined.mean() - 8) < 0.7
  # Binomial(400, 0.02), for each of 500 examples: variance 7.84, and 30 are 7.9 deviations away.
  assert joined.max() < 30
  assert abs(joined.var() / 7.84 - 1) < 0.5


def test_poisson_sums_are_divided_by_the_expected_size():
  x, y = problem(4)
  # Rate min(1, 8 / 4) = 1: the sample is everything, and the divisor is 8 all the same.
  training = local_training.LocalTraining(
    algorithm='fed_sgd', batch_size=8, batch_sampling='poisson'
  )
  full = softmax_gradient(np.zeros((4, 3)), np.zeros(3), x, y)
  np.testing.assert_allclose(update(training, x, y).message, full / 2, atol=1e-6)
  shuffled = local_training.LocalTraining(algorithm='fed_sgd', batch_size=8)
  np.testing.assert_allclose(update(shuffled, x, y).message, full, atol=1e-6)


def test_an_anomaly_weight_keeps_the_model_near_the_broadcast_one():
  x, y = problem()
  generator = np.random.default_rng(1)
  kernel = generator.standard_normal([4, 3]).astype(np.float32)
  bias = generator.standard_normal(3).astype(np.float32)
  training = local_training.LocalTraining(
    algorithm='fed_avg', batch_size=20, local_epochs=4, learning_rate=0.25
  )
  initial = np.concatenate([kernel.ravel(), bias]).astype(np.float64)
  found = {
    weight: update(training, x, y, kernel=kernel, bias=bias, anomaly_weight=tf.constant(weight))
    for weight in (0.0, 0.3, 0.8)
  }
  for weight, result in found.items():
    flat = initial
    for _ in range(4):
      gradient = softmax_gradient(flat[:12].reshape(4, 3), flat[12:], x, y)
      flat = flat - 0.25 * ((1 - weight) * gradient + 2 * weight * (flat - initial))
    np.testing.assert_allclose(result.message, initial - flat, atol=2e-6)
  plain = update(training, x, y, kernel=kernel, bias=bias)
  np.testing.assert_array_equal(found[0.0].message, plain.message)
  lengths = [np.linalg.norm(result.message) for result in found.values()]
  assert lengths[0] > 1.5 * lengths[1] > 3 * lengths[2]


@pytest.mark.parametrize('algorithm', ['fed_sgd', 'fed_avg'])
def test_clipping_far_above_every_norm_without_noise_changes_nothing(algorithm):
  x, y = problem()
  training = local_training.LocalTraining(algorithm=algorithm, batch_size=5)
  mechanism = dp_gradient.GradientMechanism(
    l2_norm_clip=1e6, noise_multiplier=0.0, expected_batch_size=5
  )
  plain = update(training, x, y).message
  np.testing.assert_allclose(update(training, x, y, mechanism).message, plain, atol=1e-6)
  tight = dp_gradient.GradientMechanism(
    l2_norm_clip=0.1, noise_multiplier=0.0, expected_batch_size=5
  )
  assert np.abs(update(training, x, y, tight).message - plain).max() > 1e-2


def test_noise_depends_on_its_own_seed_and_on_nothing_else():
  x, y = problem()
  training = local_training.LocalTraining(algorithm='fed_avg', batch_size=5)
  mechanism = dp_gradient.GradientMechanism(
    l2_norm_clip=1.0, noise_multiplier=1.0, expected_batch_size=5
  )
  first = update(training, x, y, mechanism).message
  np.testing.assert_array_equal(first, update(training, x, y, mechanism).message)
  other = update(training, x, y, mechanism, noise_seed=OTHER_SEED).message
  assert np.abs(first - other).min() > 0


@pytest.mark.parametrize('sampling', ['shuffle', 'poisson'])
@pytest.mark.parametrize('algorithm', ['fed_sgd', 'fed_avg'])
def test_client_without_examples_sends_zeros_and_counts_nothing(algorithm, sampling):
  training = local_training.LocalTraining(
    algorithm=algorithm, batch_size=5, batch_sampling=sampling
  )
  result = update(training, np.zeros([0, 4], np.float32), np.zeros([0], np.int32))
  np.testing.assert_array_equal(result.message, np.zeros(15))
  assert (float(result.loss_sum), float(result.num_used)) == (0.0, 0.0)


def test_non_finite_gradient_is_sent_as_it_is():
  x, y = problem()
  x = x.copy()
  x[3, 0] = np.nan
  training = local_training.LocalTraining(algorithm='fed_sgd', batch_size=20)
  assert np.isnan(update(training, x, y).message).any()


def test_mechanism_for_another_batch_size_is_refused():
  mechanism = dp_gradient.GradientMechanism(
    l2_norm_clip=1.0, noise_multiplier=1.0, expected_batch_size=4
  )
  training = local_training.LocalTraining(algorithm='fed_sgd', batch_size=5)
  with pytest.raises(ValueError, match=r'expected_batch_size=4 .* batch_size=5'):
    local_training.build_client_update(toy_problems.softmax_regression(), training, mechanism)


def test_a_local_step_is_a_graph_of_its_own():
  training = local_training.LocalTraining(algorithm='fed_avg', batch_size=5)
  client_update = local_training.build_client_update(toy_problems.softmax_regression(), training)
  x, y = problem()
  weights = [tf.zeros([4, 3]), tf.zeros([3])]
  traced = tf.function(client_update, autograph=False).get_concrete_function(
    weights, x, y, tf.constant(SEED), tf.constant(OTHER_SEED)
  )
  graph_def = traced.graph.as_graph_def()
  functions = {function.signature.name: function for function in graph_def.library.function}
  (loop,) = [node for node in graph_def.node if node.op in ('While', 'StatelessWhile')]
  calls = [
    functions[node.attr['f'].func.name]
    for node in functions[loop.attr['body'].func.name].node_def
    if node.op in ('PartitionedCall', 'StatefulPartitionedCall')
  ]
  steps = [function for function in calls if function.attr['_noinline'].b]
  assert len(steps) == 1
