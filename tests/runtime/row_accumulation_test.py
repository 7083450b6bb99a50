"""Accumulating all rows at once gives what accumulating one by one gives."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.factories import gather
from tff_robust.runtime import (
  accelerated,
  graph_calls,
  local_function,
  row_accumulation,
  whole_graph,
)

_ROW = tff.TensorType(np.float32, [3])


def _sent(client_ids):
  return [
    collections.OrderedDict(
      update=np.float32([i, -i, 10 * i]),
      weight=np.float32(i / 2),
      client_id=np.int64(i),
      is_byzantine=i % 3 == 0,
    )
    for i in client_ids
  ]


@pytest.fixture
def bulk_calls(monkeypatch):
  """Grows by the number of rows of each accumulation at once."""
  sizes = []
  original = row_accumulation.append_all

  def append_all(so_far, members):
    sizes.append(len(members))
    return original(so_far, members)

  monkeypatch.setattr(row_accumulation, 'append_all', append_all)
  return sizes


def _arrays(gathered):
  return {name: np.array(gathered[name]) for name in gathered}


def _assert_equal(found, expected):
  assert list(found) == list(expected)
  for name in expected:
    np.testing.assert_array_equal(found[name], expected[name])
    assert found[name].dtype == expected[name].dtype


def _one_by_one(parts, sent):
  return functools.reduce(parts.accumulate, map(parts.as_row, sent), parts.zero())


@pytest.fixture(scope='module')
def parts():
  return gather.build_accumulation(_ROW, tag_names=['weight', 'client_id', 'is_byzantine'])


@pytest.fixture(scope='module')
def gather_fn():
  return gather.build_gather(_ROW)


def test_all_rows_at_once_are_the_rows_one_by_one(gather_fn, parts, bulk_calls):
  generator = np.random.default_rng(0)
  with accelerated.accelerated_context(client_threads=1):
    for num_clients in range(1, 19):
      sent = _sent(generator.permutation(100)[:num_clients])
      found = _arrays(gather_fn(sent))
      _assert_equal(found, _arrays(parts.report(_one_by_one(parts, sent))))
      assert bulk_calls == [num_clients]
      bulk_calls.clear()


@pytest.mark.parametrize('client_ids', [[2, 5, 8, 9], [8, 2, 9, 5]])
def test_in_a_whole_graph(gather_fn, bulk_calls, monkeypatch, client_ids):
  monkeypatch.setattr(graph_calls, 'CALLS_BEFORE', 1)
  monkeypatch.setattr(whole_graph, '_QUICK_SECONDS_PER_CLIENT', 1e9)
  with accelerated.accelerated_context():
    interpreted = _arrays(gather_fn(_sent(client_ids)))
    _assert_equal(_arrays(gather_fn(_sent(client_ids))), interpreted)
    _assert_equal(_arrays(gather_fn(_sent(client_ids))), interpreted)
  np.testing.assert_array_equal(interpreted['client_ids'], sorted(client_ids))
  # Once interpreted, once as the graph is made, never again.
  assert bulk_calls == [4, 4]


def test_in_a_whole_graph_after_rows_that_were_there(parts, bulk_calls, monkeypatch):
  monkeypatch.setattr(graph_calls, 'CALLS_BEFORE', 1)
  monkeypatch.setattr(whole_graph, '_QUICK_SECONDS_PER_CLIENT', 1e9)
  row_type = parts.as_row.type_signature.result

  @tff.federated_computation(
    tff.FederatedType(row_type, tff.CLIENTS), parts.zero.type_signature.result
  )
  def gather_after(rows, so_far):
    return tff.federated_aggregate(rows, so_far, parts.accumulate, parts.merge, parts.report)

  with accelerated.accelerated_context():
    rows = [parts.as_row(sent) for sent in _sent([4, 9])]
    for before in ([], [7, 1, 2], [], [5]):
      gathered = _arrays(gather_after(rows, _one_by_one(parts, _sent(before))))
      expected = parts.report(_one_by_one(parts, _sent([*before, 4, 9])))
      _assert_equal(gathered, _arrays(expected))
  # Once interpreted, once as the graph is made.
  assert bulk_calls == [2, 2]


def test_rows_of_one_client_keep_their_order_of_arrival(gather_fn):
  sent = _sent([4, 1, 4, 1])
  for position, message in enumerate(sent):
    message['weight'] = np.float32(position)
  with accelerated.accelerated_context():
    np.testing.assert_array_equal(gather_fn(sent)['weights'], [1, 3, 0, 2])


@pytest.mark.parametrize('left_at_once', [False, True])
@pytest.mark.parametrize('right_at_once', [False, True])
def test_on_both_sides_of_a_merge_and_after_it(parts, left_at_once, right_at_once):
  zero_type = parts.zero.type_signature.result
  row_type = parts.as_row.type_signature.result

  @tff.federated_computation(tff.FederatedType(row_type, tff.CLIENTS), zero_type)
  def at_once(rows, so_far):
    identity = tff.tensorflow.computation(lambda gathered: gathered, zero_type)
    return tff.federated_aggregate(rows, so_far, parts.accumulate, parts.merge, identity)

  def accumulate(so_far, client_ids, all_at_once):
    rows = [parts.as_row(sent) for sent in _sent(client_ids)]
    return (
      at_once(rows, so_far) if all_at_once else functools.reduce(parts.accumulate, rows, so_far)
    )

  with accelerated.accelerated_context():
    left = accumulate(parts.zero(), [7, 3, 9], left_at_once)
    right = accumulate(parts.zero(), [8, 1], right_at_once)
    merged = accumulate(parts.merge(left, right), [0, 5], left_at_once)
    merged = accumulate(merged, [4, 2, 6], right_at_once)
    expected = _one_by_one(parts, _sent([7, 3, 9, 8, 1, 0, 5, 4, 2, 6]))
    _assert_equal(_arrays(parts.report(merged)), _arrays(parts.report(expected)))


def _block_of(computation):
  return computation.to_building_block()


def test_knows_the_accumulation_by_its_mark(parts):
  assert row_accumulation.appends(_block_of(parts.accumulate))
  for other in (parts.as_row, parts.zero, parts.merge, parts.report):
    assert not row_accumulation.appends(_block_of(other))


def test_does_not_mistake_what_looks_alike(parts):
  gathered_type, row_type = parts.accumulate.type_signature.parameter

  @tff.tensorflow.computation(gathered_type, row_type)
  def forgets_rows(gathered, sent):
    del sent
    return gathered

  @tff.tensorflow.computation(np.float32, np.float32)
  def has_another_type(so_far, value):
    return so_far + row_accumulation.marked(value)

  @tff.federated_computation(gathered_type, row_type)
  def does_more(gathered, sent):
    return parts.accumulate(parts.accumulate(gathered, sent), sent)

  for computation in (forgets_rows, has_another_type, does_more):
    assert not row_accumulation.appends(_block_of(computation))


def test_any_other_accumulation_takes_several_members_a_call_with_the_same_bits(monkeypatch):
  # Rounds after each step: another order, or fused steps, would show.
  @tff.tensorflow.computation(np.float32, np.float32)
  def accumulate(so_far, value):
    return so_far * 1.0001 + value

  @tff.tensorflow.computation(np.float32, np.float32)
  def merge(left, right):
    return left + right

  @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
  def total(values):
    identity = tff.tensorflow.computation(lambda x: x, np.float32)
    return tff.federated_aggregate(values, np.float32(0), accumulate, merge, identity)

  values = np.random.default_rng(3).standard_normal(37).astype(np.float32)
  calls = []
  original = local_function.LocalFunction.accumulate

  def counted(function, so_far, pending, cancellation):
    before = len(pending)
    result = original(function, so_far, pending, cancellation)
    calls.append(before - len(pending))
    return result

  monkeypatch.setattr(local_function.LocalFunction, 'accumulate', counted)
  with accelerated.accelerated_context():
    found = np.float32(total(list(values)))
  expected = np.float32(0)
  for value in values:
    expected = np.float32(np.float32(expected * np.float32(1.0001)) + value)
  assert found == expected
  assert calls == [16, 16, 4, 1]


def test_accumulation_at_once_hands_python_few_tensors(gather_fn, monkeypatch):
  made = []

  def counted(original):
    return lambda *args, **kwargs: made.append(1) or original(*args, **kwargs)

  monkeypatch.setattr(tf, 'concat', counted(tf.concat))
  monkeypatch.setattr(tf, 'stack', counted(tf.stack))
  with accelerated.accelerated_context():
    gather_fn(_sent(range(12)))
    made.clear()
    gather_fn(_sent(range(12)))
  assert len(made) == 7  # Rows, and twice three tags.
