import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from computations import client_values, learning_process
from tff_robust import config
from tff_robust.runtime import accelerated, resident
from tff_robust.testing import toy_problems

VALUES = np.arange(60, dtype=np.uint8).reshape(20, 3)


def test_gathers_rows_inside_a_computation_without_holding_them():
  array = resident.ResidentArray(VALUES)

  @tff.tensorflow.computation(tff.TensorType(np.int64, [None]))
  def gather(indices):
    return tf.cast(array.gather(indices), tf.float32)

  other = resident.ResidentArray(VALUES[::-1].copy())

  @tff.tensorflow.computation(tff.TensorType(np.int64, [None]))
  def gather_other(indices):
    return tf.cast(other.gather(indices), tf.float32)

  with accelerated.accelerated_context():
    np.testing.assert_array_equal(gather([3, 0, 3]), VALUES[[3, 0, 3]])
    np.testing.assert_array_equal(gather_other([0]), VALUES[[19]])
    np.testing.assert_array_equal(gather([5]), VALUES[[5]])
  graph = gather.to_building_block().proto.tensorflow.graph_def.value
  assert VALUES.tobytes() not in graph


def test_released_array_is_gone():
  array = resident.ResidentArray(VALUES)
  array.release()
  with pytest.raises(tf.errors.OpError):
    array.gather(tf.constant([0], tf.int64))


def test_device_of_the_context_may_be_named():
  array = resident.ResidentArray(VALUES, device='cpu:0')
  assert array.dtype == tf.uint8
  np.testing.assert_array_equal(array.gather(tf.constant([4], tf.int64)), VALUES[[4]])


@pytest.mark.slow
def test_training_on_indices_equals_training_on_sequences():
  problem = toy_problems.blobs(num_clients=7, examples_per_client=9)
  experiment = config.ExperimentConfig(
    seed=3,
    data=config.DataConfig(num_clients=7),
    training=config.TrainingConfig(num_rounds=1, clients_per_round=7, batch_size=4),
    aggregation=config.AggregationConfig(aggregator='krum', options={'max_byzantine': 2}),
    attack=config.AttackConfig(
      attack='inner_product_manipulation', options={'attack_epsilon': 0.3}, num_byzantine=2
    ),
    privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=0.5),
  )
  model = toy_problems.softmax_regression()
  sequences = toy_problems.cohort(problem, num_byzantine=2)
  indices = [
    value['identity'].map(
      lambda identity, client=client: {'indices': np.arange(9) + 9 * client, **identity}
    )
    for client, value in enumerate(sequences)
  ]
  source = client_values.IndexSource(
    resident.ResidentArray(problem.x.reshape(-1, 4)), resident.ResidentArray(problem.y.ravel())
  )

  def train(values, **options):
    process = learning_process.build_learning_process(experiment, model=model, **options)
    state = process.initialize()
    for _ in range(3):
      state = process.next(state, values).state
    return process.get_model_weights(state).trainable

  with accelerated.accelerated_context():
    by_sequence, by_index = train(sequences), train(indices, source=source)
  assert np.abs(by_sequence[0]).max() > 0.01
  for one, other in zip(by_sequence, by_index, strict=True):
    np.testing.assert_array_equal(one, other)
