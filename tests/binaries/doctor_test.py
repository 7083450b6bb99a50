"""The doctor says which library a missing GPU lacks, and what installs it."""

import pathlib
import subprocess
import sys

import pytest

from binaries import doctor


def _explain(*absent, built_with_cuda=True):
  lines = doctor.explain_missing_gpu(
    built_with_cuda=built_with_cuda, opens=lambda library: library not in absent
  )
  return '\n'.join(lines)


def test_names_missing_libraries_and_their_packages():
  text = _explain('libcudnn.so.8', 'libcublas.so.11')
  assert 'libcudnn.so.8 (nvidia-cudnn-cu11)' in text
  assert 'libcublas.so.11 (nvidia-cublas-cu11)' in text
  assert 'libcufft' not in text
  assert text.splitlines()[-1].endswith('--require-hashes -r requirements/gpu.txt')


def test_what_installs_missing_packages_is_told_after_them(monkeypatch, capsys):
  monkeypatch.setattr(doctor, '_PACKAGES', ('numpy', 'no-such-package'))
  assert doctor._print_packages() == ['no-such-package']
  lines = capsys.readouterr().out.splitlines()
  assert lines[1] == 'no-such-package is missing'
  assert lines[2:] == [
    'Install them: pip install --no-deps --require-hashes -r requirements/base.txt'
  ]
  monkeypatch.setattr(doctor, '_PACKAGES', ('numpy',))
  assert doctor._print_packages() == []
  assert 'Install' not in capsys.readouterr().out


def test_missing_driver_is_told_first():
  text = _explain('libcuda.so.1', 'libcudnn.so.8')
  assert 'the NVIDIA driver (libcuda.so.1) is not there' in text
  assert 'libcudnn' not in text


def test_hidden_gpu_is_told():
  assert 'CUDA_VISIBLE_DEVICES' in _explain()


def test_tensorflow_without_cuda_is_told():
  assert 'built without CUDA' in _explain(built_with_cuda=False)


@pytest.mark.parametrize('package', sorted(set(doctor._CUDA_LIBRARIES.values())))
def test_gpu_lock_file_holds_the_package(package):
  lock = pathlib.Path(doctor.__file__).parents[1] / 'requirements' / 'gpu.txt'
  assert f'\n{package}==' in lock.read_text()


def test_help_does_not_import_tensorflow():
  program = (
    'import sys, runpy\n'
    'sys.argv = ["doctor", "--help"]\n'
    'try:\n  runpy.run_module("binaries.doctor", run_name="__main__")\n'
    'except SystemExit:\n  pass\n'
    'print("tensorflow" in sys.modules)\n'
  )
  root = pathlib.Path(doctor.__file__).parents[1]
  result = subprocess.run(
    [sys.executable, '-c', program], cwd=root, capture_output=True, text=True, check=True
  )
  assert result.stdout.splitlines()[-1] == 'False'


def test_reports_versions_and_devices():
  root = pathlib.Path(doctor.__file__).parents[1]
  result = subprocess.run(
    [sys.executable, '-m', 'binaries.doctor'], cwd=root, capture_output=True, text=True, check=True
  )
  assert 'tensorflow-federated 0.87.0\n' in result.stdout
  assert 'GPU: ' in result.stdout
