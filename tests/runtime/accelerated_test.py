"""TensorFlow in this process: one call a client, nothing copied, nothing pinned, no growth."""

import gc
import os
import pathlib
import subprocess
import sys
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import (
  accelerated,
  errors,
  interpreter,
  local_function,
  tensorflow_internals,
  tff_internals,
)

INTS = tff.FederatedType(np.int32, tff.CLIENTS)


@pytest.fixture
def context():
  with accelerated.accelerated_context(client_threads=4) as context:
    yield context


@tff.tensorflow.computation(np.int32)
def add_one(x):
  return x + 1


@tff.tensorflow.computation(np.int32)
def double(x):
  return x * 2


def test_error_names_client_and_function(context):
  @tff.tensorflow.computation(np.int32)
  @tf.function
  def train_one_client(x):
    tf.debugging.assert_less(x, 5)
    return x

  computation = tff.federated_computation(lambda x: tff.federated_map(train_one_client, x), INTS)
  with pytest.raises(errors.ComputationError, match=r'client 2 of 4: train_one_client') as caught:
    computation([1, 2, 7, 9])
  assert 'node' not in str(caught.value)
  assert computation([1, 2, 3, 4]) == [1, 2, 3, 4]


def test_clients_that_run_at_the_same_time_have_their_own_variables(context):
  @tff.tensorflow.computation(np.int32)
  def count(steps):
    counter = tf.Variable(0)

    @tf.function
    def run():
      for _ in tf.range(steps):
        counter.assign_add(1)
      return counter.read_value()

    return run()

  computation = tff.federated_computation(lambda x: tff.federated_map(count, x), INTS)
  steps = [3000 + client for client in range(16)]
  assert computation(steps) == steps


def _watch_calls(monkeypatch):
  """Returns a list that gets the arguments of every TensorFlow call from here on."""
  calls = []
  original = tensorflow_internals.FlatFunction.__call__
  monkeypatch.setattr(
    tensorflow_internals.FlatFunction,
    '__call__',
    lambda function, tensors, cancellation: (
      calls.append(list(tensors)) or original(function, tensors, cancellation)
    ),
  )
  return calls


def test_work_of_a_client_is_one_tensorflow_call(context, monkeypatch):
  @tff.federated_computation(np.int32)
  def work(x):
    return double(add_one(double(x)))

  computation = tff.federated_computation(lambda x: tff.federated_map(work, x), INTS)
  calls = _watch_calls(monkeypatch)
  assert computation([1, 2, 3]) == [6, 10, 14]
  assert sorted(int(x) for call in calls for x in call) == [1, 2, 3]


def test_results_leave_for_numpy_only_at_the_end(context, monkeypatch):
  tensors = tff.TensorType(np.float32, [3])
  computation = tff.federated_computation(
    lambda x: tff.federated_mean(
      tff.federated_map(tff.tensorflow.computation(lambda v: v + 1, tensors), x)
    ),
    tff.FederatedType(tensors, tff.CLIENTS),
  )
  arguments = [tf.constant([1.0, 2.0, 3.0]), tf.constant([3.0, 4.0, 5.0])]
  computation(arguments)
  copies = []
  eager_tensor = type(arguments[0])
  # What `numpy()`, `int`, `float` and `bool` of a tensor come down to.
  original = eager_tensor._numpy
  monkeypatch.setattr(
    eager_tensor, '_numpy', lambda tensor: copies.append(tensor.shape) or original(tensor)
  )
  assert bool(arguments[0][0] > 0)
  assert copies == [()]
  copies.clear()
  np.testing.assert_array_equal(computation(arguments), [3.0, 4.0, 5.0])
  assert copies == [(3,)]


# A second (logical) CPU stands for the GPU: what a round makes must end up there.
_ATTACKED_PRIVATE_ROUND = """
import gc
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.python.eager import context as eager_context
from computations import learning_process
from tff_robust import config
from tff_robust.runtime import executor
from tff_robust.testing import toy_problems

cpu = tf.config.list_physical_devices('CPU')[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
made = []

def note(value):
  structure = tff.structure.from_container([value], recursive=True)
  return tff.structure.map_structure(lambda t: made.append(t.device) or t.numpy(), structure)[0]

factory = executor.AcceleratedExecutorFactory(
  client_threads=2, device='/cpu:1', default_num_clients=0)
tff.framework.set_default_context(
  tff.framework.SyncExecutionContext(executor_fn=factory, transform_result=note))
experiment = config.ExperimentConfig(
  seed=1,
  data=config.DataConfig(num_clients=7),
  training=config.TrainingConfig(num_rounds=1, clients_per_round=7, batch_size=4),
  aggregation=config.AggregationConfig(aggregator='krum', options={'max_byzantine': 2}),
  attack=config.AttackConfig(
    attack='inner_product_manipulation', options={'attack_epsilon': 0.1}, num_byzantine=2),
  privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=1.0),
)
process = learning_process.build_learning_process(
  experiment, model=toy_problems.softmax_regression())
problem = toy_problems.blobs(num_clients=7, examples_per_client=9)
process.next(process.initialize(), toy_problems.cohort(problem, num_byzantine=2))
pinned, nodes = set(), 0
gc.collect()  # What graphs were imported from has places for datasets, and never runs.
for name in eager_context.context().list_function_names():
  if not name.startswith('__wrapped__'):  # Operations that were called one by one, from Python.
    for node in eager_context.context().get_function_def(name).node_def:
      nodes += 1
      pinned |= {node.device} - {''}
print(sorted(set(made)), pinned, nodes > 1000)
"""


def test_nothing_is_pinned_to_a_device():
  root = pathlib.Path(accelerated.__file__).parents[2]
  result = subprocess.run(
    [sys.executable, '-c', _ATTACKED_PRIVATE_ROUND],
    env={**os.environ, 'PYTHONPATH': str(root), 'CUDA_VISIBLE_DEVICES': '-1'},
    capture_output=True,
    text=True,
    check=False,
  )
  expected = "['/job:localhost/replica:0/task:0/device:CPU:1'] set() True\n"
  assert result.stdout == expected, result.stderr


def test_tensor_arguments_are_not_copied(context, monkeypatch):
  data = tf.random.stateless_uniform([1000, 100], [1, 2])
  gather_and_add = tff.tensorflow.computation(
    lambda d, i: tf.reduce_sum(tf.gather(d, i)),
    tff.TensorType(np.float32, [1000, 100]),
    tff.TensorType(np.int32, [None]),
  )
  computation = tff.federated_computation(
    lambda d, i: tff.federated_map(gather_and_add, (tff.federated_broadcast(d), i)),
    tff.FederatedType(tff.TensorType(np.float32, [1000, 100]), tff.SERVER),
    tff.FederatedType(tff.TensorType(np.int32, [None]), tff.CLIENTS),
  )
  calls = _watch_calls(monkeypatch)
  result = computation(data, [tf.constant([0, 1]), tf.constant([5])])
  assert [call[0] is data for call in calls] == [True, True]
  np.testing.assert_allclose(result[1], data.numpy()[5].sum(), rtol=1e-5)


def test_cohorts_of_any_size_use_the_same_functions(context, monkeypatch):
  computation = tff.federated_computation(
    lambda x: tff.federated_sum(tff.federated_map(add_one, x)), INTS
  )
  computation([1] * 21)  # Accumulates sixteen members at once, four, and one.
  monkeypatch.setattr(tf, 'function', None)  # Nothing more may be traced.
  for num_clients in (0, 1, 2, 7, 40):
    assert computation([1] * num_clients) == 2 * num_clients


def test_computation_is_compiled_once_and_forgotten_with_it(context, monkeypatch):
  compiled = []
  original = interpreter.Program
  monkeypatch.setattr(
    interpreter, 'Program', lambda comp: compiled.append(comp.type_signature) or original(comp)
  )
  programs = context.executor_factory.programs
  computation = tff.tensorflow.computation(lambda x: x + 5, np.int32)
  assert [computation(1), computation(2)] == [6, 7]
  assert len(compiled) == 1
  assert len(programs) == 1
  del computation
  gc.collect()
  assert len(programs) == 0


def test_aggregate_by_a_function_that_is_an_argument(context):
  add = tff.tensorflow.computation(lambda x, y: x + y, np.int32, np.int32)
  zero = tff.tensorflow.computation(lambda: 0)
  report = tff.tensorflow.computation(lambda x: x, np.int32)
  computation = tff.federated_computation(
    lambda f, x: tff.federated_aggregate(x, zero(), f, add, report), add.type_signature, INTS
  )
  assert computation(add, [1, 2, 3]) == 6


def test_data_sets_are_taken_in_by_graphs_for_a_gpu(monkeypatch):
  def attributes(parameter_type, function):
    computation = tff.tensorflow.computation(function, parameter_type)
    local = local_function.LocalFunction(tff_internals.compile_computation(computation))
    return local._trace()._concrete.function_def.attr

  sequence = tff.SequenceType(np.int32)
  count = lambda values: values.reduce(0, lambda n, _: n + 1)  # noqa: E731
  assert attributes(sequence, count)['_noinline'].b
  monkeypatch.setattr(tf.config, 'get_visible_devices', lambda kind: [f'a {kind}'])
  assert '_noinline' not in attributes(sequence, count)
  assert attributes(np.int32, lambda x: x + 1)['_noinline'].b


def test_results_that_are_shapes(context):
  # TensorFlow treats the int32 results of some operations apart.
  shape = tff.tensorflow.computation(lambda x: tf.shape(x), tff.TensorType(np.float32, [None, 2]))
  np.testing.assert_array_equal(shape(np.zeros([3, 2], np.float32)), [3, 2])


def test_members_are_let_go_when_they_have_been_accumulated(context, monkeypatch):
  row = tff.TensorType(np.float32, [1000])
  make = tff.tensorflow.computation(lambda i: tf.fill([1000], tf.cast(i, tf.float32)), np.int32)
  take = tff.tensorflow.computation(lambda total, x: total + x[0], np.float32, row)
  merge = tff.tensorflow.computation(lambda x, y: x + y, np.float32, np.float32)
  report = tff.tensorflow.computation(lambda x: x, np.float32)
  zero = tff.tensorflow.computation(lambda: 0.0)
  computation = tff.federated_computation(
    lambda x: tff.federated_aggregate(tff.federated_map(make, x), zero(), take, merge, report),
    INTS,
  )
  rows, alive = [], []
  original = tensorflow_internals.FlatFunction.__call__

  def call(function, tensors, cancellation):
    results = original(function, tensors, cancellation)
    rows.extend(weakref.ref(x) for x in results if x.shape == [1000])
    alive.append(sum(row() is not None for row in rows))
    return results

  monkeypatch.setattr(tensorflow_internals.FlatFunction, '__call__', call)
  assert computation([0, 1, 2, 3, 4]) == 10.0  # Four are accumulated at once, then one.
  assert len(rows) == 5
  assert alive[-1] == 0  # When the report is made.
  assert alive[-2] == 1  # When the last row is accumulated, only that row is held.


def _resident_megabytes():
  gc.collect()
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
  return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


@pytest.mark.slow
def test_rounds_do_not_grow_memory(context):
  @tff.tensorflow.computation(tff.SequenceType(np.float32), tff.TensorType(np.float32, [1000]))
  def work(data, model):
    weights = tf.Variable(tf.zeros([1000]))

    @tf.function
    def train():
      weights.assign(model)
      for x in data:
        weights.assign_add(tf.fill([1000], x))
      return weights.read_value()

    return train()

  model_type = tff.FederatedType(tff.TensorType(np.float32, [1000]), tff.SERVER)
  one_round = tff.federated_computation(
    lambda model, data: tff.federated_mean(
      tff.federated_map(work, (data, tff.federated_broadcast(model)))
    ),
    model_type,
    tff.FederatedType(tff.SequenceType(np.float32), tff.CLIENTS),
  )
  model = np.zeros(1000, np.float32)

  def run(num_rounds):
    nonlocal model
    for _ in range(num_rounds):
      data = tf.data.Dataset.from_tensor_slices(np.float32([0.5, -0.5]))
      model = one_round(model, [data, data, data])

  run(200)
  before = _resident_megabytes()
  run(500)
  assert _resident_megabytes() - before < 5.0


@pytest.mark.slow
def test_new_computations_do_not_grow_memory(context):
  def run(num_computations):
    for _ in range(num_computations):
      computation = tff.tensorflow.computation(lambda x: tf.square(x) + 1, np.int32)
      assert computation(3) == 10

  run(60)
  before = _resident_megabytes()
  run(120)
  assert _resident_megabytes() - before < 60.0


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'client_threads': 0}, 'client_threads=0 must be at least 1'),
    ({'client_threads': -1}, 'client_threads=-1 must be at least 1'),
    ({'client_threads': 2.5}, r'client_threads=2\.5 must be a whole number'),
    ({'client_threads': True}, 'client_threads=True must be a whole number'),
    ({'default_num_clients': -2}, 'default_num_clients=-2 must be at least 0'),
    ({'default_num_clients': 1.5}, r'default_num_clients=1\.5 must be a whole number'),
    ({'device': 'gpu:64'}, r"device='gpu:64' is not there: TensorFlow finds \d GPUs"),
    ({'device': 'cpu:9'}, "device='cpu:9' is not known; choose 'auto', 'cpu' or 'gpu:0'"),
    ({'device': ''}, "device='' is not known"),
    ({'device': 'banana'}, "device='banana' is not known"),
    ({'device': None}, 'device=None is not known'),
  ],
)
@pytest.mark.parametrize(
  'make',
  [
    accelerated.AcceleratedContext,
    accelerated.create_async_accelerated_context,
    accelerated.set_accelerated_context,
  ],
)
def test_refuses_what_is_not_there_or_out_of_range(make, options, message):
  with pytest.raises(ValueError, match=message):
    make(**options)


@pytest.mark.parametrize('options', [{'device': 'cpu'}, {'client_threads': np.int64(2)}])
def test_takes_a_device_and_a_number_of_clients(options):
  with accelerated.accelerated_context(**options):
    assert add_one(1) == 2


def test_members_without_tensors_are_accumulated_sixteen_at_once(context):
  """As the measurements of a process that measures nothing."""
  count = tff.tensorflow.computation(lambda total, _: total + 1, np.int32, tff.StructType([]))
  add = tff.tensorflow.computation(lambda left, right: left + right, np.int32, np.int32)
  zero = tff.tensorflow.computation(lambda: np.int32(0))
  same = tff.tensorflow.computation(lambda total: total, np.int32)
  computation = tff.federated_computation(
    lambda x: tff.federated_aggregate(x, zero(), count, add, same),
    tff.FederatedType(tff.StructType([]), tff.CLIENTS),
  )
  assert computation([()] * 40) == 40
