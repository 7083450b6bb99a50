"""TFF's native compilation and execution context over TensorFlow in this process.

Computations are lowered by TFF's native compiler and run by TFF's execution context;
what TFF gives to a C++ worker process is here given to the TensorFlow of this process,
which uses a GPU where there is one. Values stay tensors on their device, nothing is
serialized, and a computation is imported once. `resident` arguments, tensors passed as
they are, are never copied.
"""

import contextlib
from collections.abc import Generator

import tensorflow_federated as tff

from tff_robust import checks
from tff_robust.runtime import devices, executor, interruptible


def create_async_accelerated_context(
  *,
  device: str = 'auto',
  client_threads: int | None = None,
  default_num_clients: int = 0,
) -> tff.framework.AsyncExecutionContext:
  """Returns TFF's asynchronous execution context over TensorFlow in this process.

  Args:
    device: See `AcceleratedContext`.
    client_threads: See `AcceleratedContext`.
    default_num_clients: See `AcceleratedContext`.

  Raises:
    ValueError: If an argument is not allowed.
  """
  devices.check_visible(device)
  if client_threads is None:
    client_threads = devices.default_client_threads(device)
  devices.check_client_threads(client_threads)
  devices.share_cores(client_threads)
  checks.whole_at_least('default_num_clients', default_num_clients, 0)
  return tff.framework.AsyncExecutionContext(
    executor_fn=executor.AcceleratedExecutorFactory(
      client_threads=client_threads,
      device=None if device == 'auto' else f'/{device}' if ':' in device else f'/{device}:0',
      default_num_clients=default_num_clients,
    ),
    # Compilation is the executor's: it keeps the result as long as the computation.
    compiler_fn=None,
    transform_result=tff.tensorflow.transform_result,
  )


class AcceleratedContext(interruptible.InterruptibleContext):
  """TFF's execution context over TensorFlow in this process; see the module."""

  def __init__(
    self,
    *,
    device: str = 'auto',
    client_threads: int | None = None,
    default_num_clients: int = 0,
  ) -> None:
    """Creates the context.

    Args:
      device: 'auto' leaves placement to TensorFlow (a GPU where it finds one); 'cpu' or
        'gpu:N' names the device for whatever does not name one itself.
      client_threads: Clients that run at the same time; by default one on a GPU and as
        many as there are processor cores otherwise. They share the cores: if TensorFlow has not
        started and its threads were not chosen, each of its operations gets as many as fit.
      default_num_clients: Number of clients of a computation whose arguments do not tell.

    Raises:
      ValueError: If there is no such device, or a number is not allowed.
    """
    context = create_async_accelerated_context(
      device=device, client_threads=client_threads, default_num_clients=default_num_clients
    )
    self.client_threads = (
      devices.default_client_threads(device) if client_threads is None else client_threads
    )
    factory = context.executor_factory
    super().__init__(
      context,
      on_begin=lambda: None,
      on_interrupt=factory.interrupt,
      on_close=factory.close,
    )


@contextlib.contextmanager
def accelerated_context(
  *,
  device: str = 'auto',
  client_threads: int | None = None,
  default_num_clients: int = 0,
) -> Generator[AcceleratedContext, None, None]:
  """Runs the computations of a `with` block with TensorFlow in this process.

  Args:
    device: See `AcceleratedContext`.
    client_threads: See `AcceleratedContext`.
    default_num_clients: See `AcceleratedContext`.

  Yields:
    The context.
  """
  context = AcceleratedContext(
    device=device, client_threads=client_threads, default_num_clients=default_num_clients
  )
  try:
    with tff.framework.get_context_stack().install(context):
      yield context
  finally:
    context.close()


def set_accelerated_context(
  *,
  device: str = 'auto',
  client_threads: int | None = None,
  default_num_clients: int = 0,
) -> AcceleratedContext:
  """Makes TensorFlow in this process TFF's default context; returns the context.

  Args:
    device: See `AcceleratedContext`.
    client_threads: See `AcceleratedContext`.
    default_num_clients: See `AcceleratedContext`.
  """
  context = AcceleratedContext(
    device=device, client_threads=client_threads, default_num_clients=default_num_clients
  )
  tff.framework.set_default_context(context)
  return context
