import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from computations import models, simulation_data
from tff_robust.data import client_data

X = np.arange(10 * 4 * 4 * 1, dtype=np.uint8).reshape(10, 4, 4, 1)
Y = np.arange(10, dtype=np.int32) % 3


@pytest.fixture
def dataset():
  partition = [np.array([7, 2]), np.array([], np.int64), np.array([0, 9, 4])]
  return client_data.FederatedDataset(X, Y, partition)


def test_values_have_the_type_that_computations_take(dataset):
  types = {
    key: str(tff.types.tensorflow_to_type(sequence.element_spec))
    for key, sequence in dataset.client_value(0, False).items()
  }
  assert types == {
    'examples': '<x=uint8[4,4,1],y=int32>',
    'identity': '<client_id=int64,is_byzantine=bool>',
  }


def test_batched_examples_are_what_the_model_reads(dataset):
  model = models.build_model('small', input_shape=(4, 4, 1), num_classes=3, seed=0)
  assert dataset.client_examples(0).batch(2).element_spec == model.input_spec


def test_simulation_has_the_same_clients(dataset):
  simulation = simulation_data.to_client_data(dataset)
  assert simulation.client_ids == ['0', '1', '2']
  assert simulation.element_type_structure == dataset.client_examples(0).element_spec
  for client_id in range(3):
    theirs = list(simulation.create_tf_dataset_for_client(str(client_id)).as_numpy_iterator())
    ours = list(dataset.client_examples(client_id).as_numpy_iterator())
    assert [list(element) for element in theirs] == [['x', 'y']] * len(ours)
    for a, b in zip(theirs, ours, strict=True):
      np.testing.assert_array_equal(a['x'], b['x'])
      assert a['y'] == b['y']


def test_clients_are_looked_up_without_retracing(dataset):
  simulation = simulation_data.to_client_data(dataset)
  for client_id in simulation.client_ids:
    simulation.create_tf_dataset_for_client(client_id)
  assert simulation.serializable_dataset_fn.experimental_get_tracing_count() == 1


def test_an_unknown_client_is_refused(dataset):
  simulation = simulation_data.to_client_data(dataset)
  with pytest.raises(tf.errors.InvalidArgumentError, match='no client with this id'):
    simulation.serializable_dataset_fn(tf.constant('3'))
