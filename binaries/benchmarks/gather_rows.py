"""The rows that are gathered: windows of one random vector, made without arithmetic."""

import numpy as np

from binaries.benchmarks import work as work_lib

# Clients' windows start this far apart.
STRIDE = 997


def noise(work: work_lib.GatherWork) -> np.ndarray:
  """Returns the float32 vector of which every row is a window."""
  generator = np.random.default_rng(2)
  length = work.dimension + STRIDE * work.num_clients
  return generator.standard_normal(length, np.float32)


def rows(work: work_lib.GatherWork) -> list[np.ndarray]:
  """Returns the row of each client, float32 [d]."""
  vector = noise(work)
  return [vector[STRIDE * k : STRIDE * k + work.dimension] for k in range(work.num_clients)]
