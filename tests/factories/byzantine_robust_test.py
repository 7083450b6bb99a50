import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.aggregators import fltrust, krum, mean
from tff_robust.aggregators import rule as rule_lib
from tff_robust.factories import byzantine_robust

_TYPE = tff.types.to_type(collections.OrderedDict(a=(np.float32, [2]), b=(np.float64, [])))
_WEIGHT = tff.TensorType(np.int32)


def _values(rows):
  return [collections.OrderedDict(a=row[:2], b=np.float64(row[2])) for row in rows]


def _flat(value):
  return np.concatenate([value['a'], [value['b']]])


@pytest.fixture(scope='module')
def krum_process():
  return byzantine_robust.krum_factory(2).create(_TYPE)


def test_unweighted_process_has_the_documented_types(krum_process):
  assert str(krum_process.initialize.type_signature) == '( -> <rule=<>,round=int64>@SERVER)'
  assert str(krum_process.next.type_signature) == (
    '(<state=<rule=<>,round=int64>@SERVER,value={<a=float32[2],b=float64>}@CLIENTS>'
    ' -> <state=<rule=<>,round=int64>@SERVER,result=<a=float32[2],b=float64>@SERVER,'
    'measurements=<num_nonfinite=int32,round_rejected=bool,score_gap=float64,'
    'selected=bool[?]>@SERVER>)'
  )


def test_weighted_process_has_the_documented_types():
  process = byzantine_robust.WeightedByzantineRobustFactory(mean.build_mean()).create(
    _TYPE, _WEIGHT
  )
  assert str(process.next.type_signature) == (
    '(<state=<rule=<>,round=int64>@SERVER,value={<a=float32[2],b=float64>}@CLIENTS,'
    'weight={int32}@CLIENTS>'
    ' -> <state=<rule=<>,round=int64>@SERVER,result=<a=float32[2],b=float64>@SERVER,'
    'measurements=<num_nonfinite=int32,round_rejected=bool>@SERVER>)'
  )


@pytest.mark.parametrize('seed', [-1, 1.5, None])
def test_seeds_are_whole_and_not_negative(seed):
  for factory in (
    byzantine_robust.ByzantineRobustFactory,
    byzantine_robust.WeightedByzantineRobustFactory,
    byzantine_robust.EitherByzantineRobustFactory,
  ):
    with pytest.raises(ValueError, match=f'seed={seed} must be'):
      factory(mean.build_mean(), seed=seed)


def test_individual_updates_are_not_secure(krum_process):
  tff.test.assert_contains_unsecure_aggregation(krum_process.next)


def test_federated_krum_equals_the_eager_function(krum_process):
  state = krum_process.initialize()
  for seed in range(5):
    rows = np.random.default_rng(seed).normal(size=[9, 3]).astype(np.float32)
    rows[:2] = 1e6
    output = krum_process.next(state, _values(rows))
    state = output.state
    np.testing.assert_array_equal(_flat(output.result), krum.krum(rows, max_byzantine=2))
    assert np.sum(output.measurements['selected']) == 1
  assert state['round'] == 5


def test_federated_multi_krum_equals_the_eager_function():
  process = byzantine_robust.multi_krum_factory(2, 4).create(_TYPE)
  rows = np.random.default_rng(0).normal(size=[9, 3]).astype(np.float32)
  rows[3, 1] = np.nan
  output = process.next(process.initialize(), _values(rows))
  expected = krum.multi_krum(rows, max_byzantine=2, num_selected=4)
  np.testing.assert_allclose(_flat(output.result), expected, rtol=1e-6)
  assert output.measurements['num_nonfinite'] == 1


def test_federated_mean_uses_the_weights():
  process = byzantine_robust.mean_factory().create(_TYPE, _WEIGHT)
  rows = np.random.default_rng(0).normal(size=[4, 3]).astype(np.float32)
  weights = [np.int32(w) for w in (1, 0, 5, 3)]
  output = process.next(process.initialize(), _values(rows), weights)
  expected = np.average(rows.astype(np.float64), axis=0, weights=weights)
  np.testing.assert_allclose(_flat(output.result), expected, rtol=1e-6)


def test_too_few_clients_are_explained_and_the_context_stays_usable(krum_process):
  rows = np.random.default_rng(0).normal(size=[7, 3]).astype(np.float32)
  text = 'krum with max_byzantine=2 needs at least 7 clients'
  with pytest.raises(Exception, match=text):
    krum_process.next(krum_process.initialize(), _values(rows[1:]))
  output = krum_process.next(krum_process.initialize(), _values(rows))
  np.testing.assert_array_equal(_flat(output.result), krum.krum(rows, max_byzantine=2))


def _counting_rule():
  """Adds its seed's first word and counts rounds in its state."""

  def apply(state, updates, weights, seed):
    del weights
    measurements = {
      'num_nonfinite': tf.constant(0),
      'round_rejected': tf.constant(False),
      'drawn': tf.random.stateless_uniform([], seed),
    }
    return rule_lib.RuleOutput(state + 1.0, updates[0] * 0 + state, measurements)

  return rule_lib.AggregationRule('counting', lambda dimension: tf.zeros([dimension]), apply)


def test_state_and_draws_of_a_rule_advance_each_round():
  value_type = tff.TensorType(np.float32, [2])
  draws = {}
  for seed in (0, 0, 1):
    factory = byzantine_robust.ByzantineRobustFactory(_counting_rule(), seed=seed)
    process = factory.create(value_type)
    state, drawn = process.initialize(), []
    for round_num in range(3):
      output = process.next(state, [np.zeros(2, np.float32)] * 3)
      np.testing.assert_array_equal(output.result, [round_num, round_num])
      drawn.append(float(output.measurements['drawn']))
      state = output.state
    assert len(set(drawn)) == 3
    assert draws.setdefault(seed, drawn) == drawn
  assert not set(draws[0]) & set(draws[1])


@pytest.mark.parametrize('factory', [byzantine_robust.krum_factory(1)])
def test_refuses_updates_and_weights_it_cannot_use(factory):
  with pytest.raises(TypeError, match='dtype int32'):
    factory.create(tff.TensorType(np.int32, [3]))
  with pytest.raises(TypeError, match='weight_type'):
    factory.create(_TYPE, tff.TensorType(np.float32, [2]))


_TRUE_KERNEL = np.float32([[2.0], [-1.0]])


def _linear_model():
  @tf.function
  def predict(weights, inputs, training):
    del training
    return tf.matmul(inputs, weights[0][0]) + weights[0][1]

  @tf.function
  def loss(output, label, sample_weight=None):
    del sample_weight
    return tf.reduce_mean(tf.square(output - label))

  return tff.learning.models.FunctionalModel(
    initial_weights=((np.zeros([2, 1], np.float32), np.zeros([1], np.float32)), ()),
    predict_on_batch_fn=predict,
    loss_fn=loss,
    input_spec=(tf.TensorSpec([None, 2]), tf.TensorSpec([None, 1])),
  )


def _client_data(num_clients, num_byzantine):
  rng = np.random.default_rng(0)
  data = []
  for client in range(num_clients):
    inputs = rng.normal(size=[16, 2]).astype(np.float32)
    labels = inputs @ _TRUE_KERNEL + 0.01 * rng.normal(size=[16, 1]).astype(np.float32)
    if client < num_byzantine:
      labels = np.full_like(labels, 1e7)  # makes a gradient, hence an update, of over 1e6
    data.append(tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(16))
  return data


def _train(build, aggregator):
  process = build(
    _linear_model(),
    tff.learning.optimizers.build_sgdm(learning_rate=0.3),
    tff.learning.optimizers.build_sgdm(learning_rate=1.0),
    model_aggregator=aggregator,
  )
  state, data = process.initialize(), _client_data(7, 2)
  for _ in range(6):
    state = process.next(state, data).state
  kernel, _ = process.get_model_weights(state).trainable
  return np.abs(kernel - _TRUE_KERNEL).max()


@pytest.mark.parametrize(
  'build',
  [
    tff.learning.algorithms.build_weighted_fed_avg,
    tff.learning.algorithms.build_unweighted_fed_avg,
  ],
)
def test_federated_averaging_with_krum_survives_what_ruins_the_mean(build):
  assert _train(build, byzantine_robust.krum_factory(2)) < 0.2
  assert _train(build, byzantine_robust.mean_factory()) > 1e5


@pytest.mark.parametrize(
  'factory',
  [
    byzantine_robust.ByzantineRobustFactory,
    byzantine_robust.WeightedByzantineRobustFactory,
    byzantine_robust.EitherByzantineRobustFactory,
  ],
)
def test_no_factory_of_tff_takes_a_rooted_rule(factory):
  with pytest.raises(TypeError, match=r"'fltrust' looks at a root set.*learning_process"):
    factory(fltrust.build_fltrust())
