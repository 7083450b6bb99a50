"""Oracles of the rules that drop or scale down what stands out."""

import fractions

import numpy as np


def shortest(rows: np.ndarray, max_byzantine: int) -> list[int]:
  """Returns the n - f rows of smallest norm, of equals the first."""
  lengths = [sum(float(value) ** 2 for value in row) for row in rows]
  return sorted(range(len(rows)), key=lengths.__getitem__)[: len(rows) - max_byzantine]


def comparative_gradient_elimination(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the mean of the shortest rows."""
  return rows[shortest(rows, max_byzantine)].astype(np.float64).mean(axis=0)


def caf(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns CAF in the space of updates, with full covariance matrices."""
  rows = rows.astype(np.float64)
  weights = np.ones(len(rows))
  best, result = np.inf, rows.mean(0)
  while weights.sum() > len(rows) - 2 * max_byzantine:
    centre = weights @ rows / weights.sum()
    centred = rows - centre
    covariance = (centred * weights[:, None]).T @ centred / weights.sum()
    values, vectors = np.linalg.eigh(covariance)
    if values[-1] < best:
      best, result = values[-1], centre
    scores = (centred @ vectors[:, -1]) ** 2
    weights = weights * (1 - scores / scores[weights > 0].max())
  return result


def inliers(rows: np.ndarray, num_dropped: int) -> list[int]:
  """Returns all but the rows with the largest projections on the top singular vector."""
  centred = rows.astype(np.float64) - rows.astype(np.float64).mean(0)
  _, _, directions = np.linalg.svd(centred)
  scores = (centred @ directions[0]) ** 2
  return sorted(range(len(rows)), key=scores.__getitem__)[: len(rows) - num_dropped]


def divide_and_conquer(
  rows: np.ndarray,
  *,
  max_byzantine: int,
  num_iterations: int,
  num_coordinates: int,
  filter_factor: float,
) -> np.ndarray:
  """Returns the mean of the inliers of all coordinates.

  Raises:
    ValueError: If some coordinates would have to be drawn: which, the oracle cannot know.
  """
  del num_iterations  # On all coordinates every iteration drops the same rows.
  if rows.shape[1] > num_coordinates:
    raise ValueError(
      f'num_coordinates={num_coordinates} must be at least d={rows.shape[1]} for the oracle.'
    )
  # The product of the numbers as they were written: 1.16 * 25 is 29, and a little less in binary.
  num_dropped = int(fractions.Fraction(repr(filter_factor)) * max_byzantine)
  return rows[inliers(rows, num_dropped)].astype(np.float64).mean(0)
