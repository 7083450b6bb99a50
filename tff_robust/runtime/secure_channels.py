"""Addresses and credentials of workers: loopback in the clear, anything else by TLS.

Who reaches a worker can run TensorFlow graphs on its machine. So a worker beyond
loopback needs certificates on both sides: the caller checks the worker's, and the
worker refuses callers without one from the same authority.
"""

import dataclasses
import ipaddress
import pathlib
from typing import Any

_MAX_MESSAGE_BYTES = 2 * 1000 * 1000 * 1000
_KEEPALIVE_MILLISECONDS = 300_000
# How long a worker that does not answer is tried again, unless it is chosen.
DEFAULT_RETRY_SECONDS = 30.0
CHANNEL_OPTIONS = (
  ('grpc.max_receive_message_length', _MAX_MESSAGE_BYTES),
  ('grpc.max_send_message_length', _MAX_MESSAGE_BYTES),
  ('grpc.enable_http_proxy', 0),
  # Notices a machine that has vanished in the middle of a call.
  ('grpc.keepalive_time_ms', _KEEPALIVE_MILLISECONDS),
)
# gRPC closes a connection that no call has used for half an hour. The native worker would then
# count as gone, and be started again. Nothing on the way drops one on this machine, so it stays.
_NEVER_IDLE = ('grpc.client_idle_timeout_ms', 2**31 - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TlsFiles:
  """Certificates in PEM files.

  Attributes:
    authority: Certificate of the authority that both sides trust.
    certificate: This side's certificate.
    key: This side's private key.
  """

  authority: pathlib.Path
  certificate: pathlib.Path
  key: pathlib.Path

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):
      path = getattr(self, field.name)
      if not path.is_file():
        raise ValueError(f'tls_{field.name}={str(path)!r} is not a file; pass a PEM file.')


def split_address(argument: str, address: str) -> tuple[str, int]:
  """Splits 'host:port' ('[host]:port' for IPv6).

  Raises:
    ValueError: If it is not one.
  """
  host, separator, port = address.rpartition(':')
  host = host.removeprefix('[').removesuffix(']')
  if not (separator and host and port.isdecimal() and int(port) < 65536):
    raise ValueError(f'{argument}={address!r} is not an address; write it as host:port.')
  return host, int(port)


def is_loopback(host: str) -> bool:
  """Tells whether a host is this machine, reached without a network."""
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return host == 'localhost'


def check_address(argument: str, address: str, *, tls: TlsFiles | None) -> None:
  """Raises ValueError unless an address is loopback or comes with certificates."""
  host, _ = split_address(argument, address)
  if tls is None and not is_loopback(host):
    raise ValueError(
      f'{argument}={address!r} is not on this machine; pass tls_authority, tls_certificate and'
      ' tls_key, or reach it through a tunnel to 127.0.0.1.'
    )


def open_channel(address: str, *, tls: TlsFiles | None) -> Any:
  """Returns a gRPC channel to a worker.

  Args:
    address: 'host:port'.
    tls: Certificates; may be left out on loopback only.
  """
  import grpc  # type: ignore[import-untyped]

  check_address('workers', address, tls=tls)
  if tls is None:
    return grpc.insecure_channel(address, (*CHANNEL_OPTIONS, _NEVER_IDLE))
  credentials = grpc.ssl_channel_credentials(
    tls.authority.read_bytes(), tls.key.read_bytes(), tls.certificate.read_bytes()
  )
  return grpc.secure_channel(address, credentials, CHANNEL_OPTIONS)


def add_port(server: Any, address: str, *, tls: TlsFiles | None) -> int:
  """Makes a gRPC server listen; returns the port.

  Args:
    server: The server.
    address: 'host:port' to listen on.
    tls: Certificates; may be left out on loopback only.

  Raises:
    ValueError: If the address needs certificates, or cannot be listened on.
  """
  import grpc

  check_address('listen', address, tls=tls)
  try:
    if tls is None:
      return int(server.add_insecure_port(address))
    credentials = grpc.ssl_server_credentials(
      [(tls.key.read_bytes(), tls.certificate.read_bytes())],
      root_certificates=tls.authority.read_bytes(),
      require_client_auth=True,
    )
    return int(server.add_secure_port(address, credentials))
  except RuntimeError as error:
    raise ValueError(f'listen={address!r} cannot be used: {error}.') from error


def tls_files(
  *, authority: str | None, certificate: str | None, key: str | None
) -> TlsFiles | None:
  """Returns the certificates behind three paths, or None where none is given.

  Raises:
    ValueError: If only some are given, or a file does not exist.
  """
  given = {'tls_authority': authority, 'tls_certificate': certificate, 'tls_key': key}
  if not any(given.values()):
    return None
  missing = [name for name, value in given.items() if not value]
  if missing:
    raise ValueError(f'{" and ".join(missing)} must be given too: TLS needs all three files.')
  return TlsFiles(
    authority=pathlib.Path(authority or ''),
    certificate=pathlib.Path(certificate or ''),
    key=pathlib.Path(key or ''),
  )
