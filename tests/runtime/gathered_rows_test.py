"""Rows that clients compute are written into one matrix, and nothing else changes."""

import collections
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from computations import learning_process
from tff_robust import config
from tff_robust.factories import gather
from tff_robust.runtime import (
  accelerated,
  errors,
  gathered_rows,
  graph_calls,
  local_function,
  row_places,
  whole_graph,
)
from tff_robust.testing import toy_problems

_WIDTH = 5
_ROW = tff.TensorType(np.float32, [_WIDTH])


@pytest.fixture(autouse=True)
def _small_matrices(monkeypatch):
  monkeypatch.setattr(gathered_rows, '_FEWEST_ENTRIES', 0)


@pytest.fixture
def stacks(monkeypatch):
  """Grows by (rows, whether they were put together without a copy)."""
  seen = []
  original = row_places.stack

  def stack(rows):
    matrix = original(rows)
    are_places = all(isinstance(row, row_places.RowPlace) for row in rows)
    seen.append((len(rows), are_places and matrix is rows[0].matrix))
    return matrix

  monkeypatch.setattr(row_places, 'stack', stack)
  return seen


@tff.tensorflow.computation(np.float32)
def _client(x):
  row = tf.range(_WIDTH, dtype=tf.float32) * x
  return collections.OrderedDict(loss=tf.square(x), update=row, name=tf.strings.as_string(x))


def _gathering(gather_rows, *, also=None):
  """Returns a computation that gathers the rows of clients; `also` is computed from them too."""

  @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
  def round_fn(numbers):
    results = tff.federated_map(_client, numbers)
    sent = tff.federated_zip(
      collections.OrderedDict(
        update=results.update, weight=tff.federated_value(np.float32(1), tff.CLIENTS)
      )
    )
    gathered = gather_rows(sent)
    return gathered if also is None else (gathered, also(results))

  return round_fn


@pytest.fixture(scope='module')
def gather_rows():
  return gather.build_anonymous_gather(_ROW)


def _expected(numbers):
  return np.arange(_WIDTH, dtype=np.float32) * np.float32(numbers)[:, np.newaxis]


@pytest.mark.parametrize('num_clients', [1, 2, 7, 40])
def test_the_rows_of_clients_are_the_matrix(gather_rows, stacks, num_clients):
  numbers = [float(number) for number in np.random.default_rng(0).normal(size=num_clients)]
  round_fn = _gathering(gather_rows)
  with accelerated.accelerated_context():
    for _ in range(2):  # Each call has a matrix of its own.
      np.testing.assert_array_equal(round_fn(numbers)['updates'], _expected(numbers))
  assert stacks == [(num_clients, True)] * 2


def test_no_client_is_no_row(gather_rows):
  with accelerated.accelerated_context():
    assert np.shape(_gathering(gather_rows)([])['updates']) == (0, _WIDTH)


def test_rows_of_a_small_matrix_are_put_together_at_the_end(gather_rows, stacks, monkeypatch):
  monkeypatch.setattr(gathered_rows, '_FEWEST_ENTRIES', 3 * _WIDTH)
  with accelerated.accelerated_context():
    for numbers in ([2.0, 3.0], [2.0, 3.0, 4.0]):
      found = _gathering(gather_rows)(numbers)['updates']
      np.testing.assert_array_equal(found, _expected(numbers))
  assert stacks == [(2, False), (3, True)]


def test_a_round_with_a_large_matrix_never_becomes_one_graph(gather_rows, stacks, monkeypatch):
  monkeypatch.setattr(graph_calls, 'CALLS_BEFORE', 2)
  monkeypatch.setattr(whole_graph, '_QUICK_SECONDS_PER_CLIENT', 1e9)
  monkeypatch.setattr(gathered_rows, '_FEWEST_ENTRIES', 3 * _WIDTH)
  round_fn = _gathering(gather_rows)
  with accelerated.accelerated_context():
    for _ in range(4):
      round_fn([2.0, 3.0, 4.0])
    assert stacks == [(3, True)] * 4
    for _ in range(4):
      round_fn([2.0, 3.0])
  # Twice interpreted, and once while the graph is made.
  assert stacks == [(3, True)] * 4 + [(2, False)] * 3


def test_numbers_from_a_seed_go_on_where_the_matrix_becomes_large(gather_rows, stacks, monkeypatch):
  monkeypatch.setattr(gathered_rows, '_FEWEST_ENTRIES', 3 * _WIDTH)

  def rounds(seed):
    draw = tff.tensorflow.computation(
      lambda x: x + tf.random.normal([_WIDTH], seed=seed), np.float32
    )

    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def round_fn(numbers):
      weight = tff.federated_value(np.float32(1), tff.CLIENTS)
      rows = tff.federated_map(draw, numbers)
      return gather_rows(tff.federated_zip(collections.OrderedDict(update=rows, weight=weight)))

    with accelerated.accelerated_context(client_threads=1):
      drawn = [round_fn([0.0] * num_clients)['updates'] for num_clients in (2, 3, 2, 3)]
    return np.concatenate(drawn)

  assert len(np.unique(rounds(seed=3))) == 10 * _WIDTH
  assert stacks == [(2, False), (3, False)] * 2
  # A control: without a seed, there is nothing that could start again.
  stacks.clear()
  rounds(seed=None)
  assert stacks == [(2, False), (3, True)] * 2


def test_what_a_client_has_used_is_let_go_before_the_next_begins(gather_rows, monkeypatch):
  inputs, alive = [], []
  original = local_function.LocalFunction.place_row

  def place_row(self, argument, *args, **options):
    alive.append([reference() is not None for reference in inputs])
    inputs.append(weakref.ref(argument))
    return original(self, argument, *args, **options)

  monkeypatch.setattr(local_function.LocalFunction, 'place_row', place_row)
  row_type = tff.TensorType(np.float32, [_WIDTH])
  double = tff.tensorflow.computation(lambda row: 2 * row, row_type)

  @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
  def round_fn(numbers):
    weight = tff.federated_value(np.float32(1), tff.CLIENTS)
    rows = tff.federated_map(_client, numbers).update
    doubled = tff.federated_map(double, rows)
    return gather_rows(tff.federated_zip(collections.OrderedDict(update=doubled, weight=weight)))

  with accelerated.accelerated_context(client_threads=1):
    found = round_fn([1.0, 2.0, 3.0])['updates']
  np.testing.assert_array_equal(found, 2 * _expected([1, 2, 3]))
  assert alive == [[], [False], [False, False]]


def test_a_function_that_rearranges_with_a_value_from_around_it(gather_rows, stacks):
  @tff.federated_computation(_ROW, tff.FederatedType(np.float32, tff.CLIENTS))
  def round_fn(row, numbers):
    weight = tff.federated_value(np.float32(1), tff.CLIENTS)

    @tff.federated_computation(np.float32)
    def same_row(number):
      del number
      return row

    rows = tff.federated_map(same_row, numbers)
    return gather_rows(tff.federated_zip(collections.OrderedDict(update=rows, weight=weight)))

  row = np.arange(_WIDTH, dtype=np.float32)
  with accelerated.accelerated_context():
    np.testing.assert_array_equal(round_fn(row, [1.0, 2.0])['updates'], [row, row])
  assert stacks == [(2, False)]


@tff.tensorflow.computation(_ROW)
def _largest(row):
  return tf.reduce_max(row)


@pytest.mark.parametrize(
  ('also', 'expected'),
  [
    # What a client's function returns beside the row.
    (lambda results: tff.federated_mean(results.loss), 14 / 3),
    # The row itself, by an aggregation of TFF, and by another function of clients.
    (lambda results: tff.federated_sum(results.update), [0, 6, 12, 18, 24]),
    (lambda results: tff.federated_max(tff.federated_map(_largest, results.update)), 12),
  ],
)
def test_what_else_reads_clients_results(gather_rows, stacks, also, expected):
  with accelerated.accelerated_context():
    gathered, other = _gathering(gather_rows, also=also)([1.0, 3.0, 2.0])
  np.testing.assert_array_equal(gathered['updates'], _expected([1, 3, 2]))
  np.testing.assert_allclose(other, expected, rtol=1e-6)
  assert stacks == [(3, True)]


def test_rows_that_stay_at_clients(gather_rows):
  with accelerated.accelerated_context():
    gathered, rows = _gathering(gather_rows, also=lambda results: results.update)([1.0, 3.0])
  np.testing.assert_array_equal(gathered['updates'], _expected([1, 3]))
  np.testing.assert_array_equal(rows, _expected([1, 3]))


def test_what_is_gathered_in_another_order_or_only_in_part_is_copied():
  matrix = tf.reshape(tf.range(6, dtype=tf.float32), [3, 2])
  places = [row_places.RowPlace(matrix, index) for index in range(3)]
  assert row_places.stack(places) is matrix
  for chosen in ([1, 0, 2], [0, 1], [0, 0, 0]):
    found = row_places.stack([places[index] for index in chosen])
    np.testing.assert_array_equal(found, matrix.numpy()[chosen])
  mixed = row_places.stack([places[0], tf.constant([8.0, 9.0]), places[2]])
  np.testing.assert_array_equal(mixed, [[0, 1], [8, 9], [4, 5]])


def test_in_a_graph_each_row_is_copied_when_it_is_there():
  @tf.function
  def stacked(first, second):
    return row_places.stack([first, second, first])

  first, second = tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0])
  np.testing.assert_array_equal(stacked(first, second), [[1, 2], [3, 4], [1, 2]])
  operations = stacked.get_concrete_function(first, second).graph.get_operations()
  writes = {op for op in operations if op.type == 'InplaceUpdate'}
  assert len(writes) == 3

  def awaited(op):
    before = [*op.control_inputs, *[tensor.op for tensor in op.inputs]]
    return set(before).union(*map(awaited, before))

  assert not any(awaited(write) & writes for write in writes)


def test_a_client_that_fails_is_named_and_the_next_call_is_right(gather_rows):
  @tff.tensorflow.computation(np.float32)
  def may_fail(x):
    with tf.control_dependencies([tf.debugging.assert_positive(x, message='not positive')]):
      return tf.fill([_WIDTH], x)

  @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
  def round_fn(numbers):
    weights = tff.federated_value(np.float32(1), tff.CLIENTS)
    rows = tff.federated_map(may_fail, numbers)
    return gather_rows(tff.federated_zip(collections.OrderedDict(update=rows, weight=weights)))

  with accelerated.accelerated_context():
    with pytest.raises(errors.ComputationError, match=r'client 1 of 3: .*not positive'):
      round_fn([1.0, -1.0, 2.0])
    np.testing.assert_array_equal(round_fn([1.0, 4.0])['updates'], [[1] * 5, [4] * 5])


@pytest.mark.parametrize('algorithm', ['fed_sgd', 'fed_avg'])
@pytest.mark.parametrize('num_byzantine', [0, 1])
def test_rounds_of_training_hold_no_second_copy(stacks, monkeypatch, algorithm, num_byzantine):
  attack = config.AttackConfig()
  if num_byzantine:
    attack = config.AttackConfig(attack='sign_flip', num_byzantine=num_byzantine)
  process = learning_process.build_learning_process(
    config.ExperimentConfig(
      seed=1,
      data=config.DataConfig(num_clients=5),
      training=config.TrainingConfig(
        num_rounds=1, clients_per_round=5, batch_size=12, algorithm=algorithm
      ),
      aggregation=config.AggregationConfig(aggregator='krum', options={'max_byzantine': 1}),
      attack=attack,
    ),
    model=toy_problems.softmax_regression(),
  )
  problem = toy_problems.blobs(num_clients=5, examples_per_client=12)
  found = []
  # The second time two rounds are interpreted, and two are one graph, made once.
  monkeypatch.setattr(graph_calls, 'CALLS_BEFORE', 2)
  monkeypatch.setattr(whole_graph, '_QUICK_SECONDS_PER_CLIENT', 1e9)
  for fewest in (0, 1 << 40):
    monkeypatch.setattr(gathered_rows, '_FEWEST_ENTRIES', fewest)
    with accelerated.accelerated_context():
      state = process.initialize()
      for _ in range(4):
        output = process.next(state, toy_problems.cohort(problem, num_byzantine=num_byzantine))
        state = output.state
      found.append([np.ravel(w) for w in process.get_model_weights(state).trainable])
  np.testing.assert_array_equal(np.concatenate(found[0]), np.concatenate(found[1]))
  # An adversary has the honest messages gathered for it first.
  gathers = 1 + num_byzantine
  assert stacks == [(5, True)] * 4 * gathers + [(5, False)] * 3 * gathers
