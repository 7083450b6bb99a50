import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from computations import dp_client_work, layered_model, local_training, models
from tff_robust import seeds
from tff_robust.privacy import dp_gradient, layerwise_gradients
from tff_robust.testing import toy_problems

SEED = np.array([3, 4], np.int64)
MECHANISM = dp_gradient.GradientMechanism(
  l2_norm_clip=1.0, noise_multiplier=0.5, expected_batch_size=4
)


def build(name, input_shape=(8, 8, 1), **options):
  constants = {'input_mean': [128.0] * input_shape[-1], 'input_std': [64.0] * input_shape[-1]}
  return models.build_model(
    name, input_shape=input_shape, num_classes=10, seed=5, **constants, **options
  )


def as_any_model(model):
  """The same model, of a type that says nothing about its layers."""

  @tf.function
  def predict_on_batch(weights, x, training=True):
    return model.predict_on_batch(weights, x, training)

  return tff.learning.models.FunctionalModel(
    initial_weights=model.initial_weights,
    predict_on_batch_fn=predict_on_batch,
    loss_fn=model.loss,
    input_spec=model.input_spec,
  )


def batch(num, input_shape=(8, 8, 1), seed=0):
  generator = np.random.default_rng(seed)
  x = generator.integers(0, 256, (num, *input_shape), dtype=np.uint8)
  return x, generator.integers(0, 10, num, dtype=np.int32)


def client_update(model, training, mechanism=MECHANISM):
  weights = [tf.constant(w) for w in model.initial_weights[0]]
  update = local_training.build_client_update(model, training, mechanism)

  @tf.function(
    autograph=False,
    input_signature=[
      tf.TensorSpec(model.input_spec['x'].shape, tf.uint8), tf.TensorSpec([None], tf.int32)
    ],
  )  # fmt: skip
  def function(x, y):
    return update(weights, x, y, tf.constant(SEED), tf.constant(SEED))

  return function


@pytest.mark.parametrize('activation', ['relu', 'tanh'])
@pytest.mark.parametrize(
  ('name', 'input_shape'),
  [
    ('logistic', (8, 8, 1)),
    ('mlp', (8, 8, 1)),
    ('small', (9, 8, 2)),
    ('literal', (8, 8, 3)),
  ],
)
def test_private_step_equals_the_one_that_assumes_nothing_about_the_model(
  name, input_shape, activation
):
  model = build(name, input_shape, activation=activation)
  assert isinstance(model, layered_model.LayeredModel)
  weights = [tf.constant(w) for w in model.initial_weights[0]]
  x, y = batch(7, input_shape)

  def loss(weights, x, y):
    return model.loss(model.predict_on_batch((weights, ()), x), y)

  # Far above all norms, and below them.
  for clip in (1e6, 0.1):
    mechanism = dp_gradient.GradientMechanism(
      l2_norm_clip=clip, noise_multiplier=0.0, expected_batch_size=7
    )
    (layered_loss, layered), (any_loss, expected) = (
      mechanism.noised_gradient(loss_fn, weights, x, y, SEED)
      for loss_fn in (layerwise_gradients.LayeredLoss(model.loss_sum), loss)
    )
    assert float(layered_loss) == pytest.approx(float(any_loss), rel=1e-6)
    flat, flat_expected = (
      np.concatenate([np.ravel(g) for g in each]) for each in (layered, expected)
    )
    assert np.linalg.norm(flat - flat_expected) < 1e-6 * np.linalg.norm(flat_expected)


@pytest.mark.parametrize('algorithm', ['fed_sgd', 'fed_avg'])
@pytest.mark.parametrize('sampling', ['shuffle', 'poisson'])
def test_local_training_is_the_same_as_with_any_other_model(algorithm, sampling):
  model = build('small')
  training = local_training.LocalTraining(
    algorithm=algorithm, batch_size=4, batch_sampling=sampling, learning_rate=0.1
  )
  layered, general = (client_update(m, training) for m in (model, as_any_model(model)))
  for num_examples in (0, 10):
    x, y = batch(num_examples)
    got, expected = layered(x, y), general(x, y)
    assert float(got.num_used) == float(expected.num_used)
    assert float(got.loss_sum) == pytest.approx(float(expected.loss_sum), rel=1e-5)
    np.testing.assert_allclose(got.message, expected.message, rtol=1e-4, atol=2e-6)
    np.testing.assert_array_equal(got.message, layered(x, y).message)


def operations(function):
  graph = function.get_concrete_function().graph.as_graph_def()
  bodies = [graph.node, *(body.node_def for body in graph.library.function)]
  return {node.op for body in bodies for node in body}


def test_private_step_has_no_loop_over_the_examples():
  training = local_training.LocalTraining(algorithm='fed_sgd', batch_size=4)
  loops = {'While', 'StatelessWhile'}
  model = build('small')
  assert not operations(client_update(model, training)) & loops
  # TensorFlow maps the kernel gradients of any other model by a loop.
  assert operations(client_update(as_any_model(model), training)) & loops


def test_model_with_a_loss_of_the_batch_mean_gets_the_sum():
  model = layered_model.LayeredModel(
    initial_weights=(np.ones([2, 1], np.float32), np.zeros([1], np.float32)),
    predict_fn=lambda layers, weights, x: layers.dense(x, *weights),
    loss_fn=lambda output, label, sample_weight=None: tf.reduce_mean(output[:, 0] - label),
    input_spec=(tf.TensorSpec([None, 2], tf.float32), tf.TensorSpec([None], tf.float32)),
  )
  x, y = tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([0.5, 1.0])
  np.testing.assert_array_equal(model.predict_on_batch(model.initial_weights, x), [[3.0], [7.0]])
  losses = layerwise_gradients.LayeredLoss(model.loss_sum)
  weights = [tf.constant(w) for w in model.initial_weights[0]]
  for num, loss, gradient in ((2, 8.5, [4.0, 6.0, 2.0]), (0, 0.0, [0.0, 0.0, 0.0])):
    got_loss, got = layerwise_gradients.clipped_sum(
      losses, weights, x[:num], y[:num], clip=lambda record: record
    )
    assert float(got_loss) == loss
    np.testing.assert_allclose(np.concatenate([np.ravel(part) for part in got]), gradient)


def test_worker_of_tff_computes_the_same():
  model = build('small')
  training = local_training.LocalTraining(
    algorithm='fed_avg', batch_size=4, batch_sampling='poisson', learning_rate=0.1
  )
  work = dp_client_work.build_dp_client_work(model, training=training, mechanism=MECHANISM, seed=1)
  weights = tff.learning.models.ModelWeights(*model.initial_weights)
  sizes = (0, 3, 12)
  batches = [batch(size, seed=size) for size in sizes]
  values = [
    toy_problems.client_value(x, y, client_id=client) for client, (x, y) in enumerate(batches)
  ]
  output = work.next(work.initialize(), [weights] * 3, values)
  root = seeds.tensor_seed(1)
  update = tf.function(
    local_training.build_client_update(as_any_model(model), training, MECHANISM), autograph=False
  )
  for client, (x, y) in enumerate(batches):
    expected = update(
      [tf.constant(w) for w in model.initial_weights[0]],
      tf.constant(x),
      tf.constant(y),
      seeds.fold(root, seeds.Purpose.BATCHES, 0, client),
      seeds.fold(root, seeds.Purpose.DP_NOISE, 0, client),
    ).message
    sent = output.result[client].update['message']
    np.testing.assert_allclose(sent, expected, rtol=1e-4, atol=2e-6)
    assert np.any(sent) == (sizes[client] > 0)
