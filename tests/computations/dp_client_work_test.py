import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from computations import dp_client_work, local_training
from tff_robust import seeds
from tff_robust.privacy import dp_gradient
from tff_robust.testing import toy_problems

MECHANISM = dp_gradient.GradientMechanism(
  l2_norm_clip=1.0, noise_multiplier=1.0, expected_batch_size=5
)
TRAINING = local_training.LocalTraining(algorithm='fed_avg', batch_size=5)


def build(training=TRAINING, mechanism=MECHANISM, **options):
  model = toy_problems.softmax_regression()
  return dp_client_work.build_dp_client_work(
    model, training=training, mechanism=mechanism, seed=1, **options
  )


def weights(num_clients):
  initial = tff.learning.models.ModelWeights(
    [np.zeros([4, 3], np.float32), np.zeros([3], np.float32)], []
  )
  return [initial] * num_clients


def messages(output):
  return np.array([result.update['message'] for result in output.result])


def test_type_signature():
  weights_text = 'trainable=<float32[4,3],float32[3]>,non_trainable=<>'
  assert str(build().next.type_signature) == (
    f'(<state=<seed=int64[2],round=int64>@SERVER,weights={{<{weights_text}>}}@CLIENTS,'
    'values={<examples=<x=float32[4],y=int32>*,'
    'identity=<client_id=int64,is_byzantine=bool>*>}@CLIENTS> -> '
    '<state=<seed=int64[2],round=int64>@SERVER,'
    'result={<update=<message=float32[15],client_id=int64,is_byzantine=bool>,'
    'update_weight=float32>}@CLIENTS,'
    'measurements=<loss_sum=float32,num_examples=float32>@SERVER>)'
  )


def test_federated_work_equals_the_eager_function_and_noise_differs_by_client_and_round():
  work = build()
  problem = toy_problems.blobs(num_clients=3, examples_per_client=12)
  # The same examples at every client: only noise and batches can tell them apart.
  values = [
    toy_problems.client_value(problem.x[0], problem.y[0], client_id=index) for index in range(3)
  ]
  state = work.initialize()
  first = work.next(state, weights(3), values)
  second = work.next(first.state, weights(3), values)
  again = work.next(state, weights(3), values)

  root = seeds.tensor_seed(1)
  update = local_training.build_client_update(
    toy_problems.softmax_regression(), TRAINING, MECHANISM
  )
  eager = [
    update(
      [tf.zeros([4, 3]), tf.zeros([3])],
      tf.constant(problem.x[0]),
      tf.constant(problem.y[0]),
      seeds.fold(root, seeds.Purpose.BATCHES, 0, client),
      seeds.fold(root, seeds.Purpose.DP_NOISE, 0, client),
    ).message
    for client in range(3)
  ]
  np.testing.assert_allclose(messages(first), np.array(eager), atol=2e-6)
  np.testing.assert_array_equal(messages(first), messages(again))
  distinct = {tuple(row) for row in np.concatenate([messages(first), messages(second)]).tolist()}
  assert len(distinct) == 6
  assert second.state['round'] == 2


def test_entropy_noise_does_not_repeat():
  work = build(noise_source='entropy')
  problem = toy_problems.blobs(num_clients=2, examples_per_client=8)
  state, values = work.initialize(), toy_problems.cohort(problem)
  first, again = (messages(work.next(state, weights(2), values)) for _ in range(2))
  assert np.abs(first - again).min() > 0


def test_measurements_leave_byzantine_clients_out_and_weights_count_examples():
  work = build(mechanism=None)
  problem = toy_problems.blobs(num_clients=3, examples_per_client=10)
  output = work.next(work.initialize(), weights(3), toy_problems.cohort(problem, num_byzantine=1))
  assert [result.update_weight for result in output.result] == [10.0, 10.0, 10.0]
  assert output.measurements['num_examples'] == 20.0


def test_diverged_client_sends_what_it_got_and_keeps_its_weight():
  work = build(mechanism=None)
  problem = toy_problems.blobs(num_clients=2, examples_per_client=5)
  problem.x[0, 0, 0] = np.inf
  output = work.next(work.initialize(), weights(2), toy_problems.cohort(problem))
  assert not np.isfinite(messages(output)[0]).all()
  assert np.isfinite(messages(output)[1]).all()
  assert output.result[0].update_weight == 5.0


def test_unknown_noise_source_is_refused():
  with pytest.raises(ValueError, match=r"noise_source='seed' .* Did you mean 'seeded'"):
    build(noise_source='seed')
