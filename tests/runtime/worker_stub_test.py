import threading
import time

import grpc
import pytest
import tensorflow_federated as tff

from tff_robust.runtime import worker_service, worker_stub


def open_stub():
  server, port = worker_service.start_worker('127.0.0.1:0', client_threads=1)
  return server, worker_stub.WorkerStub(grpc.insecure_channel(f'127.0.0.1:{port}'))


def requests():
  # The messages of TFF's protocol, as TFF's own executor makes them.
  protocol = tff.framework.RemoteExecutor.close.__globals__['executor_pb2']
  return protocol.DisposeRequest(), protocol.DisposeExecutorRequest(), protocol.CreateValueRequest()


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
