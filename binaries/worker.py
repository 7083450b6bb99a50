r"""Serves this machine's TensorFlow to runs on other machines.

Start one on each machine, then name them in the run:

  python -m binaries.worker --listen=127.0.0.1:8470
  python -m binaries.train --runtime=remote --workers=127.0.0.1:8470,127.0.0.1:8471 ...

Who reaches a worker can run TensorFlow graphs on its machine. So it listens on loopback
(for an SSH tunnel), or with certificates of both sides: --tls_authority,
--tls_certificate and --tls_key, PEM files, here and in the run. Ctrl-C ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from binaries import command_line


def define_flags() -> None:
  """Defines the flags, all of them shown by --help."""
  from absl import flags

  from binaries import tls_flags

  flags.DEFINE_string('listen', '127.0.0.1:8470', 'host:port to listen on; port 0 for any.')
  flags.DEFINE_string('device', 'auto', "Where TensorFlow computes: 'auto', 'cpu' or 'gpu:0'.")
  flags.DEFINE_integer(
    'client_threads', None, 'Clients at a time; left out, the cores, or 1 on a GPU.'
  )
  tls_flags.define_flags('worker')
  flags.adopt_module_key_flags(tls_flags)


def prepare() -> Callable[[], int]:
  """Checks the flags and returns what serves."""
  from absl import flags

  from binaries import tls_flags
  from tff_robust.runtime import contexts, secure_channels

  values = flags.FLAGS
  contexts.check_runtime('accelerated', device=values.device, client_threads=values.client_threads)
  tls = tls_flags.tls_from_flags()
  secure_channels.check_address('listen', values.listen, tls=tls)
  return lambda: _serve(values.listen, values.device, values.client_threads, tls)


def _serve(listen: str, device: str, client_threads: int | None, tls: Any) -> int:
  import signal
  import threading

  from tff_robust.runtime import devices

  onednn = devices.prepare()
  try:
    place = devices.choose(device)
  except ValueError as error:
    command_line.refuse(error)

  # Private clients clip here: products with 10 bits would let gradients exceed their clip.
  devices.forbid_fewer_digits()

  from tff_robust.runtime import worker_service

  threads = client_threads or devices.default_client_threads(device)
  ended = threading.Event()
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: ended.set())
  try:
    server, port = worker_service.start_worker(listen, tls=tls, client_threads=threads)
  except ValueError as error:
    command_line.refuse(error)
  host, _, _ = listen.rpartition(':')  # Port 0 is for any that is free.
  channel = 'in the clear, on this machine only' if tls is None else 'by TLS'
  print(
    f'worker on {host}:{port} ({channel}): {place}, {onednn}, {threads} clients at a time,'
    f' {devices.describe_operation_threads()}',
    flush=True,
  )
  ended.wait()
  server.stop(grace=1).wait()
  return 0


if __name__ == '__main__':
  command_line.require_python()
  command_line.run(define_flags, prepare)
