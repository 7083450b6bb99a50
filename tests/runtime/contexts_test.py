"""A runtime is chosen by name, and bad choices are refused before TensorFlow is imported."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_robust.runtime import contexts, devices, worker_service


@pytest.mark.parametrize(
  ('name', 'options', 'message'),
  [
    ('natve', {}, "runtime='natve' is not known.*Did you mean 'native'"),
    ('native', {'device': 'gpu:0'}, "device='gpu:0' is out of reach of runtime='native'"),
    ('native', {'device': 'tpu'}, "device='tpu' is not known"),
    ('native', {'client_threads': 0}, 'client_threads=0 must be at least 1'),
    ('native', {'client_threads': 2.5}, r'client_threads=2\.5 must be a whole number'),
    ('native', {'workers': ['localhost:1']}, "workers has no effect with runtime='native'"),
    (
      'accelerated',
      {'worker_retry_seconds': 1.0},
      "worker_retry_seconds has no effect with runtime='accelerated'",
    ),
    (
      'remote',
      {'workers': ['localhost:1'], 'worker_retry_seconds': -1.0},
      'worker_retry_seconds=-1.0',
    ),
    ('remote', {}, "runtime='remote' needs workers"),
    ('remote', {'workers': ['10.0.0.1:1']}, "workers='10.0.0.1:1' is not on this machine"),
    (
      'remote',
      {'workers': ['localhost:1'], 'client_threads': 2},
      "client_threads has no effect with runtime='remote'",
    ),
  ],
)
def test_refuses_with_a_sentence(name, options, message):
  with pytest.raises(ValueError, match=message):
    contexts.install_context(name, **options)


@pytest.mark.parametrize(
  ('name', 'environment'),
  [('none', {}), *((name, {'TF_NUM_INTRAOP_THREADS': 'two'}) for name in contexts.RUNTIMES)],
)
def test_checks_without_importing_tensorflow(name, environment):
  root = pathlib.Path(contexts.__file__).parents[2]
  workers = ['localhost:1'] if name == 'remote' else []
  program = (
    'import sys\n'
    'from tff_robust.runtime import contexts\n'
    f'try:\n  contexts.install_context({name!r}, workers={workers})\n'
    'except ValueError:\n  print("tensorflow" in sys.modules)\n'
  )
  result = subprocess.run(
    [sys.executable, '-c', program],
    cwd=root,
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout == 'False\n'


def test_installed_native_context_runs_computations_until_it_is_closed():
  line = contexts.install_context('native', client_threads=2)
  try:
    assert line == ("runtime native: TFF's C++ worker process on the CPU, 2 clients at a time")
    assert tff.tensorflow.computation(lambda x: x + 1, np.int32)(1) == 2
  finally:
    contexts.close_context()
  with pytest.raises(RuntimeError, match='No default context installed'):
    tff.tensorflow.computation(lambda x: x + 1, np.int32)(1)


@pytest.mark.parametrize('name', ['accelerated', 'native'])
@pytest.mark.parametrize('device', ['auto', 'cpu'])
def test_tensorflow_of_this_process_gets_the_device_that_was_chosen(monkeypatch, name, device):
  chosen = []
  choose = devices.choose
  monkeypatch.setattr(devices, 'choose', lambda device: chosen.append(device) or choose(device))
  contexts.install_context(name, device=device, client_threads=1)
  contexts.close_context()
  assert chosen == [device]


def test_installed_accelerated_context_runs_computations():
  line = contexts.install_context('accelerated', client_threads=3)
  try:
    assert line.startswith('runtime accelerated: TensorFlow in this process on ')
    assert ', 3 clients at a time, operations on ' in line
    assert tff.tensorflow.computation(lambda x: x + 1, np.int32)(1) == 2
  finally:
    contexts.close_context()


def test_installing_a_context_closes_the_one_before():
  contexts.install_context('accelerated', client_threads=1)
  first = tff.framework.get_context_stack().current
  try:
    contexts.install_context('accelerated', client_threads=1)
    with (
      tff.framework.get_context_stack().install(first),
      pytest.raises(RuntimeError, match='closed'),
    ):
      tff.tensorflow.computation(lambda x: x + 1, np.int32)(1)
  finally:
    contexts.close_context()


def test_a_context_that_cannot_be_installed_leaves_the_one_before():
  contexts.install_context('accelerated', client_threads=1)
  try:
    with pytest.raises(ValueError, match="device='gpu:7' is not there"):
      contexts.install_context('accelerated', device='gpu:7')
    assert tff.tensorflow.computation(lambda x: x + 1, np.int32)(1) == 2
  finally:
    contexts.close_context()


def test_native_context_that_comes_too_late_leaves_the_one_before(monkeypatch):
  def refuse(device):
    raise ValueError(f'device={device!r} comes too late')

  contexts.install_context('accelerated', client_threads=1)
  try:
    monkeypatch.setattr(devices, 'choose', refuse)
    with pytest.raises(ValueError, match="device='cpu' comes too late"):
      contexts.install_context('native', device='cpu')
    assert tff.tensorflow.computation(lambda x: x + 1, np.int32)(1) == 2
  finally:
    contexts.close_context()


def test_installed_remote_context_runs_clients_on_its_workers():
  server, port = worker_service.start_worker('127.0.0.1:0', client_threads=1)
  line = contexts.install_context('remote', workers=[f'127.0.0.1:{port}'])
  try:
    assert line.startswith(f'runtime remote: clients on 1 workers (127.0.0.1:{port}, in the clear')
    add_one = tff.tensorflow.computation(lambda x: x + 1, np.int32)
    computation = tff.federated_computation(
      lambda x: tff.federated_map(add_one, x), tff.FederatedType(np.int32, tff.CLIENTS)
    )
    assert computation([1, 2]) == [2, 3]
  finally:
    contexts.close_context()
    server.stop(None).wait()
