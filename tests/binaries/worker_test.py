"""A worker refuses what is unsafe before anything heavy is imported."""

import pathlib
import subprocess
import sys

import pytest

from binaries import worker


@pytest.mark.parametrize(
  ('flag', 'sentence'),
  [
    ('--listen=0.0.0.0:8470', "listen='0.0.0.0:8470' is not on this machine"),
    ('--listen=8470', "listen='8470' is not an address; write it as host:port."),
    ('--device=tpu', "device='tpu' is not known"),
    ('--client_threads=0', 'client_threads=0 must be at least 1'),
    ('--tls_key=key.pem', 'tls_authority and tls_certificate must be given too'),
  ],
)
def test_bad_flag_is_refused_with_a_sentence(flag, sentence):
  root = pathlib.Path(worker.__file__).parents[1]
  result = subprocess.run(
    [sys.executable, '-m', 'binaries.worker', flag],
    cwd=root,
    capture_output=True,
    text=True,
    timeout=20,
    check=False,
  )
  assert result.returncode == 2
  assert sentence in result.stderr
  assert result.stderr.count('\n') == 1
