"""Test-wide setup: quiet TensorFlow, TFF's default context, and no worker process left behind."""

import gc
import os
import sys

import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')


@pytest.fixture(autouse=True, scope='module')
def _default_context():
  """Gives TFF its default context back when the tests of a file have closed the default one."""
  yield
  tff = sys.modules.get('tensorflow_federated')
  if tff is not None:
    current = tff.framework.get_context_stack().current
    if type(current).__name__ == 'RuntimeErrorContext':
      tff.backends.native.set_sync_local_cpp_execution_context()


def pytest_unconfigure() -> None:
  """Closes TFF's default context, whose worker process would outlive the tests."""
  if 'tensorflow_federated' in sys.modules:
    tff = sys.modules['tensorflow_federated']
    tff.test.set_no_default_context()
    gc.collect()
