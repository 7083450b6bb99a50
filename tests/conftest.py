"""Test-wide setup: quiet TensorFlow, and no worker process left behind."""

import gc
import os
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')


def pytest_unconfigure() -> None:
  """Closes TFF's default context, whose worker process would outlive the tests."""
  if 'tensorflow_federated' in sys.modules:
    tff = sys.modules['tensorflow_federated']
    tff.test.set_no_default_context()
    gc.collect()
