import collections

import numpy as np
import pytest
import tensorflow as tf

from computations import models
from tff_robust.data import load

NAMES = ['logistic', 'mlp', 'small', 'literal', 'xie']


def _build(name='small', *, input_shape=(8, 8, 1), seed=5, **options):
  return models.build_model(name, input_shape=input_shape, num_classes=10, seed=seed, **options)


def _batch(num, input_shape=(8, 8, 1), seed=0):
  generator = np.random.default_rng(seed)
  x = generator.integers(0, 256, (num, *input_shape), dtype=np.uint8)
  return x, generator.integers(0, 10, num, dtype=np.int32)


def _log_softmax(logits):
  shifted = np.float64(logits) - np.max(logits, axis=1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _convolve(images, kernel, bias):
  """3x3 convolution with zero padding, by explicit sums in float64."""
  padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
  height, width = images.shape[1:3]
  total = np.zeros((*images.shape[:3], kernel.shape[3])) + bias
  for row in range(3):
    for column in range(3):
      window = padded[:, row : row + height, column : column + width]
      total += window @ np.float64(kernel[row, column])
  return total


def _pool(images):
  height, width = images.shape[1] // 2, images.shape[2] // 2
  quarters = [images[:, i : 2 * height : 2, j : 2 * width : 2] for i in (0, 1) for j in (0, 1)]
  return np.maximum.reduce(quarters)


@pytest.mark.parametrize(
  ('name', 'input_shape', 'expected'),
  [
    ('small', (32, 32, 3), 37_146),
    ('literal', (32, 32, 3), 342_090),
    ('xie', (32, 32, 3), 1_310_154),
    ('mlp', (28, 28, 1), 199_210),
    ('logistic', (8, 8, 1), 650),
  ],
)
def test_counts_parameters(name, input_shape, expected):
  assert models.num_parameters(_build(name, input_shape=input_shape)) == expected


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('input_shape', [(32, 32, 3), (28, 28, 1), (9, 8, 1)])
def test_gives_a_logit_for_each_class(name, input_shape):
  model = _build(name, input_shape=input_shape)
  x, _ = _batch(3, input_shape)
  logits = model.predict_on_batch(model.initial_weights, x)
  assert logits.shape == [3, 10]
  assert logits.dtype == tf.float32
  assert len(np.unique(logits.numpy())) == 30


def test_input_is_stored_pixels_and_labels():
  assert _build().input_spec == collections.OrderedDict(
    x=tf.TensorSpec([None, 8, 8, 1], tf.uint8), y=tf.TensorSpec([None], tf.int32)
  )


@pytest.mark.parametrize('activation', ['relu', 'tanh'])
def test_forward_pass_is_that_of_the_named_layers(activation):
  mean, std = np.array([100.0, 7.0]), np.array([50.0, 3.0])
  model = _build(
    'xie', input_shape=(9, 8, 2), activation=activation, input_mean=mean, input_std=std
  )
  generator = np.random.default_rng(1)
  weights = [
    (w + 0.1 * generator.standard_normal(w.shape)).astype(np.float32)
    for w in model.initial_weights[0]
  ]
  x, _ = _batch(2, (9, 8, 2))
  act = np.tanh if activation == 'tanh' else lambda z: np.maximum(z, 0)

  hidden = (x - mean) / std
  hidden = act(_convolve(hidden, *weights[0:2]))
  hidden = _pool(act(_convolve(hidden, *weights[2:4])))
  hidden = act(_convolve(hidden, *weights[4:6]))
  hidden = _pool(act(_convolve(hidden, *weights[6:8])))
  assert hidden.shape == (2, 2, 2, 128)
  hidden = act(hidden.reshape(2, -1) @ weights[8] + weights[9])
  expected = hidden @ weights[10] + weights[11]

  logits = model.predict_on_batch((tuple(weights), ()), x).numpy()
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_standardises_each_channel():
  shape = (4, 4, 2)
  standardised = _build('mlp', input_shape=shape, input_mean=[10.0, 20.0], input_std=[2.0, 5.0])
  plain = _build('mlp', input_shape=shape)
  x, _ = _batch(4, shape)
  by_hand = ((x - np.array([10.0, 20.0])) / np.array([2.0, 5.0])).astype(np.float32)
  expected = plain.predict_on_batch(plain.initial_weights, by_hand)
  np.testing.assert_allclose(
    standardised.predict_on_batch(standardised.initial_weights, x), expected, rtol=1e-4, atol=1e-4
  )
  raw = plain.predict_on_batch(plain.initial_weights, x).numpy()
  assert not np.allclose(raw, expected, rtol=0.1)


def test_takes_float_images_of_the_same_values():
  model = _build(input_mean=[100.0], input_std=[50.0])
  x, _ = _batch(3)
  np.testing.assert_array_equal(
    model.predict_on_batch(model.initial_weights, x.astype(np.float32)),
    model.predict_on_batch(model.initial_weights, x),
  )


def test_seed_alone_decides_the_initial_weights():
  first, again, other = (_build(seed=seed).initial_weights[0] for seed in (3, 3, 4))
  for a, b, c in zip(first, again, other, strict=True):
    assert a.dtype == np.float32
    np.testing.assert_array_equal(a, b)
    assert a.ndim == 1 or not np.array_equal(a, c)


def test_initial_weights_are_glorot_uniform():
  trainable, non_trainable = _build('literal', input_shape=(32, 32, 3)).initial_weights
  assert non_trainable == ()
  kernel = trainable[4]
  limit = np.sqrt(6 / (9 * 64 + 9 * 128))
  assert kernel.shape == (3, 3, 64, 128)
  assert 0.999 * limit < np.abs(kernel).max() <= limit
  # A uniform variable on [-a, a] has variance a^2 / 3.
  np.testing.assert_allclose(kernel.var(), limit**2 / 3, rtol=0.02)
  assert all(not bias.any() for bias in trainable[1::2])
  # Two layers of equal shape draw different numbers.
  small = _build('mlp', input_shape=(10, 20, 1)).initial_weights[0]
  assert small[0].shape == small[2].shape == (200, 200)
  assert abs(np.corrcoef(small[0].ravel(), small[2].ravel())[0, 1]) < 0.05


def test_loss_is_the_mean_cross_entropy_of_the_softmax():
  model = _build('mlp')
  x, y = _batch(6)
  logits = model.predict_on_batch(model.initial_weights, x)
  losses = -_log_softmax(logits.numpy())[np.arange(6), y]
  np.testing.assert_allclose(model.loss(logits, y), losses.mean(), rtol=1e-5)
  weights = np.array([0, 1, 2, 0, 3, 0], np.float32)
  np.testing.assert_allclose(
    model.loss(logits, y, weights), (losses * weights).sum() / 6, rtol=1e-5
  )


@pytest.mark.parametrize('name', ['logistic', 'small', 'xie'])
@pytest.mark.parametrize('batch_shape', [[None, 8, 8, 1], [0, 8, 8, 1]])
def test_an_empty_batch_has_zero_loss_and_zero_gradient(name, batch_shape):
  model = _build(name)
  weights = [tf.constant(w) for w in model.initial_weights[0]]

  @tf.function(
    input_signature=[tf.TensorSpec(batch_shape, tf.uint8), tf.TensorSpec([None], tf.int32)]
  )
  def loss_and_gradient(x, y):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      logits = model.predict_on_batch((weights, ()), x)
      loss = model.loss(logits, y)
    return logits, loss, tape.gradient(loss, weights)

  logits, loss, gradients = loss_and_gradient(*_batch(0))
  assert logits.shape == [0, 10]
  assert float(loss) == 0.0
  assert all(not np.any(gradient) for gradient in gradients)
  if batch_shape[0] is None:  # The same graph on a batch with examples.
    logits, loss, gradients = loss_and_gradient(*_batch(4))
    assert logits.shape == [4, 10]
    assert float(loss) > 0.0
    assert all(np.any(gradient) for gradient in gradients)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('container', [tuple, list])
def test_every_weight_has_a_gradient(name, container):
  model = _build(name, input_mean=[128.0], input_std=[64.0])
  weights = container(tf.constant(w) for w in model.initial_weights[0])
  x, y = _batch(8)
  with tf.GradientTape() as tape:
    tape.watch(weights)
    loss = model.loss(model.predict_on_batch((weights, ()), x), y)
  gradients = tape.gradient(loss, weights)
  assert [g.shape for g in gradients] == [w.shape for w in weights]
  assert all(np.abs(gradient).max() > 0 for gradient in gradients)


@pytest.mark.parametrize('name', ['mlp', 'small', 'xie'])
def test_vectorised_gradients_equal_those_of_single_examples(name):
  model = _build(name, input_mean=[128.0], input_std=[64.0])
  weights = [tf.constant(w) for w in model.initial_weights[0]]
  x, y = map(tf.constant, _batch(5))

  def gradient(example):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      logits = model.predict_on_batch((weights, ()), example[0][tf.newaxis])
      loss = model.loss(logits, example[1][tf.newaxis])
    return tape.gradient(loss, weights)

  vectorised = tf.function(lambda: tf.vectorized_map(gradient, (x, y)))()
  for index in range(5):
    for many, one in zip(vectorised, gradient((x[index], y[index])), strict=True):
      np.testing.assert_allclose(many[index], one, rtol=1e-4, atol=1e-6 * np.abs(one).max())

  with tf.GradientTape() as tape:
    tape.watch(weights)
    loss = model.loss(model.predict_on_batch((weights, ()), x), y)
  for many, batch in zip(vectorised, tape.gradient(loss, weights), strict=True):
    np.testing.assert_allclose(
      tf.reduce_mean(many, axis=0), batch, rtol=1e-3, atol=1e-5 * np.abs(batch).max()
    )


def test_examples_do_not_depend_on_their_batch():
  model = _build(input_mean=[128.0], input_std=[64.0])
  x, _ = _batch(6)
  together = model.predict_on_batch(model.initial_weights, x).numpy()
  alone = model.predict_on_batch(model.initial_weights, x[2:3]).numpy()
  np.testing.assert_allclose(together[2:3], alone, rtol=1e-4, atol=1e-5)


def test_small_learns_digits():
  digits = load.load_dataset('digits')
  mean, std = load.channel_statistics(digits.train_x)
  model = _build(input_mean=mean, input_std=std)
  weights = [tf.Variable(w) for w in model.initial_weights[0]]

  @tf.function
  def step(x, y):
    with tf.GradientTape() as tape:
      loss = model.loss(model.predict_on_batch((weights, ()), x), y)
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
      weight.assign_sub(0.05 * gradient)

  def accuracy():
    logits = model.predict_on_batch((weights, ()), digits.test_x)
    return np.mean(np.argmax(logits, axis=1) == digits.test_y)

  assert accuracy() < 0.3
  generator = np.random.default_rng(0)
  for _ in range(6):
    for rows in np.split(generator.permutation(1497)[:1472], 46):
      step(tf.constant(digits.train_x[rows]), tf.constant(digits.train_y[rows]))
  assert accuracy() > 0.9


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'name': 'smal'}, "Did you mean 'small'"),
    ({'name': 'xie_bn'}, "batch normalisation.*use 'xie'"),
    ({'activation': 'sigmoid'}, 'activation=.sigmoid. is not known'),
    ({'input_mean': [1.0, 2.0]}, 'one finite number for each of the 1 channels'),
    ({'input_mean': [float('nan')]}, 'one finite number'),
    ({'input_std': [0.0]}, 'above 0 in every channel'),
    ({'input_shape': (2, 2, 1)}, 'too small for model'),
  ],
)
def test_refuses_what_it_cannot_build(options, message):
  with pytest.raises(ValueError, match=message):
    _build(**options)
