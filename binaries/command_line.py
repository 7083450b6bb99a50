"""How a binary starts and how it says no: one sentence and exit status 2.

This file has to be understood by older Pythons, which it refuses.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

BAD_INPUT = 2


def refuse(reason: object) -> NoReturn:
  """Prints a reason as one sentence on one line, and exits with status 2."""
  sys.stderr.write(' '.join(str(reason).split()) + '\n')
  sys.exit(BAD_INPUT)


def _refuse_flags(error: Exception) -> NoReturn:
  reason = str(error).removeprefix('ERROR:: ').rstrip('.')
  refuse(f'{reason}; see --help.')


def require_python() -> None:
  """Refuses every Python but 3.11."""
  major, minor = sys.version_info[:2]
  if (major, minor) != (3, 11):
    refuse(
      f'tff_robust needs Python 3.11 and this is Python {major}.{minor}: start it with the'
      ' python3.11 into which its requirements are installed.'
    )


def run(
  define_flags: Callable[[], None],
  prepare: Callable[[], Callable[[], int]],
  *,
  takes_plugins: bool = False,
) -> NoReturn:
  """Runs a binary and exits with its status.

  Plug-ins are loaded first, where a binary takes any: they add flags and values. Flags are
  parsed without `absl.app.run`: TensorFlow 2.14, when it is imported after absl's
  initialisation, makes its context before it turns eager, and `==` of tensors in a
  `tf.function` then quietly compares objects.

  Args:
    define_flags: Defines the flags of the binary.
    prepare: Reads the flags, checks everything that can be checked, and returns what is to
      be run. A ValueError from it is the user's to mend and is told in one sentence; one
      from what it returns is a bug and keeps its traceback.
    takes_plugins: Whether there is a choice to which plug-ins can add, hence `--plugins`.
  """
  from absl import app, flags, logging

  from binaries import plugin_flag

  app.define_help_flags()
  if takes_plugins:
    try:
      plugin_flag.load(flags.FlagValues().read_flags_from_files(sys.argv[1:]))
    except flags.Error as error:
      _refuse_flags(error)
    except ValueError as error:
      refuse(error)
    plugin_flag.define()
  try:
    define_flags()
  except flags.DuplicateFlagError as error:
    modules = ','.join(plugin_flag.loaded())
    if not modules:
      raise
    name = str(error).split("'")[1]
    refuse(
      f'plugins={modules} add an option {name!r}, and there is a flag of that name; give the option'
      ' another name.'
    )
  try:
    rest = flags.FLAGS(sys.argv)
  except flags.Error as error:
    _refuse_flags(error)
  except SystemExit:
    sys.exit(0)  # Help was asked for and given; absl calls that a failure.
  if rest[1:]:
    refuse(f'{rest[1]!r} is not a flag: flags are written --name=value; see --help.')
  logging.set_verbosity(logging.WARNING)
  try:
    try:
      runnable = prepare()
    except ValueError as error:
      refuse(error)
    sys.exit(runnable())
  except KeyboardInterrupt:
    sys.stderr.write('Interrupted.\n')
    sys.exit(128 + signal.SIGINT)
