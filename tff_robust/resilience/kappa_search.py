"""Searches for rows on which a rule's robustness coefficient is large.

A bound on kappa holds for all rows; what is found here is a lower bound on the smallest kappa
that does. Between the two lies what is not known.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tff_robust import checks
from tff_robust.resilience import robustness


class Instance(NamedTuple):
  """The worst rows that were found.

  Attributes:
    kappa: The coefficient of the rule on them.
    rows: float64 [n, d].
  """

  kappa: float
  rows: np.ndarray


def starts(
  num_clients: int, max_byzantine: int, dimension: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
  """Yields stacks without end: honest rows of random shape, and f rows as attacks send them.

  The attacks in turn: a small or large multiple of the honest mean against it, the honest
  mean less some standard deviations, rows far away, an honest row over and over, a
  tight group of honest rows far from the others with the f rows among them, and rows far away with
  one on the mean of all.
  """
  n, f = num_clients, max_byzantine
  while True:
    for kind in range(6):
      spread = np.exp(rng.normal(size=dimension))
      rows = rng.normal(size=(n, dimension)) * spread + 2 * rng.normal(size=dimension)
      honest = rows[f:]
      if kind == 0:
        rows[:f] = -rng.exponential() * honest.mean(axis=0)
      elif kind == 1:
        rows[:f] = honest.mean(axis=0) - 4 * rng.random() * honest.std(axis=0)
      elif kind == 2:
        rows[:f] += 10.0 ** rng.uniform(0, 3) * rng.normal(size=dimension)
      elif kind == 3:
        rows[:f] = honest[np.argmax(np.linalg.norm(honest - honest.mean(axis=0), axis=1))]
      elif kind == 4:
        lone = f + 1 + int(rng.integers(max(1, n - 3 * f)))
        rows[:lone] = rows[0] + 0.1 * rng.random() * (rows[:lone] - rows[0])
        rows[:lone] += 3 * rng.exponential() * rng.normal(size=dimension)
      elif f:
        rows[: f - 1] += 10.0 ** rng.uniform(2, 5) * rng.normal(size=dimension)
        rows[f - 1] = np.delete(rows, f - 1, axis=0).mean(axis=0)
      yield rows


def search(
  rule: Callable[[np.ndarray], Any],
  *,
  num_clients: int,
  max_byzantine: int,
  num_evaluations: int,
  seed: int,
  dimension: int = 3,
  against_top_eigenvalue: bool = False,
) -> Instance:
  """Returns the worst rows among random starts, half of the evaluations, and steps from the worst.

  Args:
    rule: Rows [n, d] to the aggregate [d].
    num_clients: n.
    max_byzantine: f, less than half of n.
    num_evaluations: How often the rule is applied, at least once.
    seed: Of all draws.
    dimension: d.
    against_top_eigenvalue: As in `robustness.empirical_kappa`.

  Raises:
    ValueError: If 2f >= n, num_evaluations is less than 1, or n over f is more than a million.
  """
  checks.whole_at_least('num_evaluations', num_evaluations, 1)
  rng = np.random.default_rng(seed)

  def kappa(rows: np.ndarray) -> float:
    return robustness.empirical_kappa(
      rule,
      rows,
      max_byzantine=max_byzantine,
      against_top_eigenvalue=against_top_eigenvalue,
    )

  worst = Instance(-1.0, np.zeros([num_clients, dimension]))
  drawn = starts(num_clients, max_byzantine, dimension, rng)
  num_starts = (num_evaluations + 1) // 2
  for rows in (next(drawn) for _ in range(num_starts)):
    # As the rule sees them: what float32 cannot tell apart is no finding.
    rows = rows.astype(np.float32).astype(np.float64)
    worst = max(worst, Instance(kappa(rows), rows), key=lambda found: found.kappa)
  step = 0.3
  for _ in range(num_evaluations - num_starts):
    moved = worst.rows.copy()
    some = rng.random(num_clients) < 0.4
    moved[some] += step * worst.rows.std() * rng.normal(size=(int(some.sum()), dimension))
    moved = moved.astype(np.float32).astype(np.float64)
    found = Instance(kappa(moved), moved)
    step *= 1.3 if found.kappa > worst.kappa else 0.95
    worst = max(worst, found, key=lambda instance: instance.kappa)
  return worst
