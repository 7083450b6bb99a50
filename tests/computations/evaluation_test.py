import collections
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from computations import evaluation, models

SCALE = 1.0


def _model_of_pixels(classes=3):
  """Logits are the pixels of a 1 x 1 image, times the only weight."""

  @tf.function
  def predict_on_batch(model_weights, x, training=True):
    del training
    return tf.reshape(tf.cast(x, tf.float32), [-1, classes]) * model_weights[0][0]

  return tff.learning.models.FunctionalModel(
    initial_weights=((np.float32(SCALE),), ()),
    predict_on_batch_fn=predict_on_batch,
    loss_fn=lambda output, label, sample_weight=None: tf.reduce_mean(output),
    input_spec=collections.OrderedDict(
      x=tf.TensorSpec([None, 1, 1, classes], tf.uint8), y=tf.TensorSpec([None], tf.int32)
    ),
  )


def _weights(scale):
  return tff.learning.models.ModelWeights([np.float32(scale)], [])


X = np.array([[3, 1, 0], [0, 2, 1], [1, 0, 5], [4, 4, 1], [0, 0, 2]], np.uint8).reshape(5, 1, 1, 3)
Y = np.array([0, 1, 2, 2, 0], np.int32)


def test_accuracy_and_loss_by_hand():
  result = evaluation.build_evaluate(_model_of_pixels())(_weights(1.0), X, Y)
  losses = [
    math.log(sum(math.exp(value) for value in row)) - row[label]
    for row, label in zip(X.reshape(5, 3).astype(float).tolist(), Y.tolist(), strict=True)
  ]
  assert result['accuracy'] == 3 / 5
  assert result['loss'] == pytest.approx(sum(losses) / 5, rel=1e-6)
  assert result['num_examples'] == 5
  assert list(result) == ['accuracy', 'loss', 'num_examples']


@pytest.mark.parametrize('batch_size', [1, 2, 5, 100])
def test_batches_make_no_difference(batch_size):
  model = models.build_model('small', input_shape=(8, 8, 1), num_classes=10, seed=1)
  generator = np.random.default_rng(0)
  x = generator.integers(0, 17, (11, 8, 8, 1), dtype=np.uint8)
  y = generator.integers(0, 10, 11, dtype=np.int32)
  logits = np.float64(model.predict_on_batch(model.initial_weights, x))
  result = evaluation.build_evaluate(model, batch_size=batch_size)(model.initial_weights, x, y)
  shifted = logits - logits.max(axis=1, keepdims=True)
  losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(11), y]
  assert result['accuracy'] == np.mean(logits.argmax(axis=1) == y)
  assert result['loss'] == pytest.approx(losses.mean(), rel=1e-5)


def test_arrays_and_tensors_give_the_same():
  evaluate = evaluation.build_evaluate(_model_of_pixels())
  weights = tff.learning.models.ModelWeights((tf.constant(0.5),), ())
  assert evaluate(weights, tf.constant(X), tf.constant(Y)) == evaluate(
    ((np.float32(0.5),), ()), X, Y.astype(np.int64)
  )


def test_huge_logits_have_a_finite_loss():
  result = evaluation.build_evaluate(_model_of_pixels())(_weights(6e37), X, Y)
  # Rows 4 and 5 are wrong, by 3 and 2 units of 6e37; the softmax of the others is exact.
  assert result['loss'] == pytest.approx((3 + 2) * 6e37 / 5, rel=1e-6)
  assert result['accuracy'] == 3 / 5


def test_a_diverged_model_guesses():
  evaluate = evaluation.build_evaluate(_model_of_pixels())
  result = evaluate(_weights(float('nan')), X, np.zeros(5, np.int32))
  assert result['accuracy'] == pytest.approx(1 / 3, rel=1e-12)
  assert math.isnan(result['loss'])
  assert not math.isfinite(evaluate(_weights(float('inf')), X, Y)['loss'])


def test_refuses_no_examples_and_unequal_numbers():
  evaluate = evaluation.build_evaluate(_model_of_pixels())
  with pytest.raises(ValueError, match='x has 0 examples and y has 0'):
    evaluate(_weights(1.0), X[:0], Y[:0])
  with pytest.raises(ValueError, match='x has 5 examples and y has 4'):
    evaluate(_weights(1.0), X, Y[:4])
  with pytest.raises(ValueError, match='batch_size=0 must be at least 1'):
    evaluation.build_evaluate(_model_of_pixels(), batch_size=0)
