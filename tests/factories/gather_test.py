import collections

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_robust.factories import gather

_TYPE = tff.types.to_type([(np.float32, [2]), (np.float32, [])])


def _sent(client_id, weight=1.0, is_byzantine=False):
  return collections.OrderedDict(
    update=[np.float32([client_id, -client_id]), np.float32(10 * client_id)],
    weight=np.float32(weight),
    client_id=np.int64(client_id),
    is_byzantine=is_byzantine,
  )


def _rows(client_ids):
  return np.array([[i, -i, 10 * i] for i in client_ids], np.float32).reshape(-1, 3)


@pytest.fixture(scope='module')
def gather_fn():
  return gather.build_gather(_TYPE)


def test_has_the_documented_types(gather_fn):
  assert str(gather_fn.type_signature) == (
    '({<update=<float32[2],float32>,weight=float32,client_id=int64,is_byzantine=bool>}@CLIENTS'
    ' -> <updates=float32[?,3],weights=float32[?],client_ids=int64[?],'
    'is_byzantine=bool[?]>@SERVER)'
  )
  assert str(gather.build_anonymous_gather(_TYPE).type_signature) == (
    '({<update=<float32[2],float32>,weight=float32>}@CLIENTS'
    ' -> <updates=float32[?,3],weights=float32[?]>@SERVER)'
  )


def test_rows_are_not_secure(gather_fn):
  tff.test.assert_contains_unsecure_aggregation(gather_fn)


def test_returns_every_row_once_and_sorted_by_client(gather_fn):
  rng = np.random.default_rng(0)
  for n in range(1, 41):
    client_ids = rng.permutation(1000)[:n]
    result = gather_fn([_sent(i, weight=i / 2, is_byzantine=bool(i % 3 == 0)) for i in client_ids])
    ordered = np.sort(client_ids)
    np.testing.assert_array_equal(result['client_ids'], ordered)
    np.testing.assert_array_equal(result['updates'], _rows(ordered))
    np.testing.assert_array_equal(result['weights'], ordered / 2)
    np.testing.assert_array_equal(result['is_byzantine'], ordered % 3 == 0)


def test_anonymous_rows_keep_their_weights():
  gather_fn = gather.build_anonymous_gather(tff.TensorType(np.float32, [2]))
  result = gather_fn(
    [collections.OrderedDict(update=np.float32([i, i]), weight=np.float32(i)) for i in range(1, 12)]
  )
  np.testing.assert_array_equal(np.sort(result['weights']), np.arange(1, 12))
  np.testing.assert_array_equal(result['updates'][:, 1], result['weights'])


@pytest.fixture(scope='module')
def parts():
  return gather.build_accumulation(_TYPE, tag_names=['weight', 'client_id', 'is_byzantine'])


def _accumulate(parts, client_ids):
  accumulator = parts.zero()
  for i in client_ids:
    accumulator = parts.accumulate(accumulator, parts.as_row(_sent(i)))
  return accumulator


def test_stacks_double(parts):
  stacks = _accumulate(parts, range(11))['stacks']
  assert [len(stack) for stack in stacks[:5]] == [1, 2, 0, 8, 0]
  # Older rows are in later stacks.
  np.testing.assert_array_equal(np.concatenate(stacks[::-1]), _rows(range(11)))


def test_merged_halves_equal_the_whole(parts):
  whole = parts.report(_accumulate(parts, [5, 3, 8, 1, 9, 2, 7]))
  left, right = _accumulate(parts, [9, 2, 7]), _accumulate(parts, [5, 3, 8, 1])
  for merged in (parts.merge(left, right), parts.merge(right, left)):
    result = parts.report(merged)
    for name in whole:
      np.testing.assert_array_equal(result[name], whole[name])


def test_merge_is_associative_and_empty_is_neutral(parts):
  a, b, c = (_accumulate(parts, ids) for ids in ([4, 1], [3], [9, 7, 5]))
  left = parts.report(parts.merge(parts.merge(a, b), c))
  right = parts.report(parts.merge(parts.merge(parts.zero(), a), parts.merge(b, c)))
  np.testing.assert_array_equal(left['updates'], _rows([1, 3, 4, 5, 7, 9]))
  for name in left:
    np.testing.assert_array_equal(left[name], right[name])


def test_accumulates_further_after_a_merge(parts):
  accumulator = parts.merge(_accumulate(parts, [4, 1, 6]), _accumulate(parts, [3]))
  for i in (2, 8, 0):
    accumulator = parts.accumulate(accumulator, parts.as_row(_sent(i)))
  result = parts.report(accumulator)
  np.testing.assert_array_equal(result['client_ids'], [0, 1, 2, 3, 4, 6, 8])
  np.testing.assert_array_equal(result['updates'], _rows([0, 1, 2, 3, 4, 6, 8]))


def test_refuses_integer_updates():
  with pytest.raises(TypeError, match='dtype int32'):
    gather.build_gather(tff.TensorType(np.int32, [3]))
