"""Processor time and memory of a process with all its descendants, from /proc.

Works on Linux; elsewhere every figure is None.
"""

import os
import pathlib

_PROC = pathlib.Path('/proc')
_PEAK_RESET = '5'  # See proc(5), clear_refs.


def _tree(pid: int) -> list[int]:
  """Returns a process and its descendants, without those that end meanwhile."""
  parents: dict[int, int] = {}
  for entry in _PROC.iterdir():
    if entry.name.isdecimal():
      try:
        parents[int(entry.name)] = int(_stat(int(entry.name))[1])
      except OSError:
        continue
  found = [pid] if pid in parents else []
  for known in found:  # Grows while it is read.
    found += [child for child, parent in parents.items() if parent == known]
  return found


def _stat(pid: int) -> list[str]:
  """Returns the fields of /proc/<pid>/stat from the state on; the name may hold spaces."""
  return (_PROC / str(pid) / 'stat').read_text().rpartition(')')[2].split()


def cpu_seconds(pid: int) -> float | None:
  """Returns the processor time that a process and its descendants have used."""
  if not _PROC.is_dir():
    return None
  ticks = 0
  for member in _tree(pid):
    try:
      ticks += sum(int(field) for field in _stat(member)[11:13])
    except OSError:
      continue
  return ticks / os.sysconf('SC_CLK_TCK')


def _status_bytes(pid: int, field: str) -> int | None:
  if not _PROC.is_dir():
    return None
  total = 0
  for member in _tree(pid):
    try:
      lines = (_PROC / str(member) / 'status').read_text().splitlines()
    except OSError:
      continue
    total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith(f'{field}:'))
  return total


def resident_bytes(pid: int) -> int | None:
  """Returns the memory that a process and its descendants occupy."""
  return _status_bytes(pid, 'VmRSS')


def peak_bytes(pid: int) -> int | None:
  """Returns the sum of the most that each of them occupied since `reset_peak`."""
  return _status_bytes(pid, 'VmHWM')


def reset_peak(pid: int) -> None:
  """Starts `peak_bytes` afresh, where the system allows it."""
  if _PROC.is_dir():
    for member in _tree(pid):
      try:
        (_PROC / str(member) / 'clear_refs').write_text(_PEAK_RESET)
      except OSError:
        continue
