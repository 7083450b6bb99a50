"""Another process that does works on request, seen from the benchmark."""

import contextlib
import json
import os
import pathlib
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from binaries.benchmarks import processes
from binaries.benchmarks import work as work_lib
from tff_robust.runtime import devices

_ROOT = pathlib.Path(__file__).parents[2]
_CLOSE_SECONDS = 20.0
# Written for an old OpenBLAS, these make that of a new NumPy slow.
_NUMPY_TUNING = ('OPENBLAS_CORETYPE', 'OPENBLAS_L2_SIZE')


class ContenderError(Exception):
  """A contender could not do what was asked; the message says why."""


class Preparation(NamedTuple):
  """What the first call of a work took.

  Attributes:
    import_seconds: Of imports and the runtime; near 0 after the first work of a process.
    build_seconds: Of making data and computation.
    first_seconds: Of the first call, which traces and compiles.
    figure: Norm of the result of the first call: equal for equal results.
    peak_bytes: Most memory during the first call, beyond what was occupied before it.
    resident_bytes: What was occupied before it.
  """

  import_seconds: float
  build_seconds: float
  first_seconds: float
  figure: float
  peak_bytes: int | None
  resident_bytes: int | None = None


class Contender:
  """One process, started when the first work is prepared.

  Attributes:
    name: What the report calls it.
    facts: What the process says about itself, once it has prepared a work.
    start_seconds: From the start of the process to the end of its first round.
  """

  def __init__(
    self,
    name: str,
    command: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    answer_seconds: float = 900.0,
  ) -> None:
    """Prepares a contender.

    Args:
      name: What the report calls it.
      command: Starts the process.
      environment: Variables to set for it.
      without: Variables of this process that it is not to see.
      answer_seconds: How long an answer may take.
    """
    self.name = name
    self.facts: dict[str, Any] = {}
    self.start_seconds: float | None = None
    self._command = command
    inherited = {key: value for key, value in os.environ.items() if key not in without}
    self._environment = {**inherited, 'PYTHONPATH': str(_ROOT), **(environment or {})}
    self._answer_seconds = answer_seconds
    self._process: subprocess.Popen[str] | None = None
    self._broken = ''
    # `tempfile` unlinks the file at once: nothing to clean up, whichever way we end.
    self._log = tempfile.TemporaryFile()  # noqa: SIM115

  def prepare(self, key: str, work: work_lib.Work) -> Preparation:
    """Builds a work under a name and does it once."""
    start = time.perf_counter()
    first = self._process is None
    built = self._ask({'prepare': key, 'work': work_lib.to_json(work)})
    self.facts = built['facts']
    pid = self._pid()
    processes.reset_peak(pid)
    before = processes.resident_bytes(pid)
    done = self._ask({'run': key, 'times': 1})
    peak = processes.peak_bytes(pid)
    if first:
      self.start_seconds = time.perf_counter() - start
    return Preparation(
      import_seconds=built['import_seconds'],
      build_seconds=built['build_seconds'],
      first_seconds=done['seconds'],
      figure=done['figure'],
      peak_bytes=None if before is None or peak is None else peak - before,
      resident_bytes=before,
    )

  def run(self, key: str, times: int = 1) -> float:
    """Does a prepared work some times; returns the seconds of all together."""
    return float(self._ask({'run': key, 'times': times})['seconds'])

  def forget(self, key: str) -> None:
    """Drops a prepared work."""
    self._ask({'forget': key})

  def renew(self) -> None:
    """Lets a process that failed be started afresh by the next work."""
    self._broken = ''

  def cpu_seconds(self) -> float | None:
    """Returns the processor time so far, of the process and its descendants."""
    return processes.cpu_seconds(self._pid())

  def peak_bytes(self) -> int | None:
    """Returns the most memory of the process and its descendants since the last `prepare`."""
    return processes.peak_bytes(self._pid())

  def resident_bytes(self) -> int | None:
    """Returns the memory of the process and its descendants."""
    return processes.resident_bytes(self._pid())

  def log(self) -> str:
    """Returns what the process wrote to standard error."""
    self._log.seek(0)
    return self._log.read().decode(errors='replace')

  def close(self) -> None:
    """Ends the process and everything that it started."""
    process, self._process = self._process, None
    if process is None:
      return
    if process.stdin is not None and process.stdout is not None:
      with contextlib.suppress(BrokenPipeError):  # It died with a request unread.
        process.stdin.close()
      process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(_CLOSE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
      # The stock worker of TensorFlow Federated outlives its parent, in the parent's group.
      os.killpg(process.pid, signal.SIGKILL)
    process.wait()

  def _pid(self) -> int:
    if self._process is None:
      raise ContenderError('not running')
    return self._process.pid

  def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
    if self._broken:
      raise ContenderError(self._broken)
    if self._process is None:
      self._process = subprocess.Popen(
        self._command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=self._log,
        env=self._environment,
        cwd=_ROOT,
        start_new_session=True,
        text=True,
      )
    process = self._process
    if process.stdin is None or process.stdout is None:
      raise ContenderError('not running')
    try:
      process.stdin.write(json.dumps(request) + '\n')
      process.stdin.flush()
    except BrokenPipeError:
      self._give_up('ended by itself')
    with selectors.DefaultSelector() as selector:
      selector.register(process.stdout, selectors.EVENT_READ)
      if not selector.select(self._answer_seconds):
        self._give_up(f'gave no answer within {self._answer_seconds:.0f} s')
    line = process.stdout.readline()
    if not line:
      self._give_up('ended by itself')
    answer: dict[str, Any] = json.loads(line)
    if 'error' in answer:
      raise ContenderError(answer['error'])
    return answer

  def _give_up(self, reason: str) -> None:
    last = self.log().strip().splitlines()[-1:]
    self._broken = f'the process {reason}' + (f'; its last words: {last[0][:300]}' if last else '')
    self.close()
    raise ContenderError(self._broken)


def tensorflow_contender(
  name: str,
  runtime: str,
  device: str,
  *,
  shows_memory: bool = False,
  without_onednn: bool = False,
  operation_threads: int | None = None,
  answer_seconds: float = 900.0,
) -> Contender:
  """Returns a contender that computes in a runtime; see `tensorflow_contender`.

  With `shows_memory` it gives back what it no longer needs at once, which costs time: then
  the peak of every call can be seen, not only of the first. `without_onednn` turns oneDNN off, as
  TensorFlow does by itself on many processors. `operation_threads` is how many threads an operation
  has, where clients do not share the cores.
  """
  environment = {
    # The message at level 0 says whether oneDNN is in use.
    'TF_CPP_MIN_LOG_LEVEL': '0',
    # Several contenders share a GPU.
    'TF_FORCE_GPU_ALLOW_GROWTH': 'true',
  }
  if shows_memory:
    # TensorFlow's allocator for oneDNN keeps what it once had.
    environment |= {
      'TF_ONEDNN_USE_SYSTEM_ALLOCATOR': '1', 'MALLOC_MMAP_THRESHOLD_': str(1 << 16)
    }  # fmt: skip
  if without_onednn:
    environment['TF_ENABLE_ONEDNN_OPTS'] = '0'
  if operation_threads is not None:
    environment[devices.OPERATION_THREADS] = str(operation_threads)
  if runtime in ('native', 'stock'):
    environment['CUDA_VISIBLE_DEVICES'] = '-1'  # Their worker has no GPU code.
    device = 'auto'
  options = json.dumps({'runtime': runtime, 'device': device})
  command = [sys.executable, '-m', 'binaries.benchmarks.tensorflow_contender', options]
  return Contender(name, command, environment=environment, answer_seconds=answer_seconds)


def torch_contender(python: str, device: str) -> Contender:
  """Returns a contender that computes with PyTorch."""
  options = json.dumps({'device': device})
  return Contender('PyTorch', [python, '-m', 'binaries.benchmarks.torch_contender', options])


def peers_contender(python: str, *, answer_seconds: float) -> Contender:
  """Returns a contender that computes with the libraries to compare with."""
  command = [python, '-m', 'binaries.benchmarks.peers_contender']
  return Contender('peers', command, without=_NUMPY_TUNING, answer_seconds=answer_seconds)
