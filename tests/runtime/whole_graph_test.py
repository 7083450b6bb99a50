"""A computation that has become one graph is the computation that it was."""

import contextlib
import os
import signal
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from computations import learning_process
from tff_robust import config
from tff_robust.runtime import (
  accelerated,
  errors,
  graph_calls,
  marshalling,
  tensorflow_internals,
  whole_graph,
)
from tff_robust.testing import toy_problems

INTS = tff.FederatedType(np.int32, tff.CLIENTS)


@pytest.fixture
def context(monkeypatch):
  """A context in which a second call of anything is a graph."""
  monkeypatch.setattr(graph_calls, 'CALLS_BEFORE', 1)
  monkeypatch.setattr(whole_graph, '_QUICK_SECONDS_PER_CLIENT', 1e9)
  with accelerated.accelerated_context(client_threads=2) as installed:
    yield installed


@pytest.fixture
def calls(monkeypatch):
  """Grows by one with every call of TensorFlow from Python."""
  made = []
  original = tensorflow_internals.FlatFunction.__call__

  def call(function, tensors, cancellation):
    if tf.executing_eagerly():
      made.append(function)
    return original(function, tensors, cancellation)

  monkeypatch.setattr(tensorflow_internals.FlatFunction, '__call__', call)
  return made


@tff.tensorflow.computation(np.int32)
def count_up(x):
  counter = tf.Variable(0)

  @tf.function
  def add():
    tf.debugging.assert_less(x, 100, message='one hundred is too much')
    return counter.assign_add(x)

  return add()


@tff.tensorflow.computation(np.int32, np.int32)
def add_to_ten(x, y):
  return x + y + 10


add_all = tff.federated_computation(
  lambda x: tff.federated_sum(tff.federated_map(count_up, x)), INTS
)


def test_a_repeated_computation_becomes_one_call_with_fresh_variables(context, calls):
  assert add_all([1, 2, 3]) == 6
  assert len(calls) > 3
  for values in ([1, 2, 3], [4, 5, 6], [4, 5, 6]):
    calls.clear()
    assert add_all(values) == sum(values)
    assert len(calls) == 1


def test_clients_with_variables_wait_for_those_of_their_thread_alone(context, monkeypatch):
  made = []
  original = tensorflow_internals.FlatFunction.__init__

  def remember(function, concrete):
    made.append(concrete.graph)
    original(function, concrete)

  monkeypatch.setattr(tensorflow_internals.FlatFunction, '__init__', remember)
  for _ in range(2):
    assert add_all([1, 2, 3, 4]) == 10
  work = [op for op in made[-1].get_operations() if op.type == 'StatefulPartitionedCall']

  def awaited(op):
    before = [*op.control_inputs, *[tensor.op for tensor in op.inputs]]
    return set(before).union(*map(awaited, before))

  found = [[earlier in awaited(client) for earlier in work] for client in work]
  assert found == [[False] * 4, [False] * 4, [True] + [False] * 3, [False, True, False, False]]


def test_cohorts_of_other_sizes_have_graphs_of_their_own_up_to_a_few(context, calls):
  for size in (2, 3, 4, 5, 6):
    add_all(list(range(size)))
    calls.clear()
    assert add_all(list(range(size))) == sum(range(size))
    assert (len(calls) == 1) == (size < 6)


def test_many_clients_become_a_graph_after_a_third_of_their_number_of_calls(context, calls):
  cohort = list(range(66))
  for _ in range(22):
    calls.clear()
    assert add_all(cohort) == sum(cohort)
    assert len(calls) > 1
  calls.clear()
  assert add_all(cohort) == sum(cohort)
  assert len(calls) == 1


def test_sizes_that_are_rare_take_no_place_of_those_that_are_common(context, calls, monkeypatch):
  monkeypatch.setattr(graph_calls, 'CALLS_BEFORE', 2)
  for num_clients in range(2, 12):
    assert add_all([1] * num_clients) == num_clients
  for _ in range(2):
    assert add_all([1] * 12) == 12
  calls.clear()
  assert add_all([1] * 12) == 12
  assert len(calls) == 1


@pytest.fixture
def take_seconds(monkeypatch):
  """A function that says how long calls of graphs take; those of the interpreter take 2 s."""

  def take(graph_seconds):
    clock = [0.0]
    monkeypatch.setattr(whole_graph.time, 'perf_counter', lambda: clock[0])
    original = whole_graph.WholeGraphs._call

    def take_time(graphs, *arguments):
      clock[0] += graph_seconds
      return original(graphs, *arguments)

    def take_time_to_interpret(graphs, call, interpret, argument):
      def slowly(call):
        clock[0] += 2.0
        return interpret(call)

      return run(graphs, call, slowly, argument)

    run = whole_graph.WholeGraphs.run
    monkeypatch.setattr(whole_graph.WholeGraphs, '_call', take_time)
    monkeypatch.setattr(whole_graph.WholeGraphs, 'run', take_time_to_interpret)

  return take


@pytest.mark.parametrize(('num_clients', 'expected'), [(3, 1 + 1 + 10), (66, 22 + 1 + 10)])
def test_tells_after_how_many_calls_it_is_decided(
  context, calls, take_seconds, num_clients, expected
):
  take_seconds(3.0)
  assert graph_calls.calls_until_decided(num_clients) == expected
  for _ in range(expected - 1):
    add_all([1] * num_clients)
  calls.clear()
  add_all([1] * num_clients)
  assert len(calls) == 1  # The last call of the graph, which is the slower way.
  add_all([1] * num_clients)
  assert len(calls) > 2


@pytest.mark.parametrize('graph_seconds', [1.0, 2.05, 2.15, 3.0])
def test_a_graph_that_is_slower_is_given_up(context, calls, take_seconds, graph_seconds):
  take_seconds(graph_seconds)
  for _ in range(1 + 11):  # Interpreted, then a graph that is compared.
    add_all([1, 2, 3])
  calls.clear()
  assert add_all([4, 5, 6]) == 15
  assert (len(calls) == 1) == (graph_seconds < 2.1)


def test_slow_clients_and_single_ones_stay_interpreted(context, calls, monkeypatch):
  for _ in range(3):
    calls.clear()
    assert add_all([7]) == 7
    assert len(calls) > 1
  monkeypatch.setattr(whole_graph, '_QUICK_SECONDS_PER_CLIENT', 0.0)
  for _ in range(3):
    calls.clear()
    assert add_all([1, 2, 3, 4]) == 10
    assert len(calls) > 1


def test_error_names_the_client_and_the_next_call_works(context):
  for _ in range(2):
    assert add_all([1, 2, 3]) == 6
  with pytest.raises(errors.ComputationError, match=r'client 1 of 3: .*one hundred is too much'):
    add_all([1, 100, 3])
  assert add_all([1, 2, 3]) == 6


def test_a_graph_that_fails_where_the_computation_does_not_is_given_up(context, calls, monkeypatch):
  original = whole_graph.WholeGraphs._call
  tried = []

  def run_out_of_memory(graphs, *arguments):
    tried.append(arguments)
    raise tf.errors.ResourceExhaustedError(None, None, 'too large')

  monkeypatch.setattr(whole_graph.WholeGraphs, '_call', run_out_of_memory)
  for _ in range(4):
    assert add_all([1, 2, 3]) == 6
  assert len(tried) == 1
  # Another number of clients has a graph of its own, also after an error that is not its fault.
  monkeypatch.setattr(whole_graph.WholeGraphs, '_call', original)
  assert add_all([1, 2]) == 3
  for values in ([1, 100], [1, 2]):
    calls.clear()
    with pytest.raises(errors.ComputationError) if 100 in values else contextlib.nullcontext():
      assert add_all(values) == 3
  assert len(calls) == 1


@pytest.mark.parametrize('wrap', [lambda f: f, tf.function], ids=['in the graph', 'in a function'])
def test_numbers_from_a_seed_go_on_and_do_not_start_again(context, calls, wrap):
  draw = tff.tensorflow.computation(wrap(lambda x: x + tf.random.normal([], seed=3)), np.float32)
  computation = tff.federated_computation(
    lambda x: tff.federated_map(draw, x), tff.FederatedType(np.float32, tff.CLIENTS)
  )
  with accelerated.accelerated_context(client_threads=1):
    drawn = [computation([0.0, 0.0]) for _ in range(3)]
  assert len({float(x) for members in drawn for x in members}) == 6
  # Nor where several members are accumulated by one call.
  zero = tff.tensorflow.computation(lambda: 0.0)
  numbers = tff.TensorType(np.float32)
  step = tff.tensorflow.computation(
    wrap(lambda total, x: total + x + tf.random.normal([], seed=3)), numbers, numbers
  )
  merge = tff.tensorflow.computation(lambda x, y: x + y, numbers, numbers)
  report = tff.tensorflow.computation(lambda x: x, numbers)
  add_all = tff.federated_computation(
    lambda x: tff.federated_aggregate(x, zero(), step, merge, report),
    tff.FederatedType(np.float32, tff.CLIENTS),
  )
  with accelerated.accelerated_context(client_threads=1):
    total = add_all([0.0] * 16)
  with accelerated.accelerated_context(client_threads=1):
    one_by_one = computation([0.0] * 16)
  assert len({float(x) for x in one_by_one}) == 16
  assert total == pytest.approx(sum(one_by_one), abs=1e-4)
  # A control: without a seed, there is nothing that could start again.
  fresh = tff.tensorflow.computation(wrap(lambda x: x + tf.random.normal([])), np.float32)
  computation = tff.federated_computation(
    lambda x: tff.federated_map(fresh, x), tff.FederatedType(np.float32, tff.CLIENTS)
  )
  computation([0.0, 0.0])
  calls.clear()
  computation([0.0, 0.0])
  assert len(calls) == 1


def test_interrupt_ends_a_graph(context):
  @tff.tensorflow.computation(np.int32)
  def spin(rounds):
    _, total = tf.while_loop(
      lambda i, _: i < rounds, lambda i, x: (i + 1, tf.sin(x) + 1), (0, tf.zeros([100]))
    )
    return total[0]

  computation = tff.federated_computation(lambda x: tff.federated_map(spin, x), INTS)
  for _ in range(2):
    assert computation([0, 0]) == [0.0, 0.0]
  interrupt = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
  interrupt.start()
  begin = time.monotonic()
  with pytest.raises(KeyboardInterrupt):
    computation([500_000_000, 500_000_000])
  assert time.monotonic() - begin < 30.0
  assert computation([0, 0]) == [0.0, 0.0]


@tff.federated_computation(INTS)
def share_a_pair(_):
  return tff.federated_zip(
    (tff.federated_value(1, tff.CLIENTS), tff.federated_value(2, tff.CLIENTS))
  )


def test_each_client_has_its_member_of_what_all_share(context, calls):
  same = tff.federated_computation(lambda x: x, INTS)

  @tff.federated_computation(INTS)
  def computation(x):
    pair = share_a_pair(x)
    seven = tff.federated_value(7, tff.CLIENTS)
    return pair, tff.federated_map(add_to_ten, pair), same(seven)

  for num_graph_calls in (None, 1, 1):
    calls.clear()
    pairs, sums, sevens = computation([0, 0, 0])
    assert [tuple(pair) for pair in pairs] == [(1, 2)] * 3
    assert (sums, sevens) == ([13, 13, 13], [7, 7, 7])
    assert num_graph_calls is None or len(calls) == num_graph_calls
  assert [list(part) for part in computation([])] == [[], [], []]


def test_value_with_another_number_of_members_than_its_type_is_refused():
  one = marshalling.Federated([tf.constant(1)], True)
  with pytest.raises(errors.ComputationError, match=r'1 members stands where .* has 3'):
    whole_graph._flatten(one, INTS, 3)
  with pytest.raises(errors.ComputationError, match=r'1 tensors stand where .* has 3'):
    whole_graph._unflatten([tf.constant(1)], INTS, 3)


def test_selected_slices_are_the_same_in_a_graph(context, calls):
  keys = tff.FederatedType(tff.TensorType(np.int32, [2]), tff.CLIENTS)
  largest = tff.FederatedType(np.int32, tff.SERVER)
  table = tff.FederatedType(tff.TensorType(np.float32, [3]), tff.SERVER)
  pick = tff.tensorflow.computation(
    lambda values, key: tf.gather(values, key), table.member, np.int32
  )

  @tff.federated_computation(keys, largest, table)
  def select(keys, largest, table):
    return tff.federated_select(keys, largest, table, pick)

  for is_graph in (False, True, True):
    calls.clear()
    chosen = select([np.int32([0, 2]), np.int32([1, 1])], 3, np.float32([5, 6, 7]))
    assert [list(sequence) for sequence in chosen] == [[5.0, 7.0], [6.0, 6.0]]
    assert (len(calls) == 1) == is_graph


def test_what_cannot_be_traced_stays_interpreted(context, calls, monkeypatch):
  def refuse(*_):
    raise TypeError('a value is needed')

  monkeypatch.setattr(whole_graph, '_flatten', refuse)
  for _ in range(3):
    calls.clear()
    assert add_all([1, 2, 3]) == 6
    assert len(calls) > 1


@pytest.mark.parametrize('algorithm', ['fed_sgd', 'fed_avg'])
def test_training_under_attack_is_the_same_to_the_last_bit(context, calls, monkeypatch, algorithm):
  experiment = config.ExperimentConfig(
    seed=3,
    data=config.DataConfig(num_clients=7),
    training=config.TrainingConfig(
      num_rounds=1, algorithm=algorithm, clients_per_round=7, batch_size=4
    ),
    aggregation=config.AggregationConfig(
      aggregator='multi_krum', options={'max_byzantine': 2, 'num_selected': 3}
    ),
    attack=config.AttackConfig(
      attack='inner_product_manipulation', options={'attack_epsilon': 0.5}, num_byzantine=2
    ),
    privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=0.5),
  )
  process = learning_process.build_learning_process(
    experiment, model=toy_problems.softmax_regression()
  )
  problem = toy_problems.blobs(num_clients=7, examples_per_client=9)
  cohort = toy_problems.cohort(problem, num_byzantine=2)

  def train():
    state, rounds, are_graphs = process.initialize(), [], []
    for _ in range(4):
      calls.clear()
      output = process.next(state, cohort)
      are_graphs.append(len(calls) == 1)
      state = output.state
      rounds.append(tf.nest.map_structure(np.array, (state, output.metrics)))
    return rounds, are_graphs

  graphs, are_graphs = train()
  assert are_graphs == [False, True, True, True]
  # Another context, since the first one has its graph.
  monkeypatch.setattr(graph_calls, 'CALLS_BEFORE', 10**9)
  with accelerated.accelerated_context(client_threads=2):
    interpreted, are_graphs = train()
  assert not any(are_graphs)
  for found, expected in zip(graphs, interpreted, strict=True):
    tf.nest.map_structure(np.testing.assert_array_equal, found, expected)
