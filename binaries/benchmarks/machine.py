"""Where figures were measured."""

import math
import os
import pathlib
import platform
import time
from typing import Any

from tff_robust import processor

_ONEDNN_MESSAGE = 'oneDNN custom operations are on'


def describe() -> dict[str, Any]:
  """Returns processor, memory, load and settings of the environment."""
  return {
    'time': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
    'processor': _first_value('/proc/cpuinfo', 'model name') or platform.processor(),
    'cores': processor.num_cores(),
    'memory': _first_value('/proc/meminfo', 'MemTotal'),
    'system': platform.platform(),
    'python': platform.python_version(),
    'load_average': [round(load, 2) for load in os.getloadavg()],
    'TF_ENABLE_ONEDNN_OPTS': os.environ.get('TF_ENABLE_ONEDNN_OPTS', 'not set'),
  }


def onednn(log: str) -> str:
  """Tells from what TensorFlow logged whether it computes with oneDNN."""
  return 'on' if _ONEDNN_MESSAGE in log else 'off'


def available_bytes() -> float:
  """Returns the memory that a process can still get, or infinity where that is not told."""
  value = _first_value('/proc/meminfo', 'MemAvailable').split()
  return 1024 * float(value[0]) if value else math.inf


def _first_value(file: str, key: str) -> str:
  try:
    lines = pathlib.Path(file).read_text().splitlines()
  except OSError:
    return ''
  for line in lines:
    if line.startswith(key):
      return line.partition(':')[2].strip()
  return ''
