"""Python values go in and come out unchanged, or are refused."""

import collections
import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import marshalling

VECTOR = tff.TensorType(np.float32, [2])
_REFUSALS = (
  r'is not of type|does not fit into type|is not a sequence of'
  r'|is a tf\.data\.Dataset or a list, not|does not fit <|stands where'
)


@pytest.mark.parametrize(
  ('value', 'value_type', 'expected'),
  [
    (3, tff.TensorType(np.float32), 3.0),
    (True, tff.TensorType(np.int32), 1),
    (np.int64(7), tff.TensorType(np.int32), 7),
    (255, tff.TensorType(np.uint8), 255),
    ([1, 2], tff.TensorType(np.uint32, [2]), [1, 2]),
    (7, tff.TensorType(np.uint64), 7),
    (2**64 - 1, tff.TensorType(np.uint64), 2**64 - 1),
    (np.uint64(2**63 - 1), tff.TensorType(np.int64), 2**63 - 1),
    (np.inf, tff.TensorType(np.float32), np.inf),
    (np.float64(3e38), tff.TensorType(np.float32), np.float32(3e38)),
    ([1.5, 2.5], VECTOR, [1.5, 2.5]),
    ([], tff.TensorType(np.int32, [None]), []),
    (np.float64(0.5), tff.TensorType(np.float32), 0.5),
    (b'x', tff.TensorType(np.str_), b'x'),
    ([], tff.TensorType(np.str_, [None]), []),
    ([b'a\0', b'b'], tff.TensorType(np.str_, [2]), np.array([b'a\0', b'b'], object)),
    (['ab', 'c'], tff.TensorType(np.str_, [None]), np.array([b'ab', b'c'], object)),
  ],
)
def test_takes_values_of_the_same_kind(value, value_type, expected):
  tensor = marshalling.embed(value, value_type)
  assert tensor.dtype == (tf.string if value_type.dtype.type is np.str_ else value_type.dtype.type)
  np.testing.assert_array_equal(tensor.numpy(), expected)


@pytest.mark.parametrize(
  ('value', 'value_type'),
  [
    (1.5, tff.TensorType(np.int32)),
    (2**40, tff.TensorType(np.int32)),
    (-1, tff.TensorType(np.uint8)),
    (256, tff.TensorType(np.uint8)),
    (-1, tff.TensorType(np.uint64)),
    (2**63, tff.TensorType(np.int64)),
    (1e300, tff.TensorType(np.float32)),
    ([1.0, -1e300], VECTOR),
    (70_000, tff.TensorType(np.float16)),
    (2**24 + 1, tff.TensorType(np.float32)),
    ([1, -(2**24) - 1], VECTOR),
    (2**53 + 1, tff.TensorType(np.complex128)),
    (1e300 + 1j, tff.TensorType(np.complex64)),
    (1, tff.TensorType(np.bool_)),
    ('x', tff.TensorType(np.int32)),
    (1, tff.TensorType(np.str_)),
    ([1.0], VECTOR),
    (tf.constant(1.0), tff.TensorType(np.float64)),
    (tf.constant([1.0]), VECTOR),
    (5, tff.SequenceType(np.int32)),
    ([1, 2, 3], tff.StructType([np.int32, np.int32])),
    ({'b': 1}, tff.StructType([('a', np.int32)])),
  ],
)
def test_refuses_what_it_would_have_to_change(value, value_type):
  with pytest.raises(TypeError, match=_REFUSALS):
    marshalling.embed(value, value_type)


def test_structures_become_tuples_and_come_back_with_their_names():
  value_type = tff.StructType([('a', np.int32), ('b', tff.StructType([np.float32, VECTOR]))])
  inside = marshalling.embed(collections.OrderedDict(a=1, b=(2.0, [3.0, 4.0])), value_type)
  assert isinstance(inside, tuple)
  assert isinstance(inside[1], tuple)
  outside = marshalling.export(inside, value_type)
  assert outside.a.numpy() == 1
  np.testing.assert_array_equal(outside.b[1], [3.0, 4.0])


def test_federated_values_of_one_and_of_many():
  many = marshalling.embed([1, 2], tff.FederatedType(np.int32, tff.CLIENTS))
  assert [int(many.at(client)) for client in range(2)] == [1, 2]
  one = marshalling.embed(5, tff.FederatedType(np.int32, tff.CLIENTS, all_equal=True))
  assert int(one.at(7)) == 5


Pair = collections.namedtuple('Pair', ['b', 'a'])


@pytest.mark.parametrize(
  'make',
  [
    lambda b, a: collections.OrderedDict(b=b, a=a),
    lambda b, a: Pair(b, a),
    lambda b, a: (b, a),
  ],
  ids=['dictionary', 'named tuple', 'tuple'],
)
def test_fields_of_a_dataset_are_not_swapped(make):
  fields = tff.StructType([('b', np.int32), ('a', np.int32)])
  sequence = tff.SequenceType(fields)
  rows = [(1, 2), (3, 4)]
  flat = tf.data.Dataset.from_tensor_slices(np.int32(rows)).map(lambda row: make(row[0], row[1]))
  found = marshalling.export(marshalling.embed(flat, sequence), sequence)
  assert [(int(x['b']), int(x['a'])) for x in found] == rows
  nested = tff.SequenceType((np.int32, fields))
  # `tf.data` unpacks tuples, and only tuples, into arguments.
  pairs = flat.map(lambda *x: (7, make(*x) if len(x) == 2 else x[0]))
  found = marshalling.export(marshalling.embed(pairs, nested), nested)
  assert [(int(n), int(x['b']), int(x['a'])) for n, x in found] == [(7, 1, 2), (7, 3, 4)]


def test_dataset_in_the_right_containers_is_taken_as_it_is(monkeypatch):
  data = tf.data.Dataset.from_tensors(collections.OrderedDict(b=1, a=(2, 3)))
  monkeypatch.setattr(tf.data.Dataset, 'map', None)
  data_type = tff.SequenceType([('b', np.int32), ('a', (np.int32, np.int32))])
  assert marshalling.embed(data, data_type).dtype == tf.variant


def test_tensor_is_taken_as_it_is():
  tensor = tf.constant([1.0, 2.0])
  assert marshalling.embed(tensor, VECTOR) is tensor


def test_functions_do_not_leave():
  with pytest.raises(TypeError, match='cannot return a function'):
    marshalling.export(lambda x: x, tff.FunctionType(np.int32, np.int32))


def test_a_dataset_is_taken_in_once_for_each_type_and_not_kept():
  dataset = tf.data.Dataset.from_tensor_slices(([1, 2], [3, 4]))
  unnamed = tff.SequenceType((np.int32, np.int32))
  named = tff.SequenceType([('b', np.int32), ('a', np.int32)])
  first = marshalling.embed(dataset, unnamed)
  assert marshalling.embed(dataset, unnamed) is first
  for _ in range(2):
    found = marshalling.export(marshalling.embed(dataset, named), named)
    assert [(int(x['b']), int(x['a'])) for x in found] == [(1, 3), (2, 4)]
    found = marshalling.export(marshalling.embed(dataset, unnamed), unnamed)
    assert [(int(b), int(a)) for b, a in found] == [(1, 3), (2, 4)]
  with pytest.raises(TypeError, match='is not a sequence of'):
    marshalling.embed(dataset, tff.SequenceType((np.int64, np.int32)))
  gone = weakref.ref(dataset)
  del dataset
  gc.collect()
  assert gone() is None
