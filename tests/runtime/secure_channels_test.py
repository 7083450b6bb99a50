"""Loopback in the clear, anything else only with certificates on both sides."""

import datetime
import inspect
import ipaddress

import grpc
import numpy as np
import pytest
import tensorflow_federated as tff
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import oid

from tff_robust.runtime import contexts, remote, secure_channels, worker_service


@pytest.mark.parametrize(
  ('address', 'expected'),
  [('localhost:1', ('localhost', 1)), ('127.0.0.1:80', ('127.0.0.1', 80)), ('[::1]:9', ('::1', 9))],
)
def test_splits_addresses(address, expected):
  assert secure_channels.split_address('workers', address) == expected


@pytest.mark.parametrize('address', ['localhost', ':1', 'host:', 'host:65536', 'host:x'])
def test_refuses_what_is_no_address(address):
  with pytest.raises(ValueError, match='is not an address; write it as host:port'):
    secure_channels.split_address('workers', address)


@pytest.mark.parametrize(
  ('host', 'expected'),
  [
    ('127.0.0.1', True),
    ('127.8.0.1', True),
    ('::1', True),
    ('localhost', True),
    ('0.0.0.0', False),
    ('::', False),
    ('10.0.0.1', False),
    ('worker.example', False),
  ],
)
def test_knows_loopback(host, expected):
  assert secure_channels.is_loopback(host) is expected


def test_some_certificates_are_not_enough(tmp_path):
  with pytest.raises(ValueError, match='tls_certificate and tls_key must be given too'):
    secure_channels.tls_files(authority=str(tmp_path), certificate=None, key=None)
  assert secure_channels.tls_files(authority=None, certificate=None, key=None) is None


def test_certificate_that_does_not_exist_is_named(tmp_path):
  missing = str(tmp_path / 'none.pem')
  with pytest.raises(ValueError, match=r"tls_authority='.*none\.pem' is not a file"):
    secure_channels.tls_files(authority=missing, certificate=missing, key=missing)


def _certificate(name, *, issuer=None, issuer_key=None):
  key = ec.generate_private_key(ec.SECP256R1())
  subject = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, name)])
  now = datetime.datetime.now(datetime.UTC)
  certificate = (
    x509.CertificateBuilder()
    .subject_name(subject)
    .issuer_name(issuer.subject if issuer else subject)
    .public_key(key.public_key())
    .serial_number(x509.random_serial_number())
    .not_valid_before(now - datetime.timedelta(hours=1))
    .not_valid_after(now + datetime.timedelta(hours=1))
    .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    .add_extension(
      x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address('127.0.0.1'))]), False
    )
    .sign(issuer_key or key, hashes.SHA256())
  )
  return certificate, key


def _write(folder, name, certificate, key):
  (folder / f'{name}.pem').write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
  (folder / f'{name}.key').write_bytes(
    key.private_bytes(
      serialization.Encoding.PEM,
      serialization.PrivateFormat.PKCS8,
      serialization.NoEncryption(),
    )
  )


@pytest.fixture
def folder(tmp_path):
  authority, authority_key = _certificate('authority')
  _write(tmp_path, 'authority', authority, authority_key)
  for name in ('worker', 'run'):
    pair = _certificate(name, issuer=authority, issuer_key=authority_key)
    _write(tmp_path, name, *pair)
  _write(tmp_path, 'stranger', *_certificate('stranger'))
  return tmp_path


def _files(folder, name):
  return secure_channels.TlsFiles(
    authority=folder / 'authority.pem',
    certificate=folder / f'{name}.pem',
    key=folder / f'{name}.key',
  )


def test_worker_with_certificates_serves_those_of_its_authority_only(folder):
  add_one = tff.tensorflow.computation(lambda x: x + 1, np.int32)
  computation = tff.federated_computation(
    lambda x: tff.federated_map(add_one, x), tff.FederatedType(np.int32, tff.CLIENTS)
  )
  server, port = worker_service.start_worker(
    '0.0.0.0:0', tls=_files(folder, 'worker'), client_threads=1
  )
  address = f'127.0.0.1:{port}'
  try:
    with remote.remote_context([address], tls=_files(folder, 'run')):
      assert computation([1, 2]) == [2, 3]
    for tls in (_files(folder, 'stranger'), None):
      channel = secure_channels.open_channel(address, tls=tls)
      with pytest.raises(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=1.0)
      channel.close()
      # It is the stranger that was refused: the server is there for others.
      permitted = secure_channels.open_channel(address, tls=_files(folder, 'run'))
      grpc.channel_ready_future(permitted).result(timeout=30.0)
      permitted.close()
  finally:
    server.stop(None).wait()


def test_every_way_to_remote_workers_tries_again_for_as_long(monkeypatch):
  ways = (remote.RemoteContext, remote.remote_context, remote.set_remote_context)
  defaults = [inspect.signature(way).parameters['retry_seconds'].default for way in ways]
  chosen = []
  monkeypatch.setattr(contexts, '_install_remote', lambda *arguments: chosen.append(arguments[-1]))
  for seconds in (None, 5.0, 0.0):
    contexts.install_context('remote', workers=['localhost:1'], worker_retry_seconds=seconds)
  # As docs/runtimes.md says.
  assert [*defaults, *chosen] == [30.0, 30.0, 30.0, 30.0, 5.0, 0.0]
  assert secure_channels.DEFAULT_RETRY_SECONDS == 30.0


def test_worker_beyond_loopback_needs_certificates():
  with pytest.raises(ValueError, match=r"listen='0\.0\.0\.0:0' is not on this machine"):
    worker_service.start_worker('0.0.0.0:0', client_threads=1)
