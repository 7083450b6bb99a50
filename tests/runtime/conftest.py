"""The two contexts of one machine, workers on it, and all three, for tests that each passes."""

import contextlib
import os
import signal
import socket
import threading
import time

import pytest


@pytest.fixture(scope='session')
def spin():
  """A computation that takes as long as it is told, in steps."""
  import numpy as np
  import tensorflow as tf
  import tensorflow_federated as tff

  @tff.tensorflow.computation(np.int32)
  @tf.function
  def spin(steps):
    total = tf.constant(0.0)
    for _ in tf.range(steps):
      total = tf.sin(total) + 1.0
    return total

  return spin


@pytest.fixture(scope='session')
def unused_port():
  """A function that returns a port that nobody listens on."""

  def find():
    with socket.create_server(('127.0.0.1', 0)) as server:
      return server.getsockname()[1]

  return find


@pytest.fixture(scope='session')
def services():
  """A function that starts workers of our own in this process and yields their addresses."""
  from tff_robust.runtime import worker_service

  @contextlib.contextmanager
  def start(num_workers=2, port=0):
    started = [
      worker_service.start_worker(f'127.0.0.1:{port}', client_threads=1) for _ in range(num_workers)
    ]
    try:
      yield [f'127.0.0.1:{port}' for _, port in started]
    finally:
      for server, _ in started:
        server.stop(None).wait()

  return start


@pytest.fixture(scope='module')
def contexts():
  from tff_robust.runtime import accelerated, native

  with (
    native.native_context(num_threads=2) as native_context,
    accelerated.accelerated_context(client_threads=2) as accelerated_context,
  ):
    yield {'native': native_context, 'accelerated': accelerated_context}


@pytest.fixture(params=['native', 'accelerated'])
def context(request, contexts):
  import tensorflow_federated as tff

  with tff.framework.get_context_stack().install(contexts[request.param]) as context:
    yield context


@pytest.fixture(scope='module')
def remote_context(services):
  from tff_robust.runtime import remote

  with (
    services() as addresses,
    contextlib.closing(remote.RemoteContext(addresses, retry_seconds=5.0)) as context,
  ):
    yield context


@pytest.fixture(scope='module')
def all_contexts(contexts, remote_context):
  return {**contexts, 'remote': remote_context}


@pytest.fixture(params=['native', 'accelerated', 'remote'])
def runtime(request, all_contexts):
  """The name of each runtime, whose context is installed."""
  import tensorflow_federated as tff

  with tff.framework.get_context_stack().install(all_contexts[request.param]):
    yield request.param


@pytest.fixture
def interrupt_while_it_is_prepared(spin, monkeypatch):
  """Returns a check of an installed context: a call that is interrupted before it runs ends."""

  def check(context):
    assert spin(1) == 1.0
    original = context.executor_factory.create_executor

    def slowly(cardinalities):
      time.sleep(1.5)  # As long arguments and compilation may take.
      return original(cardinalities)

    monkeypatch.setattr(context.executor_factory, 'create_executor', slowly)
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
      spin(2**30)
    monkeypatch.undo()
    start = time.monotonic()
    assert spin(1) == 1.0
    assert time.monotonic() - start < 10.0

  return check
