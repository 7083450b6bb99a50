import os
import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# Imported by Python at its start: fails the run as soon as it imports what is heavy.
TRIPWIRE = """
import sys
class _Tripwire:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in ('tensorflow', 'tensorflow_federated', 'dp_accounting', 'keras'):
      raise SystemExit(f'heavy import: {name}')
sys.meta_path.insert(0, _Tripwire())
"""
# Far above what it takes on a free machine, far below the import of TensorFlow on a busy one.
SECONDS = 5.0


@pytest.fixture(scope='module')
def tripwire(tmp_path_factory):
  folder = tmp_path_factory.mktemp('tripwire')
  (folder / 'sitecustomize.py').write_text(TRIPWIRE)
  return folder


def start(tripwire, arguments, module='binaries.train'):
  path = os.pathsep.join([str(tripwire), str(ROOT)])
  begin = time.monotonic()
  done = subprocess.run(
    [sys.executable, '-m', module, *arguments],
    cwd=tripwire,
    env={**os.environ, 'PYTHONPATH': path},
    capture_output=True,
    text=True,
    timeout=60,
  )
  return done, time.monotonic() - begin


BAD = [
  ('', ['num_rounds', 'num_server_epochs', 'exactly one']),
  ('--num_round=3', ["'num_round'", 'num_rounds']),
  ('--num_rounds=three', ['--num_rounds=three']),
  ('--num_rounds=3 --seed=-1', ['--seed=-1']),
  ('three', ["'three'", '--name=value']),
  ('--flagfile=nowhere.flags', ['nowhere.flags']),
  ('--num_rounds=3 --aggregator=krum --max_byzantine=12', ['27', 'clients_per_round=25']),
  ('--num_rounds=3 --aggregator=krum', ['needs max_byzantine']),
  ('--num_rounds=3 --aggregator=crum --max_byzantine=1', ["Did you mean 'krum'"]),
  ('--num_rounds=3 --dataset=cifar', ["Did you mean 'cifar10'"]),
  ('--num_rounds=3 --max_byzantine=1', ['max_byzantine', 'no effect', "'mean'"]),
  ('--num_rounds=3 --attack=sign_flip --num_byzantine=26', ['num_byzantine=26']),
  ('--num_rounds=3 --attack=sign_flip --num_byzantine=25', ['no honest client']),
  ('--num_rounds=3 --attack=sign_flip', ["attack 'sign_flip' needs num_byzantine, how many"]),
  (
    '--num_rounds=3 --attack=fang_krum --num_byzantine=2 --max_byzantine=12',
    ["attack 'fang_krum'", 'max_byzantine=12', '27', 'clients_per_round=25'],
  ),
  (
    '--num_rounds=3 --attack=sign_flip --num_byzantine=1 --attack_start=3',
    ['attack_start=3', '3 rounds'],
  ),
  ('--num_rounds=3 --num_byzantine=2', ['num_byzantine', "attack 'none'"]),
  ('--num_rounds=3 --l2_norm_clip=0 --noise_multiplier=1', ['l2_norm_clip=0', 'above 0']),
  ('--num_rounds=3 --noise_multiplier=1', ['no effect without l2_norm_clip']),
  ('--num_rounds=3 --model=xie_bn', ['batch normalisation', "'xie'"]),
  (
    '--num_rounds=3 --l2_norm_clip=1 --noise_multiplier=1 --privacy_amplification=poisson',
    ['poisson', 'shuffled'],
  ),
  ('--num_rounds=3 --runtime=nativ', ["Did you mean 'native'"]),
  ('--num_rounds=3 --device=tpu', ["device='tpu'"]),
  ('--num_rounds=3 --runtime=native --device=gpu:0', ["device='gpu:0'", "runtime='native'"]),
  ('--num_rounds=3 --client_threads=0', ['client_threads=0', 'at least 1']),
  ('--num_rounds=3 --runtime=remote', ["runtime='remote'", 'workers', 'host:port']),
  ('--num_rounds=3 --workers=localhost:8470', ['workers', "runtime='accelerated'"]),
  ('--num_rounds=3 --runtime=remote --workers=10.0.0.1:8470', ["'10.0.0.1:8470'", 'tls_key']),
  ('--num_rounds=3 --runtime=remote --workers=8470', ["'8470'", 'host:port']),
  (
    '--num_rounds=3 --runtime=remote --workers=localhost:8470 --tls_key=key.pem',
    ['tls_authority', 'tls_certificate'],
  ),
  ('--num_rounds=3 --evaluate_every=0', ['evaluate_every=0', 'at least 1']),
  ('--resume', ['--resume', '--output_dir']),
  ('--resume --output_dir=nothing_here', ['nothing_here', 'no run to resume']),
]


@pytest.mark.parametrize(('arguments', 'words'), BAD, ids=[a or 'no flags' for a, _ in BAD])
def test_bad_input_is_refused_in_one_sentence_at_once(tripwire, arguments, words):
  done, seconds = start(tripwire, arguments.split())
  assert done.returncode == 2, done.stderr
  assert done.stdout == ''
  lines = done.stderr.splitlines()
  assert len(lines) == 1
  assert lines[0].endswith(('.', '?'))
  assert all(word in lines[0] for word in words), lines[0]
  assert seconds < SECONDS


def test_refusals_leave_nothing_behind(tripwire):
  start(tripwire, ['--num_rounds=3', '--output_dir=made', '--aggregator=krum'])
  assert not (tripwire / 'made').exists()
  assert not (tripwire / 'runs').exists()


def test_a_folder_that_holds_something_is_refused(tripwire, tmp_path):
  (tmp_path / 'config.json').write_text('{}')
  done, _ = start(tripwire, ['--num_rounds=3', f'--output_dir={tmp_path}'])
  assert done.returncode == 2
  assert '--resume' in done.stderr
  assert '--output_dir' in done.stderr
  (tmp_path / 'config.json').rename(tmp_path / 'thesis.tex')
  done, _ = start(tripwire, ['--num_rounds=3', f'--output_dir={tmp_path}'])
  assert done.returncode == 2
  assert 'not empty' in done.stderr
  assert (tmp_path / 'thesis.tex').read_text() == '{}'


@pytest.mark.parametrize('module', ['demo', 'doctor', 'worker'])
def test_binaries_that_choose_for_themselves_take_no_plug_ins(tripwire, module):
  done, _ = start(tripwire, ['--plugins=mine'], f'binaries.{module}')
  assert (done.returncode, done.stdout) == (2, '')
  assert done.stderr.count('\n') == 1
  assert "'plugins'" in done.stderr


@pytest.mark.parametrize('module', ['binaries.train', 'binaries.demo'])
@pytest.mark.parametrize('flag', ['--help', '--helpfull'])
def test_help_is_quick_and_no_failure(tripwire, module, flag):
  done, seconds = start(tripwire, [flag], module)
  assert done.returncode == 0, done.stderr
  assert '--output_dir' in done.stdout
  assert ('--max_byzantine' in done.stdout) == (module == 'binaries.train')
  assert seconds < SECONDS


def test_tripwire_catches_a_good_run(tripwire):
  # A control: with flags that are right, the heavy imports do begin.
  done, _ = start(tripwire, ['--num_rounds=1', '--output_dir=never'])
  assert 'heavy import' in done.stderr


def test_other_pythons_are_refused(tripwire):
  code = (
    'import sys\n'
    'from binaries import command_line\n'
    'sys.version_info = (3, 12, 1, "final", 0)\n'
    'command_line.require_python()\n'
  )
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 2
  assert done.stderr.startswith('tff_robust needs Python 3.11 and this is Python 3.12:')
  assert done.stderr.count('\n') == 1
