"""All contexts take and give the same values, sequences among them."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

INTS = tff.FederatedType(np.int32, tff.CLIENTS)
INT_SEQUENCE = tff.SequenceType(np.int32)
federated = tff.federated_computation


@tff.tensorflow.computation(np.int32)
def add_one(x):
  return x + 1


@tff.tensorflow.computation(np.int32, np.int32)
def add(x, y):
  return x + y


@tff.tensorflow.computation(INT_SEQUENCE)
@tf.function
def total(values):
  return values.reduce(0, lambda x, y: x + y)


@pytest.mark.usefixtures('runtime')
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


@pytest.mark.usefixtures('runtime')
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
