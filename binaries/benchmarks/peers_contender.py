"""A process that aggregates with byzfl and flwr; started with a Python that has them.

Imports nothing of this project but what the standard library and NumPy can run.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

from binaries.benchmarks import gather_rows, machine, peer_rules, serving, torch_threads


def _describe() -> dict[str, Any]:
  return {name: _version(name) for name in ('byzfl', 'flwr', 'torch', 'numpy')}


def _version(name: str) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return 'not installed'


@functools.cache
def _byzfl() -> Any:
  """Returns the rules of byzfl, without its experiments, which need torchvision."""
  found = importlib.util.find_spec('byzfl')
  if found is None or found.submodule_search_locations is None:
    raise ModuleNotFoundError('byzfl is not installed')
  package = types.ModuleType('byzfl')
  package.__path__ = list(found.submodule_search_locations)
  sys.modules['byzfl'] = package
  rules = vars(importlib.import_module('byzfl.aggregators.aggregators'))
  steps = vars(importlib.import_module('byzfl.aggregators.preaggregators'))
  return types.SimpleNamespace(**{**rules, **steps})


@functools.cache
def _flwr() -> Any:
  """Returns the functions of flwr: of its first strategies, and of those that followed."""
  common = importlib.import_module('flwr.common')

  def message(row: Any) -> Any:
    return common.RecordDict({'update': common.ArrayRecord({'row': common.Array(row)})})

  return types.SimpleNamespace(
    legacy=importlib.import_module('flwr.server.strategy.aggregate'),
    multikrum=importlib.import_module('flwr.serverapp.strategy.multikrum'),
    fedtrimmedavg=importlib.import_module('flwr.serverapp.strategy.fedtrimmedavg'),
    numpy=importlib.import_module('numpy'),
    message=message,
  )


@functools.lru_cache(maxsize=1)
def _stack(num_clients: int, dimension: int) -> Any:
  """Returns float32 [n, d], kept for the next rule of the same size."""
  return gather_rows.independent(num_clients, dimension)


def _build(work: dict[str, Any]) -> Callable[[], float]:
  """Returns one aggregation by a library's rule."""
  import numpy as np

  implementation, rule, options = work['implementation'], work['rule'], work['options']
  size = {'num_clients': work['num_clients'], 'dimension': work['dimension']}
  peer_rules.check_size(
    implementation, rule, options, available_bytes=machine.available_bytes(), **size
  )
  library = _flwr() if implementation.startswith('flwr') else _byzfl()
  rows = _stack(**size)
  if implementation == 'byzfl torch':
    rows = importlib.import_module('torch').from_numpy(rows)
  aggregate = peer_rules.IMPLEMENTATIONS[implementation][rule](library, options, rows)

  def run() -> float:
    result = np.asarray(aggregate())
    return float(np.linalg.norm(result.reshape(-1)[: work['dimension']]))

  if implementation == 'byzfl torch':
    torch_threads.use_best(run)
  return run


def main() -> None:
  """Serves until standard input ends."""
  serving.serve(_build, describe=_describe)


if __name__ == '__main__':
  main()
