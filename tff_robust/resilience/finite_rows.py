"""The rows of a round that certificates count on: those without NaN or infinity."""

from typing import Any

import numpy as np


def of(updates: Any) -> np.ndarray:
  """Returns the rows without NaN or infinity, in order, float64 [at most n, d].

  Args:
    updates: [n, d].
  """
  rows = np.asarray(updates, np.float64)
  return rows[np.isfinite(rows).all(axis=1)]
