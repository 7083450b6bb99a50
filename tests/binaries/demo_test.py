"""The first command of the README shows what the README says."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def shown(text, label):
  """Returns what stands behind a label in the table of a summary."""
  (found,) = re.findall(rf'^{re.escape(label)} +(.+)$', text, re.MULTILINE)
  return found


def test_the_demo_comes_to_the_figures_of_the_readme(tmp_path):
  log = tmp_path / 'log'
  with log.open('w') as stream:
    done = subprocess.run(
      [sys.executable, '-m', 'binaries.demo', f'--output_dir={tmp_path / "run"}'],
      cwd=ROOT,
      stdin=subprocess.DEVNULL,
      stdout=stream,
      stderr=subprocess.STDOUT,
      timeout=300,
    )
  printed = log.read_text()
  assert done.returncode == 0, printed
  assert (tmp_path / 'run' / 'curves.png').read_bytes().startswith(b'\x89PNG')
  promised = (ROOT / 'README.md').read_text()
  for label in (
    'Status',
    'Attacked rounds with a Byzantine client selected',
    'Certificate: predicted = actual',
    'Privacy of an honest client',  # Which the README breaks into two lines.
  ):
    assert shown(printed, label).startswith(shown(promised, label))
  # Other processors round otherwise, which is why these are compared roughly.
  for label in ('Test accuracy before the attack (round 25)', 'Test accuracy at the end'):
    assert abs(float(shown(printed, label)) - float(shown(promised, label))) < 0.05
  breaking = 'Median attack factor below which Krum falls'
  assert float(shown(printed, breaking)) == pytest.approx(
    float(shown(promised, breaking)), rel=0.05
  )
