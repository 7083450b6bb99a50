"""Clients on two workers: the same values as on one machine, at the same time, or one sentence."""

import collections
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from computations import learning_process
from tff_robust import config
from tff_robust.runtime import (
  accelerated,
  errors,
  remote,
  worker_process,
  worker_service,
)
from tff_robust.testing import toy_problems

INTS = tff.FederatedType(np.int32, tff.CLIENTS)
FLOATS = tff.FederatedType(np.float32, tff.CLIENTS)


@pytest.fixture(scope='module')
def binaries():
  """Two C++ workers of TFF."""
  workers = [worker_process.WorkerProcess(num_threads=1) for _ in range(2)]
  try:
    for worker in workers:
      worker.stub()
    yield workers
  finally:
    for worker in workers:
      worker.close()


@pytest.fixture(params=['binary', 'service'], scope='module')
def context(request, binaries, services):
  with contextlib.ExitStack() as stack:
    if request.param == 'binary':
      addresses = [worker.address for worker in binaries]
    else:
      addresses = stack.enter_context(services())
    yield stack.enter_context(remote.remote_context(addresses, retry_seconds=5.0))


@tff.tensorflow.computation(np.int32)
def add_one(x):
  return x + 1


@tff.tensorflow.computation(np.int32, np.int32)
def add(x, y):
  return x + y


def test_each_client_computes(context):
  computation = tff.federated_computation(lambda x: tff.federated_map(add_one, x), INTS)
  for values in ([], [5], [1, 2], [3, 1, 4, 1, 5, 9, 2]):
    assert computation(values) == [value + 1 for value in values]


@pytest.mark.parametrize('num_clients', [0, 1, 3])
def test_each_client_has_its_member_of_what_all_share(context, num_clients):
  @tff.federated_computation(INTS)
  def share(x):
    one, two = tff.federated_value(1, tff.CLIENTS), tff.federated_value(2, tff.CLIENTS)
    pair = tff.federated_zip((one, two))
    return pair, tff.federated_map(add, pair), tff.federated_sum(x), one

  pairs, sums, total, one = share([5] * num_clients)
  assert [tuple(pair) for pair in pairs] == [(1, 2)] * num_clients
  assert (list(sums), total, one) == ([3] * num_clients, 5 * num_clients, 1)


def test_values_of_clients_may_come_in_one_structure(context):
  both = collections.OrderedDict(a=INTS, b=INTS)
  of_one = tff.federated_computation(lambda arg: tff.federated_map(add_one, arg.a), both)
  assert of_one(collections.OrderedDict(a=[1, 2, 3], b=[0, 0, 0])) == [2, 3, 4]
  zipped = tff.federated_computation(lambda arg: tff.federated_map(add, (arg.a, arg.b)), both)
  assert zipped(collections.OrderedDict(a=[1, 2, 3], b=[10, 20, 30])) == [11, 22, 33]
  at_server = tff.FederatedType(np.int32, tff.SERVER)
  total = tff.federated_computation(
    lambda server, arg: (tff.federated_map(add_one, server), tff.federated_sum(arg.b)),
    at_server,
    both,
  )
  assert list(total(7, collections.OrderedDict(a=[1, 2], b=[10, 20]))) == [8, 30]


def test_elements_of_clients_are_known_by_their_names(context):
  pair = tff.StructType([('a', np.int32), ('b', tff.StructType([('c', np.int32)]))])
  compute = tff.tensorflow.computation(lambda x: 10 * x['a'] + x['b']['c'], pair)
  at_clients = tff.federated_computation(
    lambda x: tff.federated_map(compute, x), tff.FederatedType(pair, tff.CLIENTS)
  )
  good = collections.OrderedDict(a=1, b=collections.OrderedDict(c=2))
  assert at_clients([good, good, good]) == [12, 12, 12]
  for bad in (
    collections.OrderedDict(b=collections.OrderedDict(c=2), a=1),
    collections.OrderedDict(a=1, b=collections.OrderedDict(d=2)),
    collections.OrderedDict(a=1, b=collections.OrderedDict(c=2, d=3)),
  ):
    with pytest.raises(TypeError, match=r'stands where|elements does not fit'):
      at_clients([good, bad, good])


def test_server_value_reaches_every_client(context):
  computation = tff.federated_computation(
    lambda s, x: tff.federated_map(add, (tff.federated_broadcast(s), x)),
    tff.FederatedType(np.int32, tff.SERVER),
    INTS,
  )
  assert computation(10, [1, 2, 3]) == [11, 12, 13]


def test_aggregates(context):
  computation = tff.federated_computation(
    lambda x, w: (
      tff.federated_sum(x),
      tff.federated_mean(x, w),
      tff.federated_max(x),
      tff.federated_sum(tff.federated_eval(tff.tensorflow.computation(lambda: 2), tff.CLIENTS)),
    ),
    FLOATS,
    FLOATS,
  )
  assert computation([1.0, 2.0, 6.0], [1.0, 1.0, 2.0]) == (9.0, 3.75, 6.0, 6)


def test_aggregate_of_no_client_is_the_zero(context):
  assert tff.federated_computation(lambda x: tff.federated_sum(x), INTS)([]) == 0


def test_sequences_travel(context):
  sequence = tff.SequenceType(np.int32)

  @tff.tensorflow.computation(sequence)
  @tf.function
  def total(values):
    return values.reduce(0, lambda x, y: x + y)

  computation = tff.federated_computation(
    lambda x: tff.federated_map(total, x), tff.FederatedType(sequence, tff.CLIENTS)
  )
  data = [
    tf.data.Dataset.range(n).map(lambda x: tf.cast(x, tf.int32)) for n in range(4)
  ]  # fmt: skip
  assert computation(data) == [0, 0, 1, 3]


def test_one_aggregation_may_depend_on_another(context):
  square = tff.tensorflow.computation(lambda x, mean: (x - mean) ** 2, np.float32, np.float32)

  @tff.federated_computation(FLOATS)
  def variance(values):
    mean = tff.federated_broadcast(tff.federated_mean(values))
    return tff.federated_mean(tff.federated_map(square, (values, mean)))

  assert variance([1.0, 2.0, 3.0, 6.0]) == 3.5


def _gather():
  stack = tff.TensorType(np.float32, [None])

  @tff.tensorflow.computation
  def zero():
    return tf.compat.v1.placeholder_with_default(tf.zeros([0]), [None])

  @tff.tensorflow.computation(stack, np.float32)
  def accumulate(rows, row):
    return tf.concat([rows, row[tf.newaxis]], 0)

  @tff.tensorflow.computation(stack, stack)
  def merge(a, b):
    return tf.concat([a, b], 0)

  report = tff.tensorflow.computation(lambda x: x, stack)
  return tff.federated_computation(
    lambda x: tff.federated_aggregate(x, zero(), accumulate, merge, report), FLOATS
  )


def test_workers_are_merged_in_the_order_of_clients(context):
  gather = _gather()
  for _ in range(3):
    np.testing.assert_array_equal(gather([3.0, 1.0, 2.0, 5.0, 4.0]), [3.0, 1.0, 2.0, 5.0, 4.0])


def test_error_names_the_worker_and_the_next_call_works(context):
  @tff.tensorflow.computation(np.int32)
  @tf.function
  def refuse_negative(x):
    tf.debugging.assert_non_negative(x, 'less than zero')
    return x

  computation = tff.federated_computation(lambda x: tff.federated_map(refuse_negative, x), INTS)
  sentence = r'worker 127\.0\.0\.1:\d+, with clients 1 to 2 of 3: .*less than zero'
  with pytest.raises(errors.ComputationError, match=sentence):
    computation([1, 2, -2])
  assert computation([1, 2]) == [1, 2]


def test_text_that_cannot_be_sent_is_refused_with_the_way_to_send_it(context):
  texts = tff.TensorType(np.str_, [None])
  count = tff.tensorflow.computation(lambda x: tf.reduce_sum(tf.strings.length(x)), texts)
  computation = tff.federated_computation(
    lambda x: tff.federated_map(count, x), tff.FederatedType(texts, tff.CLIENTS)
  )
  sentence = r'with clients 0 to 0 of 1: TFF sends no text beyond ASCII .* dtype object\.'
  for value in (['\xe9'], [b'\xc3\xa9']):
    with pytest.raises(errors.ComputationError, match=sentence):
      computation([value])
  assert computation([np.array([b'\xc3\xa9'], object)]) == [2]


def test_unknown_intrinsic_is_refused_by_name(context):
  with pytest.raises(errors.ComputationError, match='federated_secure_sum_bitwidth'):
    tff.federated_computation(lambda x: tff.federated_secure_sum_bitwidth(x, bitwidth=4), INTS)([1])


def test_interrupt_ends_the_call_and_keeps_the_context_usable(context, spin):
  computation = tff.federated_computation(lambda x: tff.federated_map(spin, x), INTS)
  assert computation([1, 1]) == [1.0, 1.0]
  interrupt = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
  interrupt.start()
  start = time.monotonic()
  with pytest.raises(KeyboardInterrupt):
    computation([200_000, 200_000])
  assert time.monotonic() - start < 10.0
  assert computation([1, 1]) == [1.0, 1.0]


def test_workers_compute_at_the_same_time(monkeypatch, services):
  meeting = threading.Barrier(2, timeout=20.0)
  original = worker_service.ExecutorService.CreateCall

  def call_together(self, request, context):
    meeting.wait()  # Fails unless the other worker is in a call too.
    return original(self, request, context)

  monkeypatch.setattr(worker_service.ExecutorService, 'CreateCall', call_together)
  computation = tff.federated_computation(lambda x: tff.federated_map(add_one, x), INTS)
  with services() as addresses, remote.remote_context(addresses):
    assert computation([1, 2]) == [2, 3]


def _kept_services(monkeypatch):
  """Returns a list that gets the services of the workers that are started from here on."""
  made = []
  original = worker_service.ExecutorService.__init__

  def remember(self, factory):
    made.append(self)
    original(self, factory)

  monkeypatch.setattr(worker_service.ExecutorService, '__init__', remember)
  return made


def test_workers_let_go_of_the_data_of_a_run_that_ends(monkeypatch, services):
  made = _kept_services(monkeypatch)
  computation = tff.federated_computation(lambda x: tff.federated_map(add_one, x), INTS)
  with services() as addresses:
    for _ in range(2):
      with remote.remote_context(addresses) as context:
        assert computation([1, 2, 3]) == [2, 3, 4]
        context.workers[0].disconnect()
        assert [len(service._sessions) for service in made] == [0, 1]
      assert [len(service._sessions) for service in made] == [0, 0]


def test_worker_lets_go_of_sessions_of_callers_that_have_vanished(monkeypatch, services):
  made = _kept_services(monkeypatch)
  computation = tff.federated_computation(lambda x: tff.federated_map(add_one, x), INTS)
  with services(1) as addresses, remote.remote_context(addresses):
    assert computation([1]) == [2]
    (session,) = made[0]._sessions.values()
    assert computation([1, 2]) == [2, 3]
    assert len(made[0]._sessions) == 2
    monkeypatch.setattr(worker_service, '_MAX_UNUSED_SECONDS', -1.0)
    session.num_calls += 1  # As of a call that takes long.
    assert computation([1, 2, 3]) == [2, 3, 4]
    assert session in made[0]._sessions.values()
    assert len(made[0]._sessions) == 2
    monkeypatch.undo()
    session.num_calls -= 1
    # The caller was there all the time, and does not notice.
    assert computation([1, 2]) == [2, 3]


@pytest.mark.parametrize(
  ('addresses', 'message'),
  [
    ([], 'names no worker'),
    (['127.0.0.1:1', '127.0.0.1:1'], 'names a worker twice'),
    (['10.0.0.1:8470'], "workers='10.0.0.1:8470' is not on this machine"),
    (['localhost'], "workers='localhost' is not an address"),
  ],
)
def test_refuses_addresses(addresses, message):
  with pytest.raises(ValueError, match=message), remote.remote_context(addresses):
    pass


def _experiment(attack):
  options = {}
  if attack:
    options['attack'] = config.AttackConfig(
      attack='inner_product_manipulation', options={'attack_epsilon': 0.3}, num_byzantine=2
    )
  return config.ExperimentConfig(
    seed=3,
    data=config.DataConfig(num_clients=7),
    training=config.TrainingConfig(num_rounds=1, clients_per_round=7, batch_size=4),
    aggregation=config.AggregationConfig(aggregator='krum', options={'max_byzantine': 2}),
    privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=0.5),
    **options,
  )


@pytest.mark.slow
def test_training_under_attack_gives_the_same_model_as_on_one_machine(context):
  problem = toy_problems.blobs(num_clients=7, examples_per_client=9)
  process = learning_process.build_learning_process(
    _experiment(attack=True), model=toy_problems.softmax_regression()
  )
  cohort = toy_problems.cohort(problem, num_byzantine=2)
  weights = []
  with accelerated.accelerated_context() as alone:
    for runtime in (alone, context):
      with tff.framework.get_context_stack().install(runtime):
        state = process.initialize()
        for _ in range(2):
          state = process.next(state, cohort).state
        weights.append(process.get_model_weights(state).trainable)
  for first, second in zip(*weights, strict=True):
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-6)
    assert np.any(first)


@pytest.mark.slow
def test_two_commands_start_two_workers(unused_port):
  root = pathlib.Path(remote.__file__).parents[2]
  ports = [unused_port(), unused_port()]
  processes = [
    subprocess.Popen(
      [sys.executable, '-m', 'binaries.worker', f'--listen=127.0.0.1:{port}', '--device=cpu'],
      cwd=root,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    for port in ports
  ]
  try:
    lines = [process.stdout.readline() for process in processes]
    assert all('in the clear, on this machine only' in line for line in lines)
    computation = tff.federated_computation(lambda x: tff.federated_map(add_one, x), INTS)
    with remote.remote_context([f'127.0.0.1:{port}' for port in ports]):
      assert computation([1, 2, 3]) == [2, 3, 4]
    for process in processes:
      process.send_signal(signal.SIGTERM)
    assert [process.wait(20) for process in processes] == [0, 0]
  finally:
    for process in processes:
      process.kill()
      process.wait()
      process.stdout.close()
