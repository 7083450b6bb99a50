"""The rows that are gathered: windows of one random vector, made without arithmetic."""

import numpy as np

# Clients' windows start this far apart, where it does not matter that rows are alike.
STRIDE = 997


def noise(num_clients: int, dimension: int) -> np.ndarray:
  """Returns the float32 vector of which every row is a window."""
  generator = np.random.default_rng(2)
  return generator.standard_normal(dimension + STRIDE * num_clients, np.float32)


def rows(num_clients: int, dimension: int) -> list[np.ndarray]:
  """Returns the row of each client, float32 [d]."""
  vector = noise(num_clients, dimension)
  return [vector[STRIDE * k : STRIDE * k + dimension] for k in range(num_clients)]


def independent(num_clients: int, dimension: int) -> np.ndarray:
  """Returns float32 [n, d] of independent standard normal rows."""
  return np.random.default_rng(3).standard_normal((num_clients, dimension), np.float32)
