"""What happens to a call when a worker is lost, comes back, or is interrupted."""

import contextlib
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import errors, remote, remote_worker, worker_process, worker_service

INTS = tff.FederatedType(np.int32, tff.CLIENTS)


@tff.tensorflow.computation(np.int32)
def add_one(x):
  return x + 1


@tff.federated_computation(INTS)
def map_once(values):
  return tff.federated_map(add_one, values)


def test_worker_that_is_gone_ends_the_call_with_a_sentence(services, spin):
  computation = tff.federated_computation(lambda x: tff.federated_map(spin, x), INTS)
  worker = worker_process.WorkerProcess(num_threads=1)
  worker.stub()
  try:
    with services(1) as addresses:
      # The first share of clients is on the worker that is going to end.
      workers = [worker.address, *addresses]
      with remote.remote_context(workers, retry_seconds=0.5) as context:
        assert computation([1, 1]) == [1.0, 1.0]
        monkey = threading.Timer(1.0, worker.close)
        monkey.start()
        sentence = (
          rf'worker {worker.address}: .* for \d+ seconds no try has come to its end: start it'
        )
        with pytest.raises(errors.ComputationError, match=f'(?s){sentence}'):
          computation([100_000_000, 1])
        monkey.join()
        assert context.workers[0].address == worker.address
  finally:
    worker.close()


@pytest.mark.parametrize('steps', [[-1, 2**30], [2**30, -1]])
@pytest.mark.parametrize('aggregates', [False, True])
def test_error_at_one_worker_ends_the_call_at_the_other(services, steps, aggregates):
  @tff.tensorflow.computation(np.int32)
  @tf.function
  def spin_unless_negative(steps):
    tf.debugging.assert_non_negative(steps, 'less than zero')
    return tf.while_loop(lambda i: i < steps, lambda i: i + 1, [0])[0]

  @tff.federated_computation(INTS)
  def spin_all(values):
    ends = tff.federated_map(spin_unless_negative, values)
    return tff.federated_sum(ends) if aggregates else ends

  with services() as addresses, remote.remote_context(addresses):
    spin_all([1, 2])
    start = time.monotonic()
    with pytest.raises(errors.ComputationError, match='less than zero'):
      spin_all(steps)
    # The next call waits until the one that failed has ended at both.
    assert map_once([1, 2]) == [2, 3]
    assert time.monotonic() - start < 15.0


def test_worker_that_comes_back_goes_on(services, unused_port):
  computation = tff.federated_computation(lambda x: tff.federated_map(add_one, x), INTS)
  port = unused_port()
  with contextlib.ExitStack() as stack:
    with services(1, port) as addresses:
      stack.enter_context(remote.remote_context(addresses, retry_seconds=20.0))
      assert computation([1]) == [2]
    again = threading.Timer(1.0, lambda: stack.enter_context(services(1, port)))
    again.start()
    assert computation([2]) == [3]
    again.join()


def test_what_is_left_of_a_call_does_not_wait_for_a_worker_that_is_gone(monkeypatch, unused_port):
  waits = []
  original = remote_worker._Connection.__init__

  def connect(self, channel):
    waits.append(1)
    original(self, channel)

  monkeypatch.setattr(remote_worker._Connection, '__init__', connect)
  monkeypatch.setattr(remote_worker, '_CONNECT_SECONDS', 0.1)

  @tff.federated_computation(INTS)
  def map_often(values):
    for _ in range(6):
      values = tff.federated_map(add_one, values)
    return tff.federated_sum(values)

  with (
    remote.remote_context([f'127.0.0.1:{unused_port()}'], retry_seconds=0.0),
    pytest.raises(errors.ComputationError, match='no try has come to its end') as caught,
  ):
    map_often([1])
  assert str(caught.value).count('worker 127.0.0.1') == 1
  # One for each try: the one that failed first, and what TFF tries until the time is over.
  assert len(waits) <= 2


def test_connection_that_is_closed_while_it_is_made_is_not_used_again(services, monkeypatch):
  made = threading.Event()
  go_on = threading.Event()
  original = tff.framework.RemoteExecutor.set_cardinalities

  def slowly(self, cardinalities):
    original(self, cardinalities)
    made.set()
    assert go_on.wait(20.0)

  with services(1) as addresses, remote.remote_context(addresses, retry_seconds=5.0) as context:
    monkeypatch.setattr(tff.framework.RemoteExecutor, 'set_cardinalities', slowly)

    def call():
      with tff.framework.get_context_stack().install(context):
        map_once([1])

    caller = threading.Thread(target=call)
    caller.start()
    assert made.wait(20.0)
    monkeypatch.setattr(tff.framework.RemoteExecutor, 'set_cardinalities', original)
    context.workers[0].disconnect()  # As an interrupt does.
    go_on.set()
    caller.join(30.0)
    assert map_once([2]) == [3]


@pytest.mark.slow
def test_a_worker_that_came_back_has_all_the_time_to_come_back_again(services, monkeypatch):
  failures = []
  original = worker_service.ExecutorService.CreateCall

  def fail_now_and_then(self, request, context):
    # Fails in the first try, and once more when a later one has taken longer than may be waited.
    if len(failures) == 1:
      time.sleep(4.5)
    if len(failures) < 2:
      failures.append(time.monotonic())
      context.abort(remote_worker.grpc.StatusCode.UNAVAILABLE, 'a hiccup')
    return original(self, request, context)

  monkeypatch.setattr(worker_service.ExecutorService, 'CreateCall', fail_now_and_then)
  with services(1) as addresses, remote.remote_context(addresses, retry_seconds=4.0):
    assert map_once([1]) == [2]
  assert failures[1] - failures[0] > 4.0


def test_a_computation_that_always_ends_its_worker_is_not_tried_for_ever(services, monkeypatch):
  calls = []

  def fail(self, request, context):
    calls.append(1)
    context.abort(remote_worker.grpc.StatusCode.UNAVAILABLE, 'out of memory')

  monkeypatch.setattr(worker_service.ExecutorService, 'CreateCall', fail)
  with (
    services(1) as addresses,
    remote.remote_context(addresses, retry_seconds=0.3),
    pytest.raises(errors.ComputationError, match='no try has come to its end'),
  ):
    map_once([1])
  assert 2 <= len(calls) < 20
