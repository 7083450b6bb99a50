"""The flag `--plugins`, which is read before all others: plug-ins add values and flags.

Processes that a binary starts inherit its plug-ins through an environment variable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

VARIABLE = 'TFF_ROBUST_PLUGINS'
_loaded: list[str] = []


def define() -> None:
  """Defines the flag, so that it is parsed and shown by --help."""
  from absl import flags

  flags.DEFINE_list(
    'plugins',
    [],
    'Modules of your own that add rules, attacks or pre-aggregators (docs/adding_*.md),'
    f' with commas between them. Left out: those of the environment variable {VARIABLE}.',
  )
  flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS['plugins'])


def load(arguments: Sequence[str] = ()) -> None:
  """Imports the plug-ins that the arguments name or, without the flag there, the environment.

  Args:
    arguments: Those of the binary, and of its flag files.

  Raises:
    ValueError: If a module does not exist.
  """
  names = _given(arguments)
  if names is None:
    names = os.environ.get(VARIABLE, '')
  modules = [name.strip() for name in names.split(',') if name.strip()]
  if not modules:
    os.environ.pop(VARIABLE, None)
    return
  os.environ[VARIABLE] = ','.join(modules)

  from tff_robust import plugins
  from tff_robust.runtime import devices

  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  devices.prepare()  # A plug-in that imports TensorFlow must not start it otherwise than we do.
  plugins.load(modules)
  _loaded.extend(module for module in modules if module not in _loaded)


def loaded() -> tuple[str, ...]:
  """Returns the plug-ins of this process, in the order in which they were loaded."""
  return tuple(_loaded)


def _given(arguments: Sequence[str]) -> str | None:
  """Returns the last value of --plugins, as absl would, or None."""
  found = None
  for position, argument in enumerate(arguments):
    if argument == '--':
      break
    name, equals, value = argument.partition('=')
    if name in ('--plugins', '-plugins'):
      found = value if equals else ''.join(arguments[position + 1 : position + 2])
  return found
