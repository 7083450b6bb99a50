"""Oracles of Krum, Multi-Krum and Bulyan, by loops over pairs."""

import numpy as np


def krum_scores(rows: np.ndarray, max_byzantine: int) -> np.ndarray:
  """Returns [n]: squared distances to the n - f - 2 closest others, summed.

  A row with a NaN or an infinity is infinitely far from all others.
  """
  rows = np.asarray(rows, np.float64)
  n = len(rows)
  scores = []
  for i in range(n):
    squared = []
    for j in range(n):
      if j == i:
        continue
      with np.errstate(invalid='ignore'):
        difference = rows[i] - rows[j]
      is_finite = bool(np.isfinite(difference).all())
      squared.append(float(difference @ difference) if is_finite else np.inf)
    scores.append(sum(sorted(squared)[: n - max_byzantine - 2]))
  return np.array(scores)


def lowest(scores: np.ndarray, count: int) -> list[int]:
  """Returns the `count` rows of lowest score, of equals the first."""
  return sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count]


def krum(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the row of lowest score."""
  return rows[lowest(krum_scores(rows, max_byzantine), 1)[0]]


def multi_krum(rows: np.ndarray, *, max_byzantine: int, num_selected: int) -> np.ndarray:
  """Returns the mean of the rows of lowest scores."""
  return rows[lowest(krum_scores(rows, max_byzantine), num_selected)].mean(axis=0)


def bulyan_selection(rows: np.ndarray, max_byzantine: int) -> list[int]:
  """Returns the rows that Krum takes one after another from those that remain."""
  rows = rows.astype(np.float64)
  remaining = list(range(len(rows)))
  selected: list[int] = []
  while len(selected) < len(rows) - 2 * max_byzantine:
    scores = []
    for i in remaining:
      others = sorted(np.sum((rows[i] - rows[j]) ** 2) for j in remaining if j != i)
      scores.append(sum(others[: max(len(remaining) - max_byzantine - 2, 0)]))
    selected.append(remaining.pop(scores.index(min(scores))))
  return selected


def bulyan(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns, coordinate by coordinate, the mean around the median of the selected rows."""
  chosen = rows[bulyan_selection(rows, max_byzantine)].astype(np.float64)
  result = []
  for column in chosen.T:
    centre = np.median(column)
    by_distance = sorted(column, key=lambda value: abs(value - centre))
    result.append(np.mean(by_distance[: len(column) - 2 * max_byzantine]))
  return np.array(result)
