"""All contexts give the same values for every federated intrinsic, at any number of clients."""

import collections
import threading

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import errors

INTS = tff.FederatedType(np.int32, tff.CLIENTS)
FLOATS = tff.FederatedType(np.float32, tff.CLIENTS)
INT_SEQUENCE = tff.SequenceType(np.int32)
federated = tff.federated_computation


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


def at_server(member):
  return tff.FederatedType(member, tff.SERVER)


@pytest.mark.usefixtures('runtime')
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

  @pytest.mark.parametrize('num_clients', [1, 3])
  def test_zip_of_what_all_clients_share(self, num_clients):
    both = federated(
      lambda _: tff.federated_zip(
        (tff.federated_value(1, tff.CLIENTS), tff.federated_value(2, tff.CLIENTS))
      ),
      INTS,
    )
    assert [tuple(pair) for pair in both([0] * num_clients)] == [(1, 2)] * num_clients

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

  def test_aggregate_runs_each_part(self, runtime):
    zero = tff.tensorflow.computation(lambda: 100)
    report = tff.tensorflow.computation(lambda x: x * 2, np.int32)
    computation = federated(lambda x: tff.federated_aggregate(x, zero(), add, add, report), INTS)
    # `remote` starts from zero at each of two workers, where TFF asks for a zero that is neutral.
    assert computation([1, 2, 3]) == (412 if runtime == 'remote' else 212)

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

  def test_select(self, runtime):
    gather = tff.tensorflow.computation(
      lambda values, key: tf.gather(values, key), tff.TensorType(np.float32, [3]), np.int32
    )
    computation = federated(
      lambda keys, limit, values: tff.federated_select(keys, limit, values, gather),
      tff.FederatedType(tff.TensorType(np.int32, [2]), tff.CLIENTS),
      at_server(np.int32),
      at_server(tff.TensorType(np.float32, [3])),
    )
    if runtime == 'remote':
      with pytest.raises(errors.ComputationError, match="does not run 'federated_select'"):
        computation([[0, 1], [2, 1]], 3, [1.0, 2.0, 4.0])
      return
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


@pytest.mark.usefixtures('runtime')
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


@pytest.mark.usefixtures('runtime')
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
