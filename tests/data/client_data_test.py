import collections

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.data import client_data

X = np.arange(10 * 4 * 4 * 1, dtype=np.uint8).reshape(10, 4, 4, 1)
Y = np.arange(10, dtype=np.int64) % 3
PARTITION = [np.array([7, 2]), np.array([], np.int64), np.array([0, 9, 4])]


@pytest.fixture
def dataset():
  return client_data.FederatedDataset(X, Y, PARTITION)


def test_reports_sizes(dataset):
  assert dataset.num_clients == 3
  assert dataset.client_sizes.tolist() == [2, 0, 3]
  assert dataset.input_shape == (4, 4, 1)


def test_examples_are_the_clients_own_rows_unbatched(dataset):
  elements = list(dataset.client_examples(2).as_numpy_iterator())
  assert [list(element) for element in elements] == [['x', 'y']] * 3
  np.testing.assert_array_equal([element['x'] for element in elements], X[[0, 9, 4]])
  assert [int(element['y']) for element in elements] == [0, 0, 1]
  assert dataset.client_examples(2).element_spec == collections.OrderedDict(
    x=tf.TensorSpec([4, 4, 1], tf.uint8), y=tf.TensorSpec([], tf.int32)
  )


def test_a_client_without_examples_has_the_same_type(dataset):
  empty = dataset.client_examples(1)
  assert empty.element_spec == dataset.client_examples(0).element_spec
  assert list(empty) == []


def test_identity_is_one_element(dataset):
  identity = dataset.identity(2, True)
  assert identity.element_spec == collections.OrderedDict(
    client_id=tf.TensorSpec([], tf.int64), is_byzantine=tf.TensorSpec([], tf.bool)
  )
  assert list(identity.as_numpy_iterator()) == [{'client_id': 2, 'is_byzantine': True}]
  (honest,) = dataset.identity(2, False).as_numpy_iterator()
  assert not honest['is_byzantine']


def test_value_has_examples_before_identity(dataset):
  value = dataset.client_value(0, False)
  assert list(value) == ['examples', 'identity']
  assert [int(element['y']) for element in value['examples']] == [1, 2]
  assert [int(element['client_id']) for element in value['identity']] == [0]


def test_datasets_are_made_once(dataset):
  assert dataset.client_examples(0) is dataset.client_examples(0)
  assert dataset.identity(0, True) is dataset.identity(0, True)
  assert dataset.identity(0, True) is not dataset.identity(0, False)


def test_a_client_is_serialised_with_its_own_rows_only():
  x = np.zeros((20_000, 8, 8, 1), np.uint8)
  dataset = client_data.FederatedDataset(
    x, np.zeros(20_000, np.int32), np.split(np.arange(20_000), 1000)
  )

  def serialised_bytes(examples):
    return len(tf.raw_ops.DatasetToGraphV2(input_dataset=examples._variant_tensor).numpy())

  # 20 images of 64 bytes and their labels; the whole base would be 1.28 MB.
  assert 20 * 64 < serialised_bytes(dataset.client_examples(3)) < 10_000
  shard = tf.data.Dataset.from_tensor_slices(x).shard(1000, 3)
  assert serialised_bytes(shard) > 1_000_000


@pytest.mark.parametrize(
  ('partition', 'message'),
  [
    ([], 'partition is empty'),
    ([np.array([0, 1]), np.array([1])], 'deals an example twice'),
    ([np.array([10])], r'outside 0\.\.9'),
    ([np.array([-1])], r'outside 0\.\.9'),
  ],
)
def test_refuses_partitions_that_are_none(partition, message):
  with pytest.raises(ValueError, match=message):
    client_data.FederatedDataset(X, Y, partition)


def test_refuses_rows_without_labels_and_unknown_clients(dataset):
  with pytest.raises(ValueError, match='x has 10 rows and y has 9'):
    client_data.FederatedDataset(X, Y[:9], PARTITION)
  for client_id in (-1, 3):
    with pytest.raises(ValueError, match=r'must be within 0\.\.2'):
      dataset.client_examples(client_id)
    with pytest.raises(ValueError, match=r'must be within 0\.\.2'):
      dataset.identity(client_id, False)


def test_indices_lead_to_the_same_examples(dataset):
  x, y = dataset.all_arrays
  for client_id in range(3):
    indices = dataset.client_indices_value(client_id, False).get_single_element()['indices']
    own_x, own_y = dataset.client_arrays(client_id)
    np.testing.assert_array_equal(x[indices], own_x)
    np.testing.assert_array_equal(y[indices], own_y)
  value = dataset.client_indices_value(2, True)
  assert dataset.client_indices_value(2, True) is value
  element = value.get_single_element()
  assert list(element) == ['indices', 'client_id', 'is_byzantine']
  assert element['indices'].dtype == tf.int64
  assert (element['client_id'], element['is_byzantine']) == (2, True)
  assert not dataset.client_indices_value(2, False).get_single_element()['is_byzantine']
