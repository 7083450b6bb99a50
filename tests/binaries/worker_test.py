"""A worker refuses what is unsafe before anything heavy is imported."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import types

import pytest

from binaries import worker
from tff_robust import runtime
from tff_robust.runtime import devices


@pytest.mark.parametrize(
  ('flag', 'sentence'),
  [
    ('--listen=0.0.0.0:8470', "listen='0.0.0.0:8470' is not on this machine"),
    ('--listen=8470', "listen='8470' is not an address; write it as host:port."),
    ('--device=tpu', "device='tpu' is not known"),
    ('--client_threads=0', 'client_threads=0 must be at least 1'),
    ('--tls_key=key.pem', 'tls_authority and tls_certificate must be given too'),
  ],
)
def test_bad_flag_is_refused_with_a_sentence(flag, sentence):
  root = pathlib.Path(worker.__file__).parents[1]
  result = subprocess.run(
    [sys.executable, '-m', 'binaries.worker', flag],
    cwd=root,
    capture_output=True,
    text=True,
    timeout=20,
    check=False,
  )
  assert result.returncode == 2
  assert sentence in result.stderr
  assert result.stderr.count('\n') == 1


@pytest.mark.parametrize(
  ('flag', 'sentence'),
  [
    ('--listen=127.0.0.1:{port}', "listen='127.0.0.1:{port}' cannot be used"),
    ('--device=gpu:99', "device='gpu:99' is not there"),
  ],
)
def test_what_only_the_machine_can_refuse_is_refused_with_a_sentence(flag, sentence):
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
    result = subprocess.run(
      [sys.executable, '-m', 'binaries.worker', '--listen=127.0.0.1:0', flag.format(port=port)],
      cwd=pathlib.Path(worker.__file__).parents[1],
      capture_output=True,
      text=True,
      timeout=100,
      check=False,
    )
  assert result.returncode == 2
  # TensorFlow and gRPC write to standard error too.
  assert sentence.format(port=port) in result.stderr.splitlines()[-1]
  assert 'Traceback' not in result.stderr


def test_bad_number_of_threads_in_the_environment_is_refused_with_a_sentence():
  result = subprocess.run(
    [sys.executable, '-m', 'binaries.worker', '--listen=127.0.0.1:0'],
    cwd=pathlib.Path(worker.__file__).parents[1],
    env={**os.environ, 'TF_NUM_INTRAOP_THREADS': 'two'},
    capture_output=True,
    text=True,
    timeout=20,
    check=False,
  )
  assert result.returncode == 2
  assert "TF_NUM_INTRAOP_THREADS='two'" in result.stderr
  assert result.stderr.count('\n') == 1


def test_port_that_was_found_is_told(monkeypatch, capsys):
  class Server:
    def stop(self, grace):
      assert grace is not None
      return self

    def wait(self):
      return True

  def start_worker(address, **_):
    os.kill(os.getpid(), signal.SIGTERM)  # As who ends the worker.
    assert address == '127.0.0.1:0'
    return Server(), 4321

  service = types.SimpleNamespace(start_worker=start_worker)
  monkeypatch.setattr(runtime, 'worker_service', service, raising=False)
  monkeypatch.setattr(devices, 'prepare', lambda: 'oneDNN on')
  monkeypatch.setattr(devices, 'choose', lambda device: f'the {device}')
  fewer = []
  monkeypatch.setattr(devices, 'forbid_fewer_digits', lambda: fewer.append('forbidden'))
  before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
  try:
    assert worker._serve('127.0.0.1:0', 'cpu', 3, None) == 0
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
  assert capsys.readouterr().out.startswith('worker on 127.0.0.1:4321 (in the clear')
  # Private clients clip at workers.
  assert fewer == ['forbidden']
