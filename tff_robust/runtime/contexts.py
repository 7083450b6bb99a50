"""Chooses the TFF execution context of a run by name.

Importing this module is cheap: TensorFlow is imported by `install_context`, after the
name and the options have been checked.
"""

import atexit
from typing import Any

from tff_robust import checks

RUNTIMES = ('accelerated', 'native')

_installed: list[Any] = []


def check_runtime(name: str, *, device: str = 'auto', client_threads: int | None = None) -> None:
  """Raises ValueError when the options of `install_context` are not allowed together.

  Args:
    name: One of `RUNTIMES`.
    device: 'auto', 'cpu' or 'gpu:N'.
    client_threads: Clients that run at the same time; None chooses.
  """
  checks.known_name('runtime', name, RUNTIMES)
  if client_threads is not None:
    checks.at_least('client_threads', client_threads, 1)
  if device not in ('auto', 'cpu') and not (device[:4] == 'gpu:' and device[4:].isdecimal()):
    raise ValueError(f"device={device!r} is not known; choose 'auto', 'cpu' or 'gpu:0'.")
  if name == 'native' and device not in ('auto', 'cpu'):
    raise ValueError(
      f'device={device!r} is out of reach of runtime={name!r}, whose worker has no GPU code;'
      " choose runtime='accelerated' or device='auto'."
    )


def install_context(name: str, *, device: str = 'auto', client_threads: int | None = None) -> str:
  """Makes the named execution context TFF's default; replaces the one installed before.

  Args:
    name: 'accelerated' (TensorFlow in this process) or 'native' (TFF's C++ worker process,
      made safe).
    device: Where TensorFlow computes: 'auto', 'cpu' or 'gpu:N'.
    client_threads: Clients that run at the same time; None chooses.

  Returns:
    One line that says where the run runs.

  Raises:
    ValueError: If the name is unknown or an option is not allowed with it.
  """
  check_runtime(name, device=device, client_threads=client_threads)
  close_context()
  if name == 'native':
    return _install_native(client_threads)
  return _install_accelerated(device, client_threads)


def _install_native(client_threads: int | None) -> str:
  from tff_robust.runtime import native

  context = native.set_native_context(num_threads=client_threads)
  _installed.append(context)
  return (
    f"runtime native: TFF's C++ worker process on the CPU, {context.num_threads} clients at a time"
  )


def _install_accelerated(device: str, client_threads: int | None) -> str:
  from tff_robust.runtime import accelerated

  context = accelerated.set_accelerated_context(device=device, client_threads=client_threads)
  _installed.append(context)
  return (
    f'runtime accelerated: TensorFlow in this process on {context.device_description},'
    f' {context.client_threads} clients at a time'
  )


def close_context() -> None:
  """Closes the context that `install_context` installed, if any; also runs at exit."""
  while _installed:
    import tensorflow_federated as tff

    context = _installed.pop()
    if tff.framework.get_context_stack().current is context:
      tff.test.set_no_default_context()
    context.close()


atexit.register(close_context)
