"""TFF's stock native context (C++ worker), made safe.

The computations, the compiler (`tff.backends.native.desugar_and_transform_to_native`)
and the worker are TFF's own. What differs from
`tff.backends.native.create_sync_local_cpp_execution_context`: the worker ends with this
process in every case (`worker_process.py`), it is restarted at most twice in one call
instead of for ever, Ctrl-C ends the work and not only the waiting, the worker runs one
call per processor core instead of four, and executors of cohort sizes that are no
longer in use are released. The worker has no GPU code; see `accelerated.py`.
"""

import collections
import contextlib
from collections.abc import Generator

import tensorflow_federated as tff

from tff_robust import checks, processor
from tff_robust.runtime import devices, interruptible, worker_process

# One executor (with its TensorFlow sessions) for each cohort size that was seen lately.
_MAX_EXECUTORS = 4


class _ExecutorFactory(tff.framework.ExecutorFactory):
  """Makes executors on a worker, one a cohort size, and releases those not used lately."""

  def __init__(self, worker: worker_process.WorkerProcess, default_num_clients: int) -> None:
    self._worker = worker
    self._default_num_clients = default_num_clients
    self._executors: collections.OrderedDict[int, tff.framework.RemoteExecutor] = (
      collections.OrderedDict()
    )
    self._stub = None

  def create_executor(
    self, cardinalities: tff.framework.CardinalitiesType
  ) -> tff.framework.RemoteExecutor:
    interruptible.check_goes_on()  # Else a worker that an interrupt has ended is started again.
    stub = self._worker.stub()
    interruptible.check_goes_on()
    if stub is not self._stub:
      # A new worker knows none of the executors of the one before it.
      self._executors.clear()
      self._stub = stub
    num_clients = cardinalities.get(tff.CLIENTS, self._default_num_clients)
    if num_clients not in self._executors:
      executor = tff.framework.RemoteExecutor(stub)
      executor.set_cardinalities({tff.CLIENTS: num_clients})
      self._executors[num_clients] = executor
      if len(self._executors) > _MAX_EXECUTORS:
        self._executors.popitem(last=False)[1].close()
    self._executors.move_to_end(num_clients)
    return self._executors[num_clients]

  def clean_up_executor(self, cardinalities: tff.framework.CardinalitiesType) -> None:
    num_clients = cardinalities.get(tff.CLIENTS, self._default_num_clients)
    executor = self._executors.pop(num_clients, None)
    if executor is not None:
      executor.close()


class NativeContext(interruptible.InterruptibleContext):
  """TFF's C++ runtime as a synchronous context; see the module for what differs."""

  def __init__(self, *, num_threads: int | None = None, default_num_clients: int = 0) -> None:
    """Creates the context; its worker process starts at the first call.

    Args:
      num_threads: Calls that the worker runs at the same time; by default the number of
        processor cores that this process may use.
      default_num_clients: Number of clients of a computation whose arguments do not tell.

    Raises:
      ValueError: If a number is not allowed.
    """
    if num_threads is None:
      num_threads = processor.num_cores()
    checks.whole_at_least('num_threads', num_threads, 1)
    checks.whole_at_least('default_num_clients', default_num_clients, 0)
    devices.check_operation_threads()  # TFF's worker would read it.
    self.num_threads = num_threads
    self.worker = worker_process.WorkerProcess(num_threads=num_threads)
    super().__init__(
      tff.framework.AsyncExecutionContext(
        executor_fn=_ExecutorFactory(self.worker, default_num_clients),
        compiler_fn=tff.backends.native.desugar_and_transform_to_native,
        transform_args=tff.tensorflow.transform_args,
        transform_result=tff.tensorflow.transform_result,
      ),
      on_begin=self.worker.begin_call,
      on_interrupt=self.worker.stop,
      on_close=self.worker.close,
    )


@contextlib.contextmanager
def native_context(
  *, num_threads: int | None = None, default_num_clients: int = 0
) -> Generator[NativeContext, None, None]:
  """Runs the computations of a `with` block in TFF's C++ runtime, then ends its worker.

  Args:
    num_threads: See `NativeContext`.
    default_num_clients: See `NativeContext`.

  Yields:
    The context.
  """
  context = NativeContext(num_threads=num_threads, default_num_clients=default_num_clients)
  try:
    with tff.framework.get_context_stack().install(context):
      yield context
  finally:
    context.close()


def set_native_context(
  *, num_threads: int | None = None, default_num_clients: int = 0
) -> NativeContext:
  """Makes TFF's C++ runtime, made safe, the default context; returns it.

  Its worker ends with this process; `context.close()` ends it before.

  Args:
    num_threads: See `NativeContext`.
    default_num_clients: See `NativeContext`.
  """
  context = NativeContext(num_threads=num_threads, default_num_clients=default_num_clients)
  tff.framework.set_default_context(context)
  return context
