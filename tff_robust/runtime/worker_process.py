"""The life of one TFF C++ worker process: start, watch, restart, end.

TFF's wheel holds a `worker_binary`, a gRPC service. Started the way TFF starts it, it
outlives its parent and keeps the parent's output open. Here a watcher process
(`worker_watch.py`) stands between: it ends the worker as soon as this process is gone.

The worker listens on all network interfaces without credentials (it has no flag for
an address). We connect through 127.0.0.1, but whoever reaches the port of this machine
can run TensorFlow graphs in it; on a machine that others can reach, close its ports.
"""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, BinaryIO

import tensorflow_federated as tff

from tff_robust import processor
from tff_robust.runtime import devices, errors, secure_channels, worker_stub, worker_watch

_START_ATTEMPTS = 3
_START_SECONDS = 60.0
_LOG_TAIL_BYTES = 2000
# What the worker's environment holds unless the user sets it. By default, C's allocator keeps up
# to eight heaps a core, and the worker's threads come and go among them: its memory grew for
# thousands of rounds (docs/benchmarks.md).
_WORKER_DEFAULTS = {
  'TF_CPP_MIN_LOG_LEVEL': '1',
  'MALLOC_ARENA_MAX': str(max(1, processor.num_cores() // 2)),
}


def worker_binary_path() -> pathlib.Path:
  """Returns where TFF's wheel keeps its worker."""
  path = pathlib.Path(tff.__file__).parent / 'data' / 'worker_binary'
  if not path.is_file():
    raise RuntimeError(
      f'TensorFlow Federated has no worker at {path}; its wheels for Linux and macOS have one:'
      ' reinstall it, or run with runtime=accelerated.'
    )
  return path


def _times(count: int) -> str:
  return 'once' if count == 1 else f'{count} times'


def _unused_port() -> int:
  with socket.create_server(('127.0.0.1', 0)) as server:
    return int(server.getsockname()[1])


class WorkerProcess:
  """A TFF C++ worker that ends with this process and is started again when it ended.

  Attributes:
    max_restarts: How often the worker is started again within one call before the call
      fails.
    address: Where the worker that was started last listens.
  """

  max_restarts = 2

  def __init__(self, *, num_threads: int) -> None:
    """Prepares a worker; it is started by the first use of `stub`.

    Args:
      num_threads: Calls that the worker runs at the same time.
    """
    self._num_threads = num_threads
    self._owner_pid = os.getpid()
    self._lock = threading.Lock()
    self._watcher: subprocess.Popen[bytes] | None = None
    self._log: BinaryIO | None = None
    self._channel: Any = None
    self._stub: Any = None
    self._starts_in_call = 0
    self._closed = False
    self.address: str | None = None

  @property
  def watcher_pid(self) -> int | None:
    """Process id of the watcher, the parent of the worker; None when none runs."""
    return self._watcher.pid if self.is_running() and self._watcher else None

  def is_running(self) -> bool:
    """Tells whether the worker has been started and has not ended."""
    return self._watcher is not None and self._watcher.poll() is None

  def begin_call(self) -> None:
    """Starts counting afresh, for a new call of a computation."""
    self._starts_in_call = 1 if self.is_running() else 0

  def stub(self) -> Any:
    """Returns a connection to a running worker, starting it if need be.

    Raises:
      WorkerGoneError: If the worker ends again and again in one call.
      RuntimeError: If the worker cannot be started, or the context is closed.
    """
    with self._lock:
      if self._closed:
        raise RuntimeError('The native context is closed; set a context again.')
      if self.is_running() and self._stub.is_ready:
        return self._stub
      if self._starts_in_call > self.max_restarts:
        raise errors.WorkerGoneError(
          f'The TFF worker ended {_times(self._starts_in_call)} during one call, probably for lack'
          f' of memory; its last words: {self._log_tail()!r}.'
        )
      self._starts_in_call += 1
      self._stop()
      for _ in range(_START_ATTEMPTS):
        if self._start():
          return self._stub
      raise RuntimeError(f'The TFF worker did not start; its last words: {self._log_tail()!r}.')

  def stop(self) -> None:
    """Ends the worker; the next use of `stub` starts it again."""
    if os.getpid() == self._owner_pid:
      with self._lock:
        self._stop()

  def close(self) -> None:
    """Ends the worker for good. Does nothing in a forked copy of this process."""
    self._closed = True
    self.stop()

  def _start(self) -> bool:
    port = _unused_port()
    # `tempfile` unlinks the file at once: nothing to clean up, whichever way we end.
    log = tempfile.TemporaryFile()  # noqa: SIM115
    self._log = log
    # Clients share the cores, as in `devices.share_cores`.
    threads = str(devices.threads_per_operation(self._num_threads))
    environment = {**_WORKER_DEFAULTS, devices.OPERATION_THREADS: threads, **os.environ}
    self._watcher = subprocess.Popen(
      [
        sys.executable, '-I', '-S', str(pathlib.Path(worker_watch.__file__)),
        str(worker_binary_path()),
        f'--port={port}', f'--max_concurrent_computation_calls={self._num_threads}',
      ],
      stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True,
    )  # fmt: skip
    self.address = f'127.0.0.1:{port}'
    self._channel = secure_channels.open_channel(self.address, tls=None)
    self._stub = worker_stub.WorkerStub(self._channel)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
      if self._stub.is_ready:
        return True
      if not self.is_running():
        break
      time.sleep(0.02)
    self._stop()
    return False

  def _stop(self) -> None:
    if self._watcher is not None:
      if self._watcher.stdin is not None:
        self._watcher.stdin.close()
      try:
        self._watcher.wait(timeout=5)
      except subprocess.TimeoutExpired:
        self._watcher.kill()
        self._watcher.wait()
      self._watcher = None
    if self._channel is not None:
      self._channel.close()
      self._channel = None

  def _log_tail(self) -> str:
    if self._log is None:
      return ''
    size = self._log.seek(0, os.SEEK_END)
    self._log.seek(max(0, size - _LOG_TAIL_BYTES))
    return self._log.read().decode(errors='replace').strip()
