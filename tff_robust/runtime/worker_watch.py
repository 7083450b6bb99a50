"""Runs one command and ends it when standard input closes; needs only the standard library.

A parent starts this script with a pipe as standard input and never writes to it. The
kernel closes the pipe when the parent ends, whichever way it ends (SIGKILL included),
and the command is then ended too. On Linux the command also dies with this script.
"""

import ctypes
import os
import select
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

_SECONDS_BEFORE_KILL = 2.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _execute(command: list[str], watcher_pid: int) -> NoReturn:
  """Replaces this (forked) process by `command`; exit status 127 when that fails."""
  try:
    if sys.platform == 'linux':
      ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == watcher_pid:
      os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
      signal.signal(signal.SIGINT, signal.SIG_DFL)
      signal.signal(signal.SIGTERM, signal.SIG_DFL)
      os.execv(command[0], command)
  except OSError as error:
    print(f'{command[0]}: {error}', file=sys.stderr, flush=True)
  finally:
    os._exit(127)


def _end(pid: int) -> None:
  """Asks the process to end, and kills it when it has not ended two seconds later."""
  os.kill(pid, signal.SIGTERM)
  deadline = time.monotonic() + _SECONDS_BEFORE_KILL
  while time.monotonic() < deadline:
    if os.waitpid(pid, os.WNOHANG)[0]:
      return
    time.sleep(0.02)
  os.kill(pid, signal.SIGKILL)
  os.waitpid(pid, 0)


def _exit_on_signal(signal_number: int, frame: FrameType | None) -> NoReturn:
  """Turns a signal into an exit that runs the clean-up."""
  del frame
  sys.exit(128 + signal_number)


def watch(command: list[str]) -> int:
  """Runs `command` until it ends or standard input closes; returns an exit status."""
  # The command holds the write end for as long as it lives: end of file means it ended.
  life_read, life_write = os.pipe()
  os.set_inheritable(life_write, True)
  watcher_pid = os.getpid()
  pid = os.fork()
  if pid == 0:
    _execute(command, watcher_pid)
  os.close(life_write)
  ended_by_itself = False
  try:
    signal.signal(signal.SIGTERM, _exit_on_signal)
    readable, _, _ = select.select([0, life_read], [], [])
    ended_by_itself = life_read in readable
  finally:
    if ended_by_itself:
      _, status = os.waitpid(pid, 0)
    else:
      status = 0
      _end(pid)
  return os.waitstatus_to_exitcode(status)


if __name__ == '__main__':
  sys.exit(watch(sys.argv[1:]))
