"""All contexts train the same model with the processes of `tff.learning`."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff


def _model_fn():
  keras_model = tf.keras.Sequential(
    [
      tf.keras.layers.InputLayer([4]),
      tf.keras.layers.Dense(5, 'tanh', kernel_initializer=tf.keras.initializers.GlorotUniform(1)),
      tf.keras.layers.Dense(3, kernel_initializer=tf.keras.initializers.GlorotUniform(2)),
    ]
  )
  return tff.learning.models.from_keras_model(
    keras_model,
    loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    input_spec=_INPUT_SPEC,
    metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
  )


_INPUT_SPEC = collections.OrderedDict(
  x=tf.TensorSpec([None, 4], tf.float32), y=tf.TensorSpec([None], tf.int32)
)


def _functional_model():
  def initial_weights():
    return (np.linspace(-0.5, 0.5, 12, dtype=np.float32).reshape(4, 3),), ()

  @tf.function
  def predict(weights, x, training):
    del training
    return tf.matmul(x, weights[0][0])

  @tf.function
  def loss(output, label, sample_weight=None):
    del sample_weight
    return tf.reduce_mean(
      tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=output)
    )

  return tff.learning.models.FunctionalModel(
    initial_weights=initial_weights(),
    predict_on_batch_fn=predict,
    loss_fn=loss,
    metrics_fns=(lambda: collections.OrderedDict(), lambda s, *_: s, lambda s: s),
    input_spec=_INPUT_SPEC,
  )


def _client_data(num_clients):
  generator = np.random.default_rng(0)
  return [
    tf.data.Dataset.from_tensor_slices(
      collections.OrderedDict(
        x=generator.normal(size=[7 + client, 4]).astype(np.float32),
        y=generator.integers(0, 3, [7 + client]).astype(np.int32),
      )
    ).batch(3)
    for client in range(num_clients)
  ]


def _fed_avg(model, **options):
  return tff.learning.algorithms.build_weighted_fed_avg(
    model, tff.learning.optimizers.build_sgdm(0.1), **options
  )


_ITERATE = tff.learning.LoopImplementation.DATASET_ITERATOR
_PROCESSES = {
  'fed_avg': lambda: _fed_avg(_model_fn),
  'fed_avg, iterators': lambda: _fed_avg(_model_fn, loop_implementation=_ITERATE),
  'fed_avg, functional': lambda: _fed_avg(_functional_model(), loop_implementation=_ITERATE),
  'fed_avg, robust aggregator': lambda: _fed_avg(
    _model_fn, model_aggregator=tff.learning.robust_aggregator(zeroing=True, clipping=True)
  ),
  'fed_avg, private aggregator without noise': lambda: (
    tff.learning.algorithms.build_unweighted_fed_avg(
      _model_fn,
      tff.learning.optimizers.build_adam(0.1),
      model_aggregator=tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(
        noise_multiplier=0.0, clients_per_round=3.0, clip=0.05
      ),
    )
  ),
  'fed_sgd': lambda: tff.learning.algorithms.build_fed_sgd(
    _model_fn, tff.learning.optimizers.build_sgdm(0.5)
  ),
  'fed_sgd, functional': lambda: tff.learning.algorithms.build_fed_sgd(
    _functional_model(), tff.learning.optimizers.build_sgdm(0.5)
  ),
}


@pytest.mark.parametrize(
  'name',
  [
    name
    if name in ('fed_avg', 'fed_sgd, functional')
    else pytest.param(name, marks=pytest.mark.slow)
    for name in _PROCESSES
  ],
)
def test_learning_process_gives_the_same_model(name, all_contexts):
  process = _PROCESSES[name]()
  data = _client_data(3)
  weights = {}
  for runtime, context in all_contexts.items():
    with tff.framework.get_context_stack().install(context):
      state = process.initialize()
      start = process.get_model_weights(state).trainable
      for _ in range(2):
        state = process.next(state, data).state
      weights[runtime] = process.get_model_weights(state).trainable
  assert list(weights) == ['native', 'accelerated', 'remote']
  for native, accelerated, remote, initial in zip(*weights.values(), start, strict=True):
    np.testing.assert_allclose(native, accelerated, rtol=0, atol=1e-6)
    np.testing.assert_allclose(native, remote, rtol=0, atol=1e-6)
    assert not np.allclose(native, initial)  # All moved.


def test_evaluation_gives_the_same_metrics(all_contexts):
  evaluate = tff.learning.algorithms.build_fed_eval(_model_fn)
  metrics = []
  for context in all_contexts.values():
    with tff.framework.get_context_stack().install(context):
      output = evaluate.next(evaluate.initialize(), _client_data(2))
      metrics.append(output.metrics['client_work']['eval']['current_round_metrics'])
  assert [found['num_examples'] for found in metrics] == [15, 15, 15]
  for found in metrics[1:]:
    assert found['loss'] == pytest.approx(metrics[0]['loss'], abs=1e-6)
