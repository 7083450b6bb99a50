"""Oracles of the public variants of Krum: what each repository does, from its description."""

from collections.abc import Callable, Mapping

import numpy as np

from tff_robust.testing.oracles import krum_rules


def _norms(rows: np.ndarray) -> list[list[float]]:
  rows = rows.astype(np.float64)
  return [[float(np.linalg.norm(a - b)) for b in rows] for a in rows]


def _byzfl(rows: np.ndarray, f: int) -> list[int]:
  squared = np.sort(np.array(_norms(rows)) ** 2, axis=1)[:, 1 : len(rows) - f]
  return [int(np.argmin(np.mean(squared, axis=1)))]


def _calicarpa(rows: np.ndarray, f: int) -> list[int]:
  norms, n = _norms(rows), len(rows)
  scores = [sum(sorted(norms[i][:i] + norms[i][i + 1 :])[: n - f - 1]) for i in range(n)]
  return sorted(range(n), key=scores.__getitem__)[: n - f - 2]


def _epfml(rows: np.ndarray, f: int) -> list[int]:
  norms, n = _norms(rows), len(rows)
  squared = [[x**2 for x in row] for row in norms]
  scores = [
    sum(sorted(squared[i][j] ** 2 for j in range(n) if j != i)[: n - f - 2]) for i in range(n)
  ]
  return [scores.index(min(scores))]


def _alie_authors(rows: np.ndarray, f: int) -> list[int]:
  distances: dict[int, dict[int, float]] = {}
  for i in range(len(rows)):
    for j in range(i):
      norm = float(np.linalg.norm(rows[i].astype(np.float64) - rows[j]))
      distances.setdefault(i, {})[j] = norm
      distances.setdefault(j, {})[i] = norm
  smallest, winner = 1e20, -1
  for user, row in distances.items():
    error = sum(sorted(row.values())[: len(rows) - f])
    if error < smallest:
      smallest, winner = error, user
  return [winner % len(rows)]


def _ndss21(rows: np.ndarray, f: int) -> list[int]:
  remaining, taken = list(range(len(rows))), []
  rows = rows.astype(np.float64)
  while len(remaining) > 2 * f + 2:
    scores = [
      sum(sorted(np.sum((rows[i] - rows[j]) ** 2) for j in remaining)[: len(remaining) - 2 - f])
      for i in remaining
    ]
    taken.append(remaining.pop(scores.index(min(scores))))
  return taken


def _flower_legacy(rows: np.ndarray, f: int) -> list[int]:
  rows = rows.astype(np.float64)
  matrix = np.array([[np.linalg.norm(a - b) ** 2 for b in rows] for a in rows])
  k = max(1, len(rows) - f - 2)
  return [int(np.argmin([np.sum(row[np.argsort(row)[1 : k + 1]]) for row in matrix]))]


def _krum(rows: np.ndarray, f: int) -> list[int]:
  return krum_rules.lowest(krum_rules.krum_scores(rows, f), 1)


def _xie(rows: np.ndarray, f: int) -> list[int]:
  if 2 * f + 2 >= len(rows):
    f = (len(rows) - 3) // 2
  return _krum(rows, f)


def _reversed(rows: np.ndarray, f: int) -> list[int]:
  norms, n = _norms(rows), len(rows)
  scores = [0.0] * n
  for j in range(n):
    others = sorted((i for i in range(n) if i != j), key=lambda i: (norms[j][i], i))
    for i in others[: n - f - 2]:
      scores[i] += norms[j][i] ** 2
  return [scores.index(min(scores))]


# Which rows each variant averages, from rows and f.
SELECTIONS: Mapping[str, Callable[[np.ndarray, int], list[int]]] = {
  'krum_byzfl': _byzfl,
  'krum_calicarpa': _calicarpa,
  'krum_epfml': _epfml,
  'krum_alie_authors': _alie_authors,
  'multi_krum_ndss21': _ndss21,
  'krum_flower_legacy': _flower_legacy,
  'krum_xie': _xie,
  'krum_reversed': _reversed,
}


def _mean_of(variant: str, rows: np.ndarray, max_byzantine: int) -> np.ndarray:
  return rows[SELECTIONS[variant](rows, max_byzantine)].mean(axis=0)


def krum_byzfl(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the row of least mean squared distance to n - f - 1 others."""
  return _mean_of('krum_byzfl', rows, max_byzantine)


def krum_calicarpa(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the mean of the n - f - 2 rows of least unsquared distances."""
  return _mean_of('krum_calicarpa', rows, max_byzantine)


def krum_epfml(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the row of least fourth powers of distances."""
  return _mean_of('krum_epfml', rows, max_byzantine)


def krum_alie_authors(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the row of least unsquared distances to n - f others, as a dictionary lists them."""
  return _mean_of('krum_alie_authors', rows, max_byzantine)


def multi_krum_ndss21(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the mean of the rows taken one after another until 2f + 2 remain."""
  return _mean_of('multi_krum_ndss21', rows, max_byzantine)


def krum_flower_legacy(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the row of least squared distances to at least one other."""
  return _mean_of('krum_flower_legacy', rows, max_byzantine)


def krum_xie(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the choice of Krum at an f that fits."""
  return _mean_of('krum_xie', rows, max_byzantine)


def krum_reversed(rows: np.ndarray, *, max_byzantine: int) -> np.ndarray:
  """Returns the row of least squared distances to the rows that it is a neighbour of."""
  return _mean_of('krum_reversed', rows, max_byzantine)
