"""Chooses the TFF execution context of a run by name.

Importing this module is cheap: TensorFlow is imported by `install_context`, after the
name and the options have been checked.
"""

import atexit
from collections.abc import Sequence
from typing import Any

from tff_robust import checks
from tff_robust.runtime import devices, secure_channels

RUNTIMES = ('accelerated', 'native', 'remote')

_installed: list[Any] = []


def check_runtime(
  name: str,
  *,
  device: str = 'auto',
  client_threads: int | None = None,
  workers: Sequence[str] = (),
  tls: secure_channels.TlsFiles | None = None,
  worker_retry_seconds: float | None = None,
) -> None:
  """Raises ValueError when the options of `install_context` are not allowed together.

  Nor is a number of threads in the environment that is none.

  Args:
    name: One of `RUNTIMES`.
    device: See `install_context`.
    client_threads: See `install_context`.
    workers: See `install_context`.
    tls: See `install_context`.
    worker_retry_seconds: See `install_context`.
  """
  checks.known_name('runtime', name, RUNTIMES)
  if client_threads is not None:
    devices.check_client_threads(client_threads)
  devices.check_known(device)
  devices.check_operation_threads()
  if name == 'native' and device not in ('auto', 'cpu'):
    raise ValueError(
      f'device={device!r} is out of reach of runtime={name!r}, whose worker has no GPU code;'
      " choose runtime='accelerated' or device='auto'."
    )
  if worker_retry_seconds is not None:
    checks.nonnegative('worker_retry_seconds', worker_retry_seconds)
  if name == 'remote':
    if not workers:
      raise ValueError("runtime='remote' needs workers, the addresses host:port of its workers.")
    if len(set(workers)) != len(workers):
      raise ValueError(f'workers={",".join(workers)} names a worker twice; name each once.')
    for address in workers:
      secure_channels.check_address('workers', address, tls=tls)
    if client_threads is not None:
      raise ValueError("client_threads has no effect with runtime='remote'; set it at the workers.")
    return
  for option, given in (
    ('workers', workers),
    ('tls_authority', tls),
    ('worker_retry_seconds', worker_retry_seconds is not None),
  ):
    if given:
      raise ValueError(f"{option} has no effect with runtime={name!r}; choose runtime='remote'.")


def install_context(
  name: str,
  *,
  device: str = 'auto',
  client_threads: int | None = None,
  workers: Sequence[str] = (),
  tls: secure_channels.TlsFiles | None = None,
  worker_retry_seconds: float | None = None,
) -> str:
  """Makes the named execution context TFF's default; replaces the one installed before.

  Args:
    name: 'accelerated' (TensorFlow in this process), 'native' (TFF's C++ worker process,
      made safe) or 'remote' (clients on several workers).
    device: Where TensorFlow computes in this process: 'auto', 'cpu' or 'gpu:N'.
    client_threads: Clients that run at the same time; None chooses.
    workers: Addresses 'host:port' of the workers of 'remote'.
    tls: Certificates for workers that are not on this machine.
    worker_retry_seconds: How long a call is tried again while a worker of 'remote' does not
      answer; None for `secure_channels.DEFAULT_RETRY_SECONDS`.

  Returns:
    One line that says where the run runs.

  Raises:
    ValueError: If the name is unknown, an option is not allowed with it, or the environment
      variable `TF_NUM_INTRAOP_THREADS` is no number.
  """
  check_runtime(
    name,
    device=device,
    client_threads=client_threads,
    workers=workers,
    tls=tls,
    worker_retry_seconds=worker_retry_seconds,
  )
  onednn = devices.prepare()
  place = f'{devices.choose(device)}, {onednn}'  # Or raises, and what was installed stays.
  close_context()
  if name == 'native':  # Its clients are elsewhere, but this process computes too: it evaluates.
    return _install_native(client_threads)
  if name == 'remote':
    seconds = worker_retry_seconds
    if seconds is None:
      seconds = secure_channels.DEFAULT_RETRY_SECONDS
    return _install_remote(place, workers, tls, seconds)
  return _install_accelerated(place, client_threads)


def _install_native(client_threads: int | None) -> str:
  from tff_robust.runtime import native

  context = native.set_native_context(num_threads=client_threads)
  _installed.append(context)
  return (
    f"runtime native: TFF's C++ worker process on the CPU, {context.num_threads} clients at a time"
  )


def _install_accelerated(place: str, client_threads: int | None) -> str:
  from tff_robust.runtime import accelerated

  context = accelerated.set_accelerated_context(client_threads=client_threads)
  _installed.append(context)
  return (
    f'runtime accelerated: TensorFlow in this process on {place},'
    f' {context.client_threads} clients at a time, {devices.describe_operation_threads()}'
  )


def _install_remote(
  place: str,
  workers: Sequence[str],
  tls: secure_channels.TlsFiles | None,
  retry_seconds: float,
) -> str:
  from tff_robust.runtime import remote

  context = remote.set_remote_context(workers, tls=tls, retry_seconds=retry_seconds)
  _installed.append(context)
  channel = 'in the clear on this machine' if tls is None else 'by TLS'
  return (
    f'runtime remote: clients on {len(workers)} workers ({", ".join(workers)}, {channel}),'
    f' the server on {place}'
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
