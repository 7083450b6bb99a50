"""Test-wide setup: quiet TensorFlow, one default context of TFF, no process left behind."""

import os
import signal
import sys

import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

# A shell lets what it runs in the background ignore Ctrl-C, which tests send to themselves and to
# the programs that they start: without this they would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

_contexts = []


@pytest.fixture(autouse=True, scope='module')
def _default_context():
  """Gives each file of tests TFF's C++ worker, made safe, as the default context.

  TFF's own default context waits for its worker without limit when it ends, and its worker
  ignores the signal to end where tests run in the background.
  """
  tff = sys.modules.get('tensorflow_federated')
  if tff is not None:
    if not _contexts:
      from tff_robust.runtime import native

      _contexts.append(native.NativeContext())
    tff.framework.set_default_context(_contexts[0])


def pytest_unconfigure() -> None:
  """Ends the worker, if one was started."""
  for context in _contexts:
    context.close()
