"""Says what is installed, which devices TensorFlow finds, and what a missing GPU lacks.

python -m binaries.doctor
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from binaries import command_line

_PACKAGES = (
  'tensorflow',
  'tensorflow-federated',
  'tensorflow-privacy',
  'tensorflow-probability',
  'tensorflow-datasets',
  'keras',
  'dp-accounting',
  'jax',
  'jaxlib',
  'numpy',
  'protobuf',
)
# The libraries that TensorFlow 2.14 opens at its start, and the packages that hold them.
_CUDA_LIBRARIES = {
  'libcudart.so.11.0': 'nvidia-cuda-runtime-cu11',
  'libcublas.so.11': 'nvidia-cublas-cu11',
  'libcublasLt.so.11': 'nvidia-cublas-cu11',
  'libcufft.so.10': 'nvidia-cufft-cu11',
  'libcusolver.so.11': 'nvidia-cusolver-cu11',
  'libcusparse.so.11': 'nvidia-cusparse-cu11',
  'libcudnn.so.8': 'nvidia-cudnn-cu11',
}
_DRIVER = 'libcuda.so.1'
_INSTALL = 'Install them: pip install --no-deps --require-hashes -r requirements'


def define_flags() -> None:
  """Defines no flags: there is nothing to choose."""


def prepare() -> Callable[[], int]:
  """Returns the examination."""
  return examine


def examine() -> int:
  """Prints the findings; returns 0, or 1 if a package is missing."""
  import os
  import platform

  from tff_robust import processor
  from tff_robust.runtime import devices

  print(f'Python {platform.python_version()} on {platform.platform()}')
  missing = _print_packages()
  if 'tensorflow' in missing:
    return 1
  onednn = devices.prepare()
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  print(f'processor: {processor.num_cores()} cores for this process, {onednn}')

  import tensorflow as tf

  gpus = tf.config.list_physical_devices('GPU')
  for gpu in gpus:
    details = tf.config.experimental.get_device_details(gpu)
    capability = '.'.join(map(str, details.get('compute_capability', ())))
    print(
      f'GPU: {gpu.name}, {details.get("device_name", "unnamed")}, compute capability {capability}'
    )
  if not gpus:
    for line in explain_missing_gpu(built_with_cuda=tf.test.is_built_with_cuda()):
      print(line)
  return 1 if missing else 0


def _print_packages() -> list[str]:
  """Prints versions, and what installs the packages that are missing; returns their names."""
  import importlib.metadata

  missing = []
  for package in _PACKAGES:
    try:
      print(f'{package} {importlib.metadata.version(package)}')
    except importlib.metadata.PackageNotFoundError:
      print(f'{package} is missing')
      missing.append(package)
  if missing:
    print(f'{_INSTALL}/base.txt')
  return missing


def _opens(library: str) -> bool:
  """Tells whether the dynamic linker, or the folder of pip's NVIDIA packages, has a library."""
  import ctypes
  import pathlib
  import sysconfig

  installed = pathlib.Path(sysconfig.get_path('purelib')) / 'nvidia'
  for name in [library, *map(str, sorted(installed.glob(f'*/lib/{library}')))]:
    try:
      ctypes.CDLL(name)
    except OSError:
      continue
    return True
  return False


def explain_missing_gpu(
  *, built_with_cuda: bool, opens: Callable[[str], bool] = _opens
) -> Sequence[str]:
  """Returns why TensorFlow finds no GPU, and what installs what is missing.

  Args:
    built_with_cuda: Whether this TensorFlow can use GPUs at all.
    opens: Tells whether a shared library can be opened.
  """
  if not built_with_cuda:
    return ['GPU: none; this TensorFlow is built without CUDA.']
  if not opens(_DRIVER):
    return [
      f'GPU: none; the NVIDIA driver ({_DRIVER}) is not there. Without an NVIDIA GPU that is as it'
      ' should be: everything runs on the CPU.'
    ]
  absent = [library for library in _CUDA_LIBRARIES if not opens(library)]
  if not absent:
    return [
      'GPU: none, though the driver and all CUDA libraries are there: nvidia-smi must list a GPU,'
      ' and CUDA_VISIBLE_DEVICES must not hide it.'
    ]
  return [
    'GPU: none; TensorFlow 2.14 needs CUDA 11.8 and cuDNN 8, of which these are missing:',
    *[f'  {library} ({_CUDA_LIBRARIES[library]})' for library in absent],
    f'{_INSTALL}/gpu.txt',
  ]


if __name__ == '__main__':
  command_line.require_python()
  command_line.run(define_flags, prepare)
