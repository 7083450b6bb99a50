"""Oracles of the rules that search all subsets of n - f rows."""

import itertools
from collections.abc import Callable, Iterable

import numpy as np


def _first_best(
  rows: np.ndarray, max_byzantine: int, cost: Callable[[Iterable[int]], float]
) -> list[int]:
  subsets = itertools.combinations(range(len(rows)), len(rows) - max_byzantine)
  return list(min(subsets, key=cost))


def smallest_diameter(rows: np.ndarray, max_byzantine: int) -> list[int]:
  """Returns the first subset whose largest distance between two rows is smallest."""
  rows = rows.astype(np.float64)
  squared = [[float(np.sum((a - b) ** 2)) for b in rows] for a in rows]

  def diameter(subset: Iterable[int]) -> float:
    return max((squared[i][j] for i, j in itertools.combinations(subset, 2)), default=0.0)

  return _first_best(rows, max_byzantine, diameter)


def smallest_top_eigenvalue(rows: np.ndarray, max_byzantine: int) -> list[int]:
  """Returns the first subset whose covariance matrix, d by d, has the smallest top eigenvalue."""
  rows = rows.astype(np.float64)

  def top_eigenvalue(subset: Iterable[int]) -> float:
    centred = rows[list(subset)] - rows[list(subset)].mean(0)
    return float(np.linalg.eigvalsh(centred.T @ centred)[-1])

  return _first_best(rows, max_byzantine, top_eigenvalue)


def minimum_diameter_averaging(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the mean of the subset of smallest diameter."""
  return rows[smallest_diameter(rows, max_byzantine)].mean(axis=0)


def smea(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the mean of the subset of smallest top eigenvalue."""
  return rows[smallest_top_eigenvalue(rows, max_byzantine)].mean(axis=0)
