"""Oracles of the rules that average all rows, with weights or clipped."""

import numpy as np

_MOST_ITERATIONS = 100_000


def mean(rows: np.ndarray) -> np.ndarray:
  """Returns the mean of the rows with equal weights, summed row by row."""
  total = np.zeros(rows.shape[1])
  for row in rows:
    total = total + row / len(rows)
  return total


def geometric_median(
  rows: np.ndarray,
  *,
  max_byzantine: int,
  smoothing: float,
  tolerance: float,
  max_iterations: int,
) -> np.ndarray:
  """Returns Weiszfeld's iterate in the space of updates, from the mean; or the median itself.

  With a tolerance, that is where the gradient of the smoothed sum of distances vanishes, sought
  from the median of each coordinate, however many iterations that takes.
  """
  del max_byzantine  # Only a demand on n.
  rows = rows.astype(np.float64)

  def pulls(point: np.ndarray) -> np.ndarray:
    return 1 / np.maximum(np.linalg.norm(rows - point, axis=1), smoothing)

  if tolerance == 0:
    point = rows.mean(0)
    for _ in range(max_iterations):
      point = np.average(rows, axis=0, weights=pulls(point))
    return point
  point = np.median(rows, axis=0)
  for _ in range(_MOST_ITERATIONS):
    pull = pulls(point)
    gradient = pull @ (point - rows) / len(rows)
    if np.linalg.norm(gradient) <= 1e-9:
      break
    point = np.average(rows, axis=0, weights=pull)
  return point


def centered_clipping(
  rows: np.ndarray,
  centre: np.ndarray | None = None,
  *,
  clip_radius: float,
  num_iterations: int,
) -> np.ndarray:
  """Returns the centre (zero in a first round) moved by the mean of clipped differences."""
  rows = np.asarray(rows, np.float64)
  point = np.zeros(rows.shape[1]) if centre is None else np.asarray(centre, np.float64)
  for _ in range(num_iterations):
    moves = []
    for row in rows:
      length = np.linalg.norm(row - point)
      moves.append((row - point) * min(1.0, clip_radius / length))
    point = point + np.mean(moves, axis=0)
  return point


def foolsgold_weights(rows: np.ndarray) -> np.ndarray:
  """Returns [n]: the learning rates of the authors' code, by loops."""
  rows = np.asarray(rows, np.float64)
  n = len(rows)
  cosine = np.array([[a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for b in rows] for a in rows])
  # In the paper's text these may be negative; who resembles nobody is at zero.
  strongest = [max(0.0, *(cosine[i][j] for j in range(n) if j != i)) for i in range(n)]
  for i in range(n):
    for j in range(n):
      if j != i and strongest[j] > strongest[i]:
        cosine[i, j] *= strongest[i] / strongest[j]
  weights = np.clip([1 - max(cosine[i][j] for j in range(n) if j != i) for i in range(n)], 0, 1)
  weights = weights / weights.max()
  with np.errstate(divide='ignore'):
    return np.clip(np.log(weights / (1 - weights)) + 0.5, 0, 1)


def foolsgold(rows: np.ndarray) -> np.ndarray:
  """Returns the mean of the rows, weighted by how little they resemble others."""
  return np.average(rows, axis=0, weights=foolsgold_weights(rows))
