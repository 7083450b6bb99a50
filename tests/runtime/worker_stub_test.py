import threading
import time

import grpc
import pytest
import tensorflow_federated as tff

from tff_robust.runtime import remote_worker, worker_service, worker_stub


def open_stub():
  server, port = worker_service.start_worker('127.0.0.1:0', client_threads=1)
  return server, worker_stub.WorkerStub(grpc.insecure_channel(f'127.0.0.1:{port}'))


def requests():
  # The messages of TFF's protocol, as TFF's own executor makes them.
  protocol = tff.framework.RemoteExecutor.close.__globals__['executor_pb2']
  return protocol.DisposeRequest(), protocol.DisposeExecutorRequest(), protocol.CreateValueRequest()


class _Channel:
  """A real channel that counts who is told of its state."""

  def __init__(self, channel):
    self.channel = channel
    self.told = []

  def subscribe(self, callback, try_to_connect=False):
    self.told.append(callback)
    self.channel.subscribe(callback, try_to_connect=try_to_connect)

  def unsubscribe(self, callback):
    self.told.remove(callback)
    self.channel.unsubscribe(callback)

  def __getattr__(self, name):
    return getattr(self.channel, name)


def test_a_connection_is_not_watched_once_it_is_there_and_works_on(services):
  with services(1) as (address,):
    channel = _Channel(grpc.insecure_channel(address))
    connection = remote_worker._Connection(channel)
    assert channel.told == []
    assert connection.executor(3) is connection.executor(3)
    connection.close()


def test_a_stub_is_watched_until_it_is_told_to_stop():
  server, port = worker_service.start_worker('127.0.0.1:0', client_threads=1)
  channel = _Channel(grpc.insecure_channel(f'127.0.0.1:{port}'))
  stub = worker_stub.WorkerStub(channel)
  deadline = time.monotonic() + 20.0
  while not stub.is_ready and time.monotonic() < deadline:
    time.sleep(0.01)
  assert stub.is_ready
  assert len(channel.told) == 1
  stub.stop_watching()
  assert channel.told == []
  assert stub.is_ready
  assert stub.dispose(requests()[0]) is not None
  channel.close()
  server.stop(None).wait()


def test_releasing_on_a_worker_that_is_gone_is_no_error():
  server, stub = open_stub()
  dispose, dispose_executor, create = requests()
  server.stop(None).wait()
  assert stub.dispose(dispose) is None
  assert stub.dispose_executor(dispose_executor) is None
  # A control: anything else on it is one.
  with pytest.raises((grpc.RpcError, tff.framework.RetryableError)):
    stub.create_value(create)


def test_releasing_waits_no_longer_than_it_may(monkeypatch):
  answer = threading.Event()
  monkeypatch.setattr(
    worker_service.ExecutorService, 'DisposeExecutor', lambda *_: answer.wait(20.0)
  )
  monkeypatch.setattr(worker_stub, 'RELEASE_SECONDS', 0.2)
  server, stub = open_stub()
  begin = time.monotonic()
  try:
    assert stub.dispose_executor(requests()[1]) is None
    assert time.monotonic() - begin < 10.0
  finally:
    answer.set()
    server.stop(None).wait()


def test_releasing_on_a_worker_that_is_there_reaches_it(monkeypatch):
  seen = []
  original = worker_service.ExecutorService.Dispose

  def dispose(self, request, context):
    seen.append(request)
    return original(self, request, context)

  monkeypatch.setattr(worker_service.ExecutorService, 'Dispose', dispose)
  server, stub = open_stub()
  stub.dispose(requests()[0])
  server.stop(None).wait()
  assert len(seen) == 1
