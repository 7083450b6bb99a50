"""What is shipped: the wheel, the lock files, the light imports and the Makefile's refusals."""

import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging import requirements, utils

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ('tff_robust', 'computations', 'binaries')
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
LOCK_EXTRAS = {'base': (), 'dev': ('dev',), 'gpu': ('gpu',)}
PIN = re.compile(r'^([A-Za-z0-9._-]+)==(\S+)( \\)?$')


def read_lock(name: str) -> dict[str, str]:
  lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
  pins = (PIN.match(line) for line in lines)
  return {utils.canonicalize_name(pin[1]): pin[2] for pin in pins if pin}


def source_modules() -> set[str]:
  return {
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob('*.py')
  }


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
  """Builds the wheel from a copy, since setuptools leaves its build folder in the source."""
  copy = tmp_path_factory.mktemp('source')
  for path in ('pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(ROOT / path, copy)
  for folder in (*PACKAGES, 'docs', 'requirements', 'tests'):
    if (ROOT / folder).exists():
      shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns('__pycache__'))
  (copy / 'binaries' / 'flagfiles').mkdir(exist_ok=True)
  (copy / 'binaries' / 'flagfiles' / 'probe.flags').write_text('--seed=1\n')
  (copy / 'binaries' / 'flagfiles' / 'not_ours.py').write_text('')
  built = tmp_path_factory.mktemp('wheel')
  subprocess.run(
    [
      *(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--disable-pip-version-check'),
      *('--no-deps', '--no-index', '--no-build-isolation', '--wheel-dir', str(built), str(copy)),
    ],
    check=True,
  )
  [path] = built.iterdir()
  return zipfile.ZipFile(path)


def test_wheel_holds_every_module_of_three_packages_and_nothing_else(wheel):
  contents = {name for name in wheel.namelist() if '.dist-info/' not in name}
  assert contents == source_modules()


def test_wheel_states_license_and_refuses_other_python_versions(wheel):
  [name] = [name for name in wheel.namelist() if name.endswith('.dist-info/METADATA')]
  metadata = wheel.read(name).decode()
  [requires_python] = re.findall('^Requires-Python: (.*)$', metadata, re.MULTILINE)
  assert set(requires_python.split(',')) == {'>=3.11', '<3.12'}
  assert 'License: Apache-2.0' in metadata
  assert any(name.endswith('/LICENSE') for name in wheel.namelist())


@pytest.mark.parametrize('lock', LOCK_EXTRAS)
def test_lock_satisfies_every_requirement_of_the_project(lock):
  pins = read_lock(lock)
  wanted = list(PROJECT['dependencies'])
  for extra in LOCK_EXTRAS[lock]:
    wanted += PROJECT['optional-dependencies'][extra]
  for requirement in map(requirements.Requirement, wanted):
    assert requirement.specifier.contains(pins[utils.canonicalize_name(requirement.name)])


@pytest.mark.parametrize('lock', LOCK_EXTRAS)
def test_lock_has_hashes_and_neither_addresses_nor_local_paths(lock):
  lines = (ROOT / 'requirements' / f'{lock}.txt').read_text().splitlines()
  text = '\n'.join(line for line in lines if not line.lstrip().startswith('#'))
  assert '://' not in text
  assert not re.search(r'^-|[\s=@]\.*/|file:|--(?!hash=)', text, re.MULTILINE)
  blocks = re.split(r'^(?=[A-Za-z0-9])', text, flags=re.MULTILINE)[1:]
  assert len(blocks) == len(read_lock(lock))
  assert all(re.search(r'--hash=sha256:[0-9a-f]{64}$', b, re.MULTILINE) for b in blocks)


@pytest.mark.parametrize('lock', ['dev', 'gpu'])
def test_larger_lock_extends_the_base_lock_without_changing_a_version(lock):
  assert read_lock('base').items() < read_lock(lock).items()


def test_base_lock_is_complete_without_resolving():
  pins = read_lock('base')
  missing = {
    (name, requirement.name)
    for name in pins
    for requirement in map(requirements.Requirement, importlib.metadata.requires(name) or ())
    if requirement.marker is None or requirement.marker.evaluate({'extra': ''})
    if utils.canonicalize_name(requirement.name) not in pins
  }
  assert missing == set()


def test_lock_replaces_the_jaxlib_that_is_no_longer_published():
  pins = read_lock('base')
  assert (pins['jax'], pins['jaxlib']) == ('0.4.18', '0.4.18')


def test_gpu_lock_leaves_tensorrt_out():
  assert 'nvidia-cudnn-cu11' in read_lock('gpu')
  assert not any('tensorrt' in name for name in read_lock('gpu'))


def imported_by(statement: str) -> set[str]:
  """Returns the top-level modules in memory after `statement` in a new interpreter."""
  code = f'{statement}; import sys; print(*{{name.partition(".")[0] for name in sys.modules}})'
  run = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, check=True, capture_output=True, text=True
  )
  return set(run.stdout.split())


def test_configuration_is_read_and_checked_without_tensorflow():
  names = ('checks', 'config', 'registry', 'seeds', 'privacy.accounting')
  loaded = imported_by(f'import tff_robust, {", ".join(f"tff_robust.{name}" for name in names)}')
  assert 'tff_robust' in loaded
  heavy = {'jax', 'keras', 'tensorflow', 'tensorflow_datasets', 'tensorflow_privacy'}
  assert not loaded & (heavy | {'tensorflow_federated'})


def test_importing_the_package_loads_only_the_package():
  assert imported_by('import tff_robust') - imported_by('pass') == {'tff_robust'}


def make_environment(tmp_path: pathlib.Path, version: tuple[int, int], python: str) -> tuple:
  """Runs `make` for the virtual environment with a Python that claims to be `version`."""
  shutil.copy(ROOT / 'Makefile', tmp_path)
  claim = f'import sys; sys.version_info = {(*version, 0)}; exec(sys.argv[1])'
  fake = tmp_path / 'fake_python'
  fake.write_text(
    '#!/bin/sh\n'
    f'if [ "$1" = -c ]; then exec {sys.executable} -c "{claim}" "$2"; fi\n'
    'if [ "$*" = "-m venv .venv" ]; then exec mkdir .venv; fi\n'
    'exit 3\n'
  )
  fake.chmod(0o755)
  environment = {k: v for k, v in os.environ.items() if not k.startswith(('MAKE', 'MFLAGS'))}
  run = subprocess.run(
    ['make', f'PYTHON={python}', '.venv/.created'],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
  )
  sentences = [line for line in run.stderr.splitlines() if not line.startswith('make')]
  return run.returncode, sentences, (tmp_path / '.venv').exists()


@pytest.mark.parametrize('version', [(2, 7), (3, 10), (3, 12)])
def test_makefile_refuses_another_python_in_one_sentence(tmp_path, version):
  status, sentences, made = make_environment(tmp_path, version, './fake_python')
  assert status != 0
  assert not made
  [sentence] = sentences
  assert sentence.startswith('tff_robust needs Python 3.11,')
  assert "'./fake_python' is Python {}.{}:".format(*version) in sentence


def test_makefile_refuses_a_python_that_does_not_exist_in_one_sentence(tmp_path):
  status, sentences, made = make_environment(tmp_path, (3, 11), './no_such_python')
  assert status != 0
  assert not made
  [sentence] = sentences
  assert "'./no_such_python' is not a Python that starts" in sentence


def test_makefile_accepts_the_supported_python(tmp_path):
  assert make_environment(tmp_path, (3, 11), './fake_python') == (0, [], True)
