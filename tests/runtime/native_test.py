"""The stock worker ends with its parent, however the parent ends, and comes back when killed."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow_federated as tff

from tff_robust import processor
from tff_robust.runtime import devices, native

# A program that calls the worker, says which processes it owns, then does `ending`.
_PROGRAM = """
import os, signal, sys, time
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from tff_robust.runtime import native

context = native.set_native_context()

@tff.tensorflow.computation(np.int32)
def double(x):
  return x * 2

assert double(21) == 42
watcher = context.worker.watcher_pid
with open(f'/proc/{watcher}/task/{watcher}/children') as children:
  print('PIDS', watcher, children.read().strip(), flush=True)
"""
_ENDINGS = {
  'exit': 'pass',
  'exception': "raise ValueError('on purpose')",
  'wait': 'time.sleep(60)',
}


def test_number_of_threads_that_is_none_is_refused_before_a_worker_starts(monkeypatch):
  monkeypatch.setenv('TF_NUM_INTRAOP_THREADS', 'two')
  with pytest.raises(ValueError, match=r"^TF_NUM_INTRAOP_THREADS='two', an environment variable"):
    native.NativeContext()


def _alive(pid):
  """True when the process exists and is not merely waiting to be reaped."""
  try:
    return pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
  except FileNotFoundError:
    return False


def _all_gone(pids, seconds=10.0):
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline:
    if not any(_alive(pid) for pid in pids):
      return True
    time.sleep(0.05)
  return False


@contextlib.contextmanager
def _program(ending, tmp_path):
  """Starts the program; yields it with the ids of its watcher and worker."""
  output = tmp_path / 'output'
  root = pathlib.Path(native.__file__).parents[2]
  with open(output, 'wb') as stream:
    process = subprocess.Popen(
      [sys.executable, '-c', _PROGRAM + _ENDINGS[ending]],
      stdin=subprocess.DEVNULL,
      stdout=stream,
      stderr=stream,
      env={**os.environ, 'PYTHONPATH': str(root)},
    )
  pids = []
  try:
    deadline = time.monotonic() + 90
    while len(pids) < 2 and time.monotonic() < deadline:
      lines = [x.split() for x in output.read_text().splitlines() if x.startswith('PIDS')]
      pids = [int(pid) for line in lines for pid in line[1:]]
      if process.poll() is not None and not pids:
        break
      time.sleep(0.05)
    assert len(pids) == 2, output.read_text()
    yield process, pids
  finally:
    process.kill()
    process.wait()
    for pid in pids:
      if _alive(pid):
        os.kill(pid, signal.SIGKILL)


def _worker_pid(context):
  watcher = context.worker.watcher_pid
  children = pathlib.Path(f'/proc/{watcher}/task/{watcher}/children').read_text().split()
  return int(children[0])


@tff.tensorflow.computation(np.int32)
def _double(x):
  return x * 2


@pytest.mark.slow
@pytest.mark.parametrize(('ending', 'status'), [('exit', 0), ('exception', 1)])
def test_no_process_is_left_after_the_program_ends(ending, status, tmp_path):
  with _program(ending, tmp_path) as (process, pids):
    assert process.wait(30) == status
    assert _all_gone(pids)


@pytest.mark.slow
@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_after_a_signal(signal_number, tmp_path):
  with _program('wait', tmp_path) as (process, pids):
    assert all(_alive(pid) for pid in pids)
    process.send_signal(signal_number)
    assert process.wait(30) != 0
    assert _all_gone(pids)


@pytest.mark.slow
def test_no_worker_is_left_when_its_watcher_is_killed(tmp_path):
  with _program('wait', tmp_path) as (_, (watcher, worker)):
    os.kill(watcher, signal.SIGKILL)
    assert _all_gone([worker])


@pytest.mark.slow
def test_pipe_of_the_program_closes_when_it_ends():
  root = pathlib.Path(native.__file__).parents[2]
  # `communicate` returns only when no process holds the other end of the pipe.
  process = subprocess.Popen(
    [sys.executable, '-c', _PROGRAM + 'os.kill(os.getpid(), signal.SIGKILL)'],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    env={**os.environ, 'PYTHONPATH': str(root)},
  )
  output, _ = process.communicate(timeout=90)
  assert process.returncode == -signal.SIGKILL
  assert _all_gone([int(pid) for pid in output.decode().split('PIDS')[1].split()])


def test_next_call_works_after_the_worker_was_killed():
  with native.native_context(num_threads=1) as context:
    assert _double(4) == 8
    first = _worker_pid(context)
    os.kill(first, signal.SIGKILL)
    assert _double(5) == 10
    second = _worker_pid(context)
    assert second != first
  assert _all_gone([second])


@pytest.mark.parametrize('runs_before', [True, False])
def test_worker_that_keeps_ending_is_started_again_twice_in_a_call(monkeypatch, runs_before):
  killed = []
  with native.native_context(num_threads=1) as context:
    if runs_before:
      assert _double(4) == 8
    original = context.worker.stub

    def stub_of_a_worker_that_ends():
      stub = original()
      killed.append(_worker_pid(context))
      os.kill(killed[-1], signal.SIGKILL)
      assert _all_gone([killed[-1]])
      return stub

    monkeypatch.setattr(context.worker, 'stub', stub_of_a_worker_that_ends)
    with pytest.raises(RuntimeError, match=r'worker ended 3 times during one call'):
      _double(5)
    assert len(set(killed)) == 3  # The first one, and two that took its place.
    monkeypatch.undo()
    assert _double(6) == 12


def test_interrupt_ends_the_call_and_keeps_the_context_usable(spin):
  with native.native_context(num_threads=1):
    assert spin(1) == 1.0
    interrupt = threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGINT])
    interrupt.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
      spin(2**30)
    assert time.monotonic() - start < 10.0
    assert spin(1) == 1.0


def test_worker_that_is_not_called_for_long_stays(monkeypatch):
  def open_channel(address, options):
    # What gRPC does after half an hour unless it is told otherwise, after a second.
    options = {'grpc.client_idle_timeout_ms': 1000, **dict(options)}
    return original(address, tuple(options.items()))

  original = grpc.insecure_channel
  monkeypatch.setattr(grpc, 'insecure_channel', open_channel)
  with native.native_context(num_threads=1) as context:
    assert _double(4) == 8
    worker = _worker_pid(context)
    time.sleep(4.0)
    assert _double(5) == 10
    assert _worker_pid(context) == worker


def test_interrupt_before_anything_runs_ends_the_call(interrupt_while_it_is_prepared):
  with native.native_context(num_threads=1) as context:
    interrupt_while_it_is_prepared(context)


def test_cohorts_of_many_sizes_do_not_add_executors():
  @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
  def total(values):
    return tff.federated_sum(values)

  with native.native_context(num_threads=1) as context:
    for num_clients in range(1, 9):
      assert total([1] * num_clients) == num_clients
    assert len(context.executor_factory._executors) == 4


def _environment(pid):
  entries = pathlib.Path(f'/proc/{pid}/environ').read_bytes().split(b'\0')
  return dict(entry.decode().split('=', 1) for entry in entries if b'=' in entry)


@pytest.mark.parametrize('chosen', [None, '7'])
def test_worker_has_few_heaps_unless_the_user_says_otherwise(chosen, monkeypatch):
  monkeypatch.delenv('MALLOC_ARENA_MAX', raising=False)
  if chosen:
    monkeypatch.setenv('MALLOC_ARENA_MAX', chosen)
  with native.native_context(num_threads=1) as context:
    assert _double(4) == 8
    heaps = int(_environment(_worker_pid(context))['MALLOC_ARENA_MAX'])
  # C's allocator has eight for each core.
  assert heaps == int(chosen or max(1, len(os.sched_getaffinity(0)) // 2))


@pytest.mark.parametrize(('chosen', 'expected'), [(None, '2'), ('7', '7')])
def test_clients_of_the_worker_share_the_cores(chosen, expected, monkeypatch):
  monkeypatch.setattr(processor, 'num_cores', lambda: 6)
  monkeypatch.delenv(devices.OPERATION_THREADS, raising=False)
  if chosen:
    monkeypatch.setenv(devices.OPERATION_THREADS, chosen)
  with native.native_context(num_threads=3) as context:
    assert _double(4) == 8
    assert _environment(_worker_pid(context))[devices.OPERATION_THREADS] == expected


def test_closed_context_says_so():
  with native.native_context(num_threads=1) as context:
    pass
  with (
    tff.framework.get_context_stack().install(context),
    pytest.raises(RuntimeError, match='closed'),
  ):
    _double(1)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'num_threads': 0}, 'num_threads=0'),
    ({'num_threads': 2.5}, r'num_threads=2\.5 must be a whole number'),
    ({'default_num_clients': -1}, 'default_num_clients=-1'),
  ],
)
def test_refuses_numbers_out_of_range(options, message):
  with pytest.raises(ValueError, match=message), native.native_context(**options):
    pass
