"""Oracles of the rules that treat each coordinate by itself."""

import numpy as np


def _closest(column: np.ndarray, centre: float, count: int) -> float:
  """Returns the mean of the `count` values closest to `centre`."""
  return float(np.mean(sorted(column, key=lambda value: abs(value - centre))[:count]))


def coordinate_median(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the middle value, or the middle of the two middle values."""
  del max_byzantine  # Only a demand on n.
  ordered, n = np.sort(rows, axis=0), len(rows)
  return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def trimmed_mean(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the mean without the f smallest and the f largest values."""
  return np.sort(rows, axis=0)[max_byzantine : len(rows) - max_byzantine].mean(axis=0)


def meamed(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the mean of the n - f values closest to the median."""
  keep = len(rows) - max_byzantine
  return np.array([_closest(column, float(np.median(column)), keep) for column in rows.T])


def phocas(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the mean of the n - f values closest to the trimmed mean."""
  centre = trimmed_mean(rows, max_byzantine=max_byzantine)
  keep = len(rows) - max_byzantine
  return np.array([_closest(rows[:, i], centre[i], keep) for i in range(rows.shape[1])])


def sign_majority(rows: np.ndarray) -> np.ndarray:
  """Returns the winner of the vote on each sign, 0 for a tie."""
  votes = np.sum(rows > 0, axis=0) - np.sum(rows < 0, axis=0)
  return np.sign(votes).astype(np.float64)
