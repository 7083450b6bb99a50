"""A process that does works with TensorFlow in one runtime; started by the benchmark.

Its argument is `{"runtime": ..., "device": ...}` as JSON. The runtime is one of
`contexts.RUNTIMES`, 'stock' (TensorFlow Federated as it comes) or 'none' (TensorFlow only, whose
operations get as many threads as in the accelerated runtime).
"""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

from binaries import plugin_flag
from binaries.benchmarks import serving
from binaries.benchmarks import work as work_lib


def _describe(runtime: str, device: str) -> dict[str, Any]:
  """Installs the runtime; returns where it computes, and versions."""
  import numpy as np
  import tensorflow as tf

  facts = {
    'tensorflow': tf.__version__,
    'numpy': np.__version__,
    'gpus': [gpu.name for gpu in tf.config.list_physical_devices('GPU')],
  }
  if runtime == 'none':
    from tff_robust.runtime import devices

    devices.share_cores(devices.default_client_threads(device))
    facts['operations'] = devices.describe_operation_threads()
    return facts
  import tensorflow_federated as tff

  facts['tensorflow_federated'] = tff.__version__
  facts['runtime'] = "TensorFlow Federated's own default context"
  if runtime != 'stock':
    from tff_robust.runtime import contexts

    facts['runtime'] = contexts.install_context(runtime, device=device)
  return facts


def _build(runtime: str, device: str, values: dict[str, Any]) -> Callable[[], float]:
  """Returns a work as a function; imports only what it needs."""
  work = work_lib.from_json(values)
  if isinstance(work, work_lib.RuleWork):
    if runtime == 'none':
      from binaries.benchmarks import eager_rule

      return eager_rule.build(work, device=device)
    from binaries.benchmarks import federated_gather

    return federated_gather.build(work)
  if isinstance(work, work_lib.GatherWork):
    if work.implementation == 'by_hand':
      from binaries.benchmarks import handwritten

      return handwritten.krum(work, device=device)
    from binaries.benchmarks import federated_gather

    return federated_gather.build(work)
  if work.implementation == 'by_hand':
    from binaries.benchmarks import handwritten

    return handwritten.training_round(work, device=device)
  from binaries.benchmarks import federated_round

  return federated_round.build(work)  # The context has chosen the device.


def _close_stock_context() -> None:
  """Ends the worker process of TensorFlow Federated's own context, which would stay."""
  import gc

  import tensorflow_federated as tff

  tff.test.set_no_default_context()
  gc.collect()


def main() -> None:
  """Serves until standard input ends."""
  plugin_flag.load()
  options = json.loads(sys.argv[1])
  runtime, device = options['runtime'], options['device']
  facts = functools.cache(functools.partial(_describe, runtime, device))
  try:
    serving.serve(functools.partial(_build, runtime, device), describe=facts)
  finally:
    if runtime == 'stock' and 'tensorflow_federated' in sys.modules:
      _close_stock_context()


if __name__ == '__main__':
  main()
