"""The exact set of step sizes for which Krum selects a colluding attacker.

b colluders all send u(t) = base + t * direction. Krum's scores are then sums of
functions of t that are known exactly from the h x h distances between honest rows and
from h inner products: no training, no d-dimensional work after those. The attack of
inner product manipulation is the ray from the honest mean towards its opposite, so
the result is the list of all epsilon that capture Krum this round. Derived here.

Everything is NumPy in float64 and works on messages that were sent. Computed from
private updates the certificate is itself private: compute it from noised messages or
treat it as a simulator's view.
"""

from typing import Any, NamedTuple

import numpy as np

from tff_robust import checks
from tff_robust.resilience import finite_rows


class Interval(NamedTuple):
  """An open interval of step sizes; `upper` may be infinite."""

  lower: float
  upper: float


class Ray(NamedTuple):
  """Everything Krum can tell about honest rows and u(t) = base + t * direction.

  Attributes:
    squared_distances: float64 [h, h], between honest rows.
    base_distances: float64 [h], squared, from each honest row to `base`.
    products: float64 [h], the inner products <row - base, direction>.
    squared_direction: The squared norm of `direction`.
    num_nonfinite: Honest rows with a NaN or an infinity. They are not among the h.
  """

  squared_distances: np.ndarray
  base_distances: np.ndarray
  products: np.ndarray
  squared_direction: float
  num_nonfinite: int


class _Neighbors(NamedTuple):
  """Integers of Krum's definition for one round."""

  of_honest: int  # n - f - 2
  honest_of_attacker: int  # those of an attacker's neighbours that are honest


def ray_from_updates(honest: Any, *, base: Any, direction: Any) -> Ray:
  """Returns the ray through `base` along `direction`, seen from `honest`.

  Args:
    honest: [h, d], the honest messages as sent; rows that are not finite are set apart.
    base: [d].
    direction: [d].
  """
  rows = np.asarray(honest, np.float64)
  finite = np.isfinite(rows).all(axis=1)
  kept = rows[finite] - np.asarray(base, np.float64)
  direction = np.asarray(direction, np.float64)
  gram = kept @ kept.T
  return Ray(
    _distances_from_gram(gram),
    np.diagonal(gram).copy(),
    kept @ direction,
    float(direction @ direction),
    int((~finite).sum()),
  )


def ipm_ray(honest: Any, *, seen: Any = None) -> Ray:
  """Returns the ray of inner product manipulation: t = 1 + epsilon from the seen mean.

  Args:
    honest: [h, d], the honest messages as sent.
    seen: [v, d], the rows whose mean the attacker multiplies by -epsilon; `honest` by
      default. With other knowledge: the messages before their noise, or the
      attackers' own.
  """
  rows = finite_rows.of(honest if seen is None else seen)
  center = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
  return ray_from_updates(honest, base=center, direction=-center)


def ipm_ray_from_gram(gram: Any) -> Ray:
  """Returns the ray of inner product manipulation from the honest Gram matrix.

  Less accurate than `ipm_ray` when the rows are much closer to each other than to
  zero, since their distances are then differences of large numbers.

  Args:
    gram: float64 [h, h], the inner products of the honest messages as sent.
  """
  gram = np.asarray(gram, np.float64)
  finite = np.isfinite(np.diagonal(gram))
  kept = gram[np.ix_(finite, finite)]
  if not len(kept):
    return Ray(kept, np.zeros(0), np.zeros(0), 0.0, int((~finite).sum()))
  return _ray_from_products(
    kept, kept.mean(axis=1), float(kept.mean()), num_nonfinite=int((~finite).sum())
  )


def ipm_ray_from_answer(gram: Any, is_byzantine: Any, *, epsilon: float) -> Ray:
  """Returns the ray of inner product manipulation from what everybody sent.

  The colluders' own messages tell the mean that they averaged, whatever they know: they
  are -epsilon times it. So this holds for every view of the adversary, once it attacks.

  Args:
    gram: float64 [n, n], the inner products of all messages as sent.
    is_byzantine: bool [n]; all of these messages are equal.
    epsilon: The step with which they were made, above 0.
  """
  checks.positive('epsilon', epsilon)
  gram, attacks = np.asarray(gram, np.float64), np.asarray(is_byzantine, bool)
  finite = np.isfinite(np.diagonal(gram))
  honest = ~attacks & finite
  answer = int(np.flatnonzero(attacks)[0])
  return _ray_from_products(
    gram[np.ix_(honest, honest)],
    -gram[honest, answer] / epsilon,
    float(gram[answer, answer]) / epsilon**2,
    num_nonfinite=int((~attacks & ~finite).sum()),
  )


def _ray_from_products(
  gram: np.ndarray, with_center: np.ndarray, squared_center: float, *, num_nonfinite: int
) -> Ray:
  """Returns the ray from a center along its opposite, from inner products alone."""
  base_distances = np.maximum(np.diagonal(gram) - 2 * with_center + squared_center, 0.0)
  return Ray(
    _distances_from_gram(gram),
    base_distances,
    squared_center - with_center,
    squared_center,
    num_nonfinite,
  )


def selection_margin(ray: Ray, t: float, *, num_byzantine: int, max_byzantine: int) -> float:
  """Returns the lowest honest Krum score minus the attackers' score at step size t.

  Positive: Krum selects an attacker. Negative: an honest row. Zero: the smallest
  client id decides. NaN where the rule gives no answer (more non-finite rows than
  `max_byzantine`) or there is no attacker. Infinity without a finite honest row.
  """
  neighbors = _neighbors(ray, num_byzantine, max_byzantine)
  if neighbors is None:
    return float('nan')
  k = neighbors.of_honest
  to_attacker = ray.base_distances - 2 * t * ray.products + t * t * ray.squared_direction
  to_attacker = np.maximum(to_attacker, 0.0)
  attacker = np.sort(to_attacker)[: neighbors.honest_of_attacker].sum()
  to_others = np.concatenate(
    [_off_diagonal(ray.squared_distances), np.repeat(to_attacker[:, None], num_byzantine, axis=1)],
    axis=1,
  )
  honest = np.sort(to_others, axis=1)[:, :k].sum(axis=1)
  return float(honest.min(initial=np.inf) - attacker)


def selection_intervals(
  ray: Ray, *, num_byzantine: int, max_byzantine: int, start: float = 0.0
) -> list[Interval]:
  """Returns every t > `start` at which Krum selects an attacker, as open intervals.

  Exact: an attacker's score is piecewise quadratic in t, with pieces bounded by
  crossings of straight lines (squared distances to u(t) differ by linear functions),
  and an honest score is the smallest of finitely many quadratics; on each piece the
  condition is a system of quadratic inequalities, solved in closed form. At an end of
  an interval the smallest client id decides.

  Args:
    ray: The honest rows and the attackers' ray.
    num_byzantine: Colluders that all send u(t), b.
    max_byzantine: The f that Krum is told. n is all honest rows plus b.
    start: Where to begin.
  """
  neighbors = _neighbors(ray, num_byzantine, max_byzantine)
  if neighbors is None:
    return []
  k = neighbors.of_honest
  num_honest = len(ray.products)
  sorted_distances = np.sort(_off_diagonal(ray.squared_distances), axis=1)
  prefix = np.concatenate([np.zeros((num_honest, 1)), np.cumsum(sorted_distances, axis=1)], axis=1)
  # An honest score is the minimum over m of: m copies of the distance to the
  # attackers plus the k - m smallest honest distances.
  copies = np.arange(max(0, k - num_honest + 1), min(num_byzantine, k) + 1)
  nearest_honest = prefix[:, k - copies]

  intervals: list[Interval] = []
  for piece, chosen in _pieces(ray, neighbors.honest_of_attacker, start):
    quadratic = (len(chosen) - copies)[None, :] * ray.squared_direction
    half_linear = copies[None, :] * ray.products[:, None] - ray.products[chosen].sum()
    constant = (
      ray.base_distances[chosen].sum()
      - copies[None, :] * ray.base_distances[:, None]
      - nearest_honest
    )
    quadratic = np.broadcast_to(quadratic, constant.shape)
    for found in _all_negative(quadratic.ravel(), half_linear.ravel(), constant.ravel(), piece):
      if intervals and found.lower <= intervals[-1].upper:
        intervals[-1] = Interval(intervals[-1].lower, found.upper)
      else:
        intervals.append(found)
  return intervals


def ipm_intervals(
  honest: Any, *, num_byzantine: int, max_byzantine: int, seen: Any = None
) -> list[Interval]:
  """Returns every epsilon >= 0 with which inner product manipulation captures Krum.

  Args:
    honest: [h, d], the honest messages of the round as sent.
    num_byzantine: Colluders, b.
    max_byzantine: The f that Krum is told.
    seen: [v, d], what the attackers average (`honest` by default).

  Returns:
    Open intervals in increasing order; there is no lower limit to a harmful epsilon
    when the first starts at 0.
  """
  return ipm_intervals_from_ray(
    ipm_ray(honest, seen=seen), num_byzantine=num_byzantine, max_byzantine=max_byzantine
  )


def ipm_intervals_from_gram(gram: Any, *, num_byzantine: int, max_byzantine: int) -> list[Interval]:
  """Returns what `ipm_intervals` returns, from the honest Gram matrix, float64 [h, h]."""
  return ipm_intervals_from_ray(
    ipm_ray_from_gram(gram), num_byzantine=num_byzantine, max_byzantine=max_byzantine
  )


def ipm_intervals_from_ray(ray: Ray, *, num_byzantine: int, max_byzantine: int) -> list[Interval]:
  """Returns what `ipm_intervals` returns, from a ray of inner product manipulation."""
  found = selection_intervals(
    ray, num_byzantine=num_byzantine, max_byzantine=max_byzantine, start=1.0
  )
  return [Interval(lower - 1.0, upper - 1.0) for lower, upper in found]


def exact_breaking_epsilon(
  honest: Any, *, num_byzantine: int, max_byzantine: int, seen: Any = None
) -> float:
  """Returns the epsilon below which inner product manipulation always captures Krum.

  0 if no epsilon near 0 does, infinity if all do. Intervals further out, if any, are
  in `ipm_intervals`.
  """
  return breaking_epsilon(
    ipm_intervals(honest, num_byzantine=num_byzantine, max_byzantine=max_byzantine, seen=seen)
  )


def breaking_epsilon(intervals: list[Interval]) -> float:
  """Returns the upper end of the interval that starts at 0, or 0 if there is none."""
  if intervals and intervals[0].lower == 0.0:
    return intervals[0].upper
  return 0.0


def _neighbors(ray: Ray, num_byzantine: int, max_byzantine: int) -> _Neighbors | None:
  """Returns Krum's neighbour counts, or None where no attacker can be selected."""
  checks.nonnegative('num_byzantine', num_byzantine)
  num_honest = len(ray.products)
  num_clients = num_honest + ray.num_nonfinite + num_byzantine
  checks.enough_clients('krum', num_clients, max_byzantine, 2 * max_byzantine + 3)
  if num_byzantine == 0 or ray.num_nonfinite > max_byzantine:
    return None
  k = num_clients - max_byzantine - 2
  return _Neighbors(k, max(0, k - num_byzantine + 1))


def _pieces(ray: Ray, count: int, start: float) -> list[tuple[Interval, np.ndarray]]:
  """Splits (start, infinity) where the `count` honest rows nearest to u(t) change.

  The squared distances share their quadratic term, so their order is that of the
  lines base_distances - 2 t products: from one piece to the next, one chosen row is
  passed by a line with a smaller slope.
  """
  values, products = ray.base_distances, ray.products
  order = np.lexsort((-products, values - 2 * start * products))
  chosen, left_out = order[:count].copy(), order[count:].copy()
  pieces = []
  begin = start
  while count and len(left_out):
    slower = products[left_out][None, :] > products[chosen][:, None]
    gap = values[left_out][None, :] - values[chosen][:, None]
    with np.errstate(divide='ignore', invalid='ignore'):
      crossing = gap / (2 * (products[left_out][None, :] - products[chosen][:, None]))
    crossing = np.where(slower, np.maximum(crossing, begin), np.inf)
    row, column = np.unravel_index(np.argmin(crossing), crossing.shape)
    end = float(crossing[row, column])
    if end == np.inf:
      break
    if end > begin:
      pieces.append((Interval(begin, end), chosen.copy()))
      begin = end
    chosen[row], left_out[column] = left_out[column], chosen[row]
  pieces.append((Interval(begin, np.inf), chosen))
  return pieces


def _all_negative(
  quadratic: np.ndarray, half_linear: np.ndarray, constant: np.ndarray, piece: Interval
) -> list[Interval]:
  """Returns where in `piece` all `quadratic t^2 + 2 half_linear t + constant` are < 0."""
  discriminant = half_linear**2 - quadratic * constant
  root = np.sqrt(np.maximum(discriminant, 0.0))
  # The stable form: no difference of two nearly equal numbers.
  pivot = -(half_linear + np.copysign(root, half_linear))
  with np.errstate(divide='ignore', invalid='ignore'):
    second = np.where(pivot == 0, 0.0, constant / pivot)
    roots = np.sort(np.stack([pivot / quadratic, second]), axis=0)
    linear_root = -constant / (2 * half_linear)
  convex, concave = quadratic > 0, quadratic < 0
  flat = quadratic == 0
  if np.any(convex & (discriminant <= 0)) or np.any(flat & (half_linear == 0) & (constant >= 0)):
    return []
  rising, falling = flat & (half_linear > 0), flat & (half_linear < 0)
  lower = max([piece.lower, *roots[0][convex], *linear_root[falling]])
  upper = min([piece.upper, *roots[1][convex], *linear_root[rising]])
  excluded = roots[:, concave & (discriminant >= 0)]
  excluded = excluded[:, np.argsort(excluded[0], kind='stable')]
  found = []
  for first, last in excluded.T:
    if lower < min(first, upper):
      found.append(Interval(float(lower), float(min(first, upper))))
    lower = max(lower, last)
  if lower < upper:
    found.append(Interval(float(lower), float(upper)))
  return found


def _distances_from_gram(gram: np.ndarray) -> np.ndarray:
  squared = np.diagonal(gram)
  distances = np.maximum(squared[:, None] + squared[None, :] - 2 * gram, 0.0)
  np.fill_diagonal(distances, 0.0)
  return distances


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
  """Returns [h, h - 1]: each row without its diagonal entry."""
  size = len(matrix)
  return matrix[~np.eye(size, dtype=bool)].reshape(size, max(size - 1, 0))
