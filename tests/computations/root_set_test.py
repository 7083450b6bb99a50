import numpy as np
import pytest
import tensorflow as tf

from computations import local_training, models, root_set
from tff_robust.privacy import dp_gradient
from tff_robust.testing import toy_problems

SEED = np.array([3, 4], np.int64)
WHOLE_BATCH = local_training.LocalTraining(algorithm='fed_sgd', batch_size=1000)


def problem(examples):
  data = toy_problems.blobs(num_clients=1, examples_per_client=examples)
  return data.x[0], data.y[0]


def weights():
  generator = np.random.default_rng(1)
  return generator.standard_normal([4, 3]).astype(np.float32), np.ones(3, np.float32)


def view_of(examples, training=WHOLE_BATCH, mechanism=None, seed=SEED, step=None):
  """Returns the root update and the loss after a step."""
  look = root_set.build_look(
    toy_problems.softmax_regression(),
    root_set.RootSet(*problem(examples)),
    training=training,
    mechanism=mechanism,
  )

  @tf.function(autograph=False)
  def traced(kernel, bias, step):
    view = look([kernel, bias], seed)
    return view.update, view.loss_after(step)

  step = np.zeros(15, np.float32) if step is None else step
  update, loss = traced(*map(tf.constant, weights()), step)
  return update.numpy(), loss.numpy()


def probabilities(kernel, bias, x):
  exponentials = np.exp(x.astype(np.float64) @ kernel + bias)
  return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize('examples', [1, 250, 251, 600])
def test_loss_is_the_mean_over_all_examples_of_the_moved_model(examples):
  step = np.random.default_rng(2).standard_normal(15).astype(np.float32)
  x, y = problem(examples)
  kernel, bias = weights()
  found = probabilities(kernel - step[:12].reshape(4, 3), bias - step[12:], x)
  expected = -np.log(found[np.arange(examples), y]).mean()
  loss = view_of(examples, step=step)[1]
  assert loss.dtype == np.float64
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_update_is_the_gradient_of_the_root_set_where_a_batch_holds_all_of_it():
  x, y = problem(40)
  error = probabilities(*weights(), x)
  error[np.arange(40), y] -= 1
  expected = np.concatenate([(x.T @ error).ravel(), error.sum(axis=0)]) / 40
  np.testing.assert_allclose(view_of(40)[0], expected, atol=1e-6)


@pytest.mark.parametrize('algorithm', ['fed_sgd', 'fed_avg'])
def test_update_is_what_a_client_with_these_examples_sends_without_noise(algorithm):
  training = local_training.LocalTraining(
    algorithm=algorithm, batch_size=8, local_epochs=2, learning_rate=0.5
  )
  noisy = dp_gradient.GradientMechanism(
    l2_norm_clip=0.01, noise_multiplier=2.0, expected_batch_size=8
  )
  silent = dp_gradient.GradientMechanism(
    l2_norm_clip=0.01, noise_multiplier=0.0, expected_batch_size=8
  )
  model = toy_problems.softmax_regression()
  sent = tf.function(local_training.build_client_update(model, training, silent), autograph=False)
  expected = sent([tf.constant(leaf) for leaf in weights()], *problem(40), SEED, SEED)
  update, _ = view_of(40, training, noisy)
  np.testing.assert_allclose(update, expected.message, rtol=1e-5, atol=1e-7)
  # 10 steps of length 0.5 at most, or a single gradient, each clipped to 0.01.
  longest = 0.01 * (10 * 0.5 if algorithm == 'fed_avg' else 1)
  assert 0 < np.linalg.norm(update) <= longest * (1 + 1e-5)
  assert np.linalg.norm(view_of(40, training)[0]) > 2 * longest


def test_batches_follow_the_seed():
  training = local_training.LocalTraining(algorithm='fed_sgd', batch_size=4)
  first, again = view_of(40, training)[0], view_of(40, training)[0]
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - view_of(40, training, seed=SEED + 1)[0]).max() > 1e-3


def test_images_keep_their_dtype_and_shape():
  model = models.build_model('small', input_shape=(8, 8, 1), num_classes=10, seed=0)
  generator = np.random.default_rng(0)
  images = generator.integers(0, 17, [300, 8, 8, 1]).astype(np.uint8)
  look = root_set.build_look(
    model, root_set.RootSet(images, np.arange(300) % 10), training=WHOLE_BATCH
  )
  num_parameters = models.num_parameters(model)

  @tf.function(autograph=False)
  def traced(*trainable):
    view = look(trainable, SEED)
    # Against the gradient the loss rises, along it it falls.
    steps = [factor * view.update for factor in (-0.01, 0.0, 0.01)]
    return view.update, [view.loss_after(step) for step in steps]

  update, losses = traced(*map(tf.constant, model.initial_weights[0]))
  assert update.shape == [num_parameters]
  assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize(('num_x', 'num_y'), [(0, 0), (3, 2)])
def test_root_set_without_examples_or_of_unequal_lengths_is_refused(num_x, num_y):
  with pytest.raises(ValueError, match=f'has {num_x} features and {num_y} labels'):
    root_set.build_look(
      toy_problems.softmax_regression(),
      root_set.RootSet(np.zeros([num_x, 4], np.float32), np.zeros(num_y, np.int32)),
      training=WHOLE_BATCH,
    )
