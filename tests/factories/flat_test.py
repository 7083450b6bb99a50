import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.factories import flat

_TYPE = tff.types.to_type(
  collections.OrderedDict(
    kernel=(np.float32, [2, 3]), bias=(np.float64, []), last=(np.float16, [2])
  )
)
_VALUE = collections.OrderedDict(
  kernel=np.arange(6, dtype=np.float32).reshape(2, 3),
  bias=np.float64(0.1),
  last=np.array([7, 8], np.float16),
)


def test_counts_all_coordinates():
  assert flat.dimension(_TYPE) == 9
  assert flat.dimension(tff.TensorType(np.float32)) == 1


def test_flattens_in_the_order_of_tf_nest():
  expected = np.concatenate([np.reshape(leaf, [-1]) for leaf in tf.nest.flatten(_VALUE)])
  np.testing.assert_array_equal(flat.flatten(_VALUE), expected.astype(np.float32))


def test_unflatten_restores_shapes_dtypes_and_containers():
  restored = flat.unflatten(flat.flatten(_VALUE), _TYPE)
  assert list(restored) == ['kernel', 'bias', 'last']
  for name, leaf in _VALUE.items():
    assert restored[name].dtype == leaf.dtype
    np.testing.assert_array_equal(restored[name], np.asarray(leaf, np.float32).astype(leaf.dtype))


@pytest.mark.parametrize(
  ('value_type', 'text'),
  [
    (tff.TensorType(np.int32, [3]), 'dtype int32'),
    (tff.TensorType(np.float32, [None]), 'every dimension'),
    (tff.SequenceType(np.float32), 'must be a tensor or a structure of tensors'),
  ],
)
def test_refuses_types_it_cannot_flatten(value_type, text):
  with pytest.raises(TypeError, match=text):
    flat.dimension(value_type)
