"""A federated data set behind the interface of `tff.simulation`."""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.data import client_data


def to_client_data(
  dataset: client_data.FederatedDataset,
) -> tff.simulation.datasets.ClientData:
  """Returns the same clients as `tff.simulation` has them, with ids '0', '1', ....

  For users who bring their own loop around `tff.simulation`. All rows are kept once, client
  after client, and a client's dataset is a slice; clients without examples are allowed.
  """
  pairs = [dataset.client_arrays(client_id) for client_id in range(dataset.num_clients)]
  x = np.concatenate([x for x, _ in pairs])
  y = np.concatenate([y for _, y in pairs])
  bounds = np.concatenate([[0], np.cumsum(dataset.client_sizes)])
  client_ids = [str(client_id) for client_id in range(dataset.num_clients)]

  @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
  def create_dataset(client_id: tf.Tensor) -> tf.data.Dataset:
    is_client = tf.equal(tf.constant(client_ids), client_id)
    tf.debugging.assert_equal(
      tf.reduce_any(is_client), True, message='There is no client with this id.'
    )
    index = tf.argmax(is_client)
    first, last = tf.gather(bounds, index), tf.gather(bounds, index + 1)
    return tf.data.Dataset.from_tensor_slices(
      collections.OrderedDict(x=tf.constant(x)[first:last], y=tf.constant(y)[first:last])
    )

  return tff.simulation.datasets.ClientData.from_clients_and_tf_fn(client_ids, create_dataset)
