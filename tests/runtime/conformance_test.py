"""The native and the accelerated context give the same values for the same computations."""

import collections
import threading

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import accelerated, errors, native

INTS = tff.FederatedType(np.int32, tff.CLIENTS)
FLOATS = tff.FederatedType(np.float32, tff.CLIENTS)
INT_SEQUENCE = tff.SequenceType(np.int32)


@pytest.fixture(scope='module')
def contexts():
  with (
    native.native_context(num_threads=2) as native_context,
    accelerated.accelerated_context(client_threads=2) as accelerated_context,
  ):
    yield {'native': native_context, 'accelerated': accelerated_context}


@pytest.fixture(params=['native', 'accelerated'])
def context(request, contexts):
  with tff.framework.get_context_stack().install(contexts[request.param]) as context:
    yield context


@tff.tensorflow.computation(np.int32)
def add_one(x):
  return x + 1


@tff.tensorflow.computation(np.int32, np.int32)
def add(x, y):
  return x + y


@tff.tensorflow.computation
def five():
  return 5


@tff.tensorflow.computation(INT_SEQUENCE)
@tf.function
def total(values):
  return values.reduce(0, lambda x, y: x + y)


def federated(function, *types):
  return tff.federated_computation(function, *types)


def at_server(member):
  return tff.FederatedType(member, tff.SERVER)


@pytest.mark.usefixtures('context')
class TestIntrinsics:
  def test_map(self):
    assert federated(lambda x: tff.federated_map(add_one, x), INTS)([1, 5, 9]) == [2, 6, 10]

  def test_map_at_server(self):
    assert federated(lambda x: tff.federated_map(add_one, x), at_server(np.int32))(3) == 4

  def test_map_of_what_all_clients_share(self):
    shared = tff.FederatedType(np.int32, tff.CLIENTS, all_equal=True)
    computation = federated(lambda x, y: (tff.federated_map(add_one, x), y), shared, INTS)
    assert list(computation(3, [0, 0])[0]) == [4, 4]

  def test_broadcast_reaches_every_client(self):
    computation = federated(
      lambda s, x: tff.federated_map(add, (tff.federated_broadcast(s), x)),
      at_server(np.int32),
      INTS,
    )
    assert computation(10, [1, 2]) == [11, 12]

  def test_values_at_placements(self):
    computation = federated(
      lambda x: (tff.federated_value(3, tff.SERVER), tff.federated_value(4, tff.CLIENTS), x), INTS
    )
    assert computation([0]) == (3, 4, [0])

  def test_eval_at_placements(self):
    computation = federated(
      lambda x: (
        tff.federated_eval(five, tff.SERVER),
        tff.federated_sum(tff.federated_eval(five, tff.CLIENTS)),
        tff.federated_sum(x),
      ),
      INTS,
    )
    assert computation([1, 2, 3]) == (5, 15, 6)

  def test_zip(self):
    computation = federated(lambda x, y: tff.federated_zip((x, y)), INTS, FLOATS)
    assert computation([1, 2], [0.5, 1.5]) == [(1, 0.5), (2, 1.5)]

  def test_zip_of_nested_names(self):
    computation = federated(
      lambda x, y: tff.federated_zip(collections.OrderedDict(a=x, b=(y, x))), INTS, FLOATS
    )
    assert computation([1], [0.5]) == [collections.OrderedDict(a=1, b=(0.5, 1))]

  def test_sum(self):
    assert federated(tff.federated_sum, INTS)([1, 2, 4]) == 7

  def test_mean(self):
    assert federated(lambda x: tff.federated_mean(x), FLOATS)([1.0, 2.0, 6.0]) == 3.0

  def test_weighted_mean(self):
    assert (
      federated(lambda x, w: tff.federated_mean(x, w), FLOATS, FLOATS)([1.0, 2.0], [1.0, 3.0])
      == 1.75
    )

  def test_min_and_max(self):
    computation = federated(lambda x: (tff.federated_min(x), tff.federated_max(x)), INTS)
    assert computation([3, -1, 2]) == (-1, 3)

  def test_sum_of_structures(self):
    member = collections.OrderedDict(a=np.int32, b=tff.TensorType(np.float32, [2]))
    computation = federated(tff.federated_sum, tff.FederatedType(member, tff.CLIENTS))
    result = computation(
      [collections.OrderedDict(a=1, b=[0.5, 1.0]), collections.OrderedDict(a=2, b=[1.5, 3.0])]
    )
    assert list(result) == ['a', 'b']
    assert result['a'] == 3
    np.testing.assert_array_equal(result['b'], [2.0, 4.0])

  def test_aggregate_runs_each_part(self):
    zero = tff.tensorflow.computation(lambda: 100)
    report = tff.tensorflow.computation(lambda x: x * 2, np.int32)
    computation = federated(lambda x: tff.federated_aggregate(x, zero(), add, add, report), INTS)
    assert computation([1, 2, 3]) == 212

  def test_aggregate_of_stacks_that_grow(self):
    stack = tff.TensorType(np.float32, [None])

    @tff.tensorflow.computation
    def zero():
      return tf.compat.v1.placeholder_with_default(tf.zeros([0]), [None])

    @tff.tensorflow.computation(stack, np.float32)
    def accumulate(rows, row):
      return tf.concat([rows, row[tf.newaxis]], 0)

    @tff.tensorflow.computation(stack, stack)
    def merge(a, b):
      return tf.concat([a, b], 0)

    report = tff.tensorflow.computation(lambda x: x, stack)
    computation = federated(
      lambda x: tff.federated_aggregate(x, zero(), accumulate, merge, report), FLOATS
    )
    np.testing.assert_array_equal(computation([3.0, 1.0, 2.0]), [3.0, 1.0, 2.0])
    assert computation([]).shape == (0,)

  def test_sequence_reduce(self):
    computation = federated(
      lambda x: tff.sequence_reduce(x, tff.tensorflow.computation(lambda: 0)(), add), INT_SEQUENCE
    )
    assert computation([1, 2, 3]) == 6

  def test_select(self):
    gather = tff.tensorflow.computation(
      lambda values, key: tf.gather(values, key), tff.TensorType(np.float32, [3]), np.int32
    )
    computation = federated(
      lambda keys, limit, values: tff.federated_select(keys, limit, values, gather),
      tff.FederatedType(tff.TensorType(np.int32, [2]), tff.CLIENTS),
      at_server(np.int32),
      at_server(tff.TensorType(np.float32, [3])),
    )
    first, second = computation([[0, 1], [2, 1]], 3, [1.0, 2.0, 4.0])
    assert [float(x) for x in first] == [1.0, 2.0]
    assert [float(x) for x in second] == [4.0, 2.0]

  @pytest.mark.parametrize(
    'secure_sum',
    [
      lambda x: tff.federated_secure_sum(x, max_input=10),
      lambda x: tff.federated_secure_sum_bitwidth(x, bitwidth=8),
    ],
  )
  def test_secure_sums_are_refused(self, secure_sum):
    with pytest.raises(Exception, match=r'(?s)secure_sum|Cannot embed a federated value'):
      federated(secure_sum, INTS)([1, 2])


@pytest.mark.usefixtures('context')
class TestValues:
  def test_structure_keeps_its_containers(self):
    pair = collections.namedtuple('pair', ['x', 'y'])
    value_type = collections.OrderedDict(a=np.int32, b=(np.float32, pair(np.int32, np.bool_)))
    identity = tff.tensorflow.computation(lambda x: x, value_type)
    value = collections.OrderedDict(a=1, b=(2.5, pair(3, True)))
    result = identity(value)
    assert result == value
    assert isinstance(result['b'][1], tuple)
    assert result['b'][1]._fields == ('x', 'y')

  def test_strings(self):
    computation = tff.tensorflow.computation(lambda x: tf.strings.join([x, '!']), np.str_)
    assert computation('hello') == b'hello!'

  def test_arrays_of_strings(self):
    strings = tff.TensorType(np.str_, [2])
    computation = tff.tensorflow.computation(lambda x: tf.reverse(x, [0]), strings)
    assert computation(['a', 'bc']).tolist() == [b'bc', b'a']

  def test_booleans_and_wide_numbers(self):
    computation = tff.tensorflow.computation(
      lambda a, b, c: (tf.logical_not(a), b + 1, c * 2), (np.bool_, np.int64, np.float64)
    )
    assert computation(True, np.int64(2**40), np.float64(0.5)) == (False, 2**40 + 1, 1.0)

  def test_empty_structure(self):
    assert federated(lambda: ())() == ()

  def test_unknown_dimension(self):
    rows = tff.TensorType(np.float32, [None, 2])
    computation = tff.tensorflow.computation(lambda x: tf.reduce_sum(x, 0), rows)
    for num_rows in (0, 1, 3):
      np.testing.assert_array_equal(
        computation(np.ones([num_rows, 2], np.float32)), [num_rows, num_rows]
      )

  def test_tensors_and_variables_as_arguments(self):
    assert add(tf.constant(2), tf.Variable(3)) == 5

  def test_functions_as_arguments(self):
    apply = federated(lambda f, x: f(x), tff.FunctionType(np.int32, np.int32), np.int32)
    assert apply(add_one, 3) == 4

  @pytest.mark.parametrize('value', ['a', 1.5, [1, 2]])
  def test_value_of_another_type_is_refused(self, value):
    with pytest.raises(TypeError):
      add_one(value)

  def test_cohorts_that_differ_are_refused(self):
    computation = federated(lambda x, y: tff.federated_zip((x, y)), INTS, INTS)
    with pytest.raises(ValueError, match='Conflicting cardinalities'):
      computation([1], [1, 2])

  def test_hash_tables(self):
    @tff.tensorflow.computation(np.str_)
    def look_up(word):
      initializer = tf.lookup.KeyValueTensorInitializer(['a', 'b'], [1, 2])
      return tf.lookup.StaticHashTable(initializer, -1).lookup(word)

    computation = federated(
      lambda x: tff.federated_map(look_up, x), tff.FederatedType(np.str_, tff.CLIENTS)
    )
    assert computation(['b', 'z', 'a']) == [2, -1, 1]

  def test_variables_start_afresh_in_every_call(self):
    @tff.tensorflow.computation(np.int32)
    def count(steps):
      counter = tf.Variable(10)

      @tf.function
      def run():
        for _ in tf.range(steps):
          counter.assign_add(1)
        return counter.read_value()

      return run()

    computation = federated(lambda x: tff.federated_map(count, x), INTS)
    for _ in range(2):
      assert computation([0, 1, 2, 3]) == [10, 11, 12, 13]


@pytest.mark.usefixtures('context')
class TestSequences:
  def test_empty_list(self):
    assert total([]) == 0

  def test_lists_and_datasets_at_clients(self):
    computation = federated(
      lambda x: tff.federated_map(total, x), tff.FederatedType(INT_SEQUENCE, tff.CLIENTS)
    )
    dataset = tf.data.Dataset.range(4, output_type=tf.int64).map(lambda x: tf.cast(x, tf.int32))
    assert computation([[1, 2], [], dataset]) == [3, 0, 6]

  def test_structured_elements(self):
    element = collections.OrderedDict(b=np.int32, a=(np.int32, np.int32))

    @tff.tensorflow.computation(tff.SequenceType(element))
    @tf.function
    def weigh(sequence):
      return sequence.reduce(0, lambda x, e: x + e['b'] + 10 * e['a'][0] + 100 * e['a'][1])

    rows = [collections.OrderedDict(b=1, a=(2, 3)), collections.OrderedDict(b=4, a=(5, 6))]
    assert weigh(rows) == 321 + 654
    dataset = tf.data.Dataset.from_tensor_slices(
      collections.OrderedDict(b=[1, 4], a=([2, 5], [3, 6]))
    )
    assert weigh(dataset) == 321 + 654

  def test_batches_of_different_sizes(self):
    batches = tff.SequenceType(tff.TensorType(np.float32, [None]))

    @tff.tensorflow.computation(batches)
    @tf.function
    def sizes(sequence):
      result = tf.zeros([0], tf.int32)
      for batch in sequence:
        tf.autograph.experimental.set_loop_options(
          shape_invariants=[(result, tf.TensorShape([None]))]
        )
        result = tf.concat([result, [tf.size(batch)]], 0)
      return result

    dataset = tf.data.Dataset.range(7).map(lambda x: tf.cast(x, tf.float32)).batch(3)
    np.testing.assert_array_equal(sizes(dataset), [3, 3, 1])

  def test_reduction_with_a_structured_state_and_an_outer_argument(self):
    @tff.tensorflow.computation(INT_SEQUENCE, np.int32)
    @tf.function
    def weighted(sequence, factor):
      return sequence.reduce(
        (tf.constant(0), tf.zeros([2])),
        lambda state, x: (state[0] + factor * x, state[1] + tf.cast(x, tf.float32)),
      )

    whole, parts = weighted([1, 2, 3], 10)
    assert whole == 60
    np.testing.assert_array_equal(parts, [6.0, 6.0])

  def test_sequence_as_a_result(self):
    doubled = tff.tensorflow.computation(lambda x: x.map(lambda y: y * 2), INT_SEQUENCE)
    assert [int(x) for x in doubled([1, 2, 3])] == [2, 4, 6]

  def test_dataset_of_other_elements_is_refused(self):
    with pytest.raises(TypeError):
      total(tf.data.Dataset.from_tensor_slices([1.5]))


@pytest.mark.usefixtures('context')
class TestCohorts:
  def test_no_client(self):
    assert federated(tff.federated_sum, INTS)([]) == 0
    assert np.isnan(federated(lambda x: tff.federated_mean(x), FLOATS)([]))

  @pytest.mark.parametrize('num_clients', [1, 100])
  def test_many_clients(self, num_clients):
    computation = federated(lambda x: tff.federated_sum(tff.federated_map(add_one, x)), INTS)
    assert computation(list(range(num_clients))) == num_clients * (num_clients + 1) // 2

  @pytest.mark.slow
  def test_five_hundred_clients_with_sequences(self):
    computation = federated(
      lambda x: tff.federated_sum(tff.federated_map(total, x)),
      tff.FederatedType(INT_SEQUENCE, tff.CLIENTS),
    )
    assert computation([[client, 1] for client in range(500)]) == 500 * 499 // 2 + 500


@pytest.mark.usefixtures('context')
def test_error_on_a_client_carries_its_text_and_the_next_call_works():
  @tff.tensorflow.computation(np.int32)
  @tf.function
  def refuse_negative(x):
    tf.debugging.assert_non_negative(x, 'a client must not send less than zero')
    return x

  computation = federated(lambda x: tff.federated_sum(tff.federated_map(refuse_negative, x)), INTS)
  with pytest.raises(Exception, match='a client must not send less than zero'):
    computation([1, -2, 3])
  assert computation([1, 2, 3]) == 6


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
def test_learning_process_gives_the_same_model(name, contexts):
  process = _PROCESSES[name]()
  data = _client_data(3)
  weights = {}
  for runtime, context in contexts.items():
    with tff.framework.get_context_stack().install(context):
      state = process.initialize()
      start = process.get_model_weights(state).trainable
      for _ in range(2):
        state = process.next(state, data).state
      weights[runtime] = process.get_model_weights(state).trainable
  for first, second, initial in zip(weights['native'], weights['accelerated'], start, strict=True):
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-6)
    assert not np.allclose(second, initial)  # Both moved.


def test_evaluation_gives_the_same_metrics(contexts):
  evaluate = tff.learning.algorithms.build_fed_eval(_model_fn)
  metrics = []
  for context in contexts.values():
    with tff.framework.get_context_stack().install(context):
      output = evaluate.next(evaluate.initialize(), _client_data(2))
      metrics.append(output.metrics['client_work']['eval']['current_round_metrics'])
  assert metrics[0]['num_examples'] == metrics[1]['num_examples'] == 15
  assert metrics[0]['loss'] == pytest.approx(metrics[1]['loss'], abs=1e-6)


def test_contexts_do_not_disturb_each_other_in_threads(contexts):
  computation = federated(lambda x: tff.federated_sum(tff.federated_map(add_one, x)), INTS)
  results = []

  def run(context, start):
    with tff.framework.get_context_stack().install(context):
      results.extend(computation([start, 0]) - start for _ in range(5))

  threads = [
    threading.Thread(target=run, args=(context, start))
    for context in contexts.values()
    for start in (10, 20)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert results == [2] * 20


def test_unknown_intrinsics_are_refused_by_name(contexts):
  select = tff.tensorflow.computation(lambda x, key: x, np.float32, np.int32)
  computation = federated(
    lambda keys, limit, value: tff.federated_secure_select(keys, limit, value, select),
    tff.FederatedType(tff.TensorType(np.int32, [1]), tff.CLIENTS),
    at_server(np.int32),
    at_server(np.float32),
  )
  with (
    tff.framework.get_context_stack().install(contexts['accelerated']),
    pytest.raises(errors.ComputationError, match="'federated_secure_select'"),
  ):
    computation([[0]], 1, 2.0)
