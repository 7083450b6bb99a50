"""(f, kappa)-robustness: published bounds, and the coefficient measured on given rows.

A rule F is (f, kappa)-robust if for every n rows and every n - f of them, S:
|F - mean of S|^2 <= kappa * mean over S of |row - mean of S|^2. The error of
distributed gradient descent under heterogeneity is then proportional to kappa; above
1 the rule may err by more than honest rows differ among themselves.

Youssef Allouah, Sadegh Farhadkhani, Rachid Guerraoui, Nirupam Gupta, Rafael Pinot,
John Stephan, "Fixing by Mixing: A Recipe for Optimal Byzantine ML under
Heterogeneity", AISTATS 2023, definition 2, https://arxiv.org/abs/2302.01772.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tff_robust import checks

_MAX_SUBSETS = 1_000_000
_BLOCK_ENTRIES = 1_000_000


def lower_bound(*, num_clients: int, max_byzantine: int) -> float:
  """Returns f / (n - 2f): no rule has a smaller kappa (Allouah et al., proposition 6)."""
  _check_half(num_clients, max_byzantine)
  return max_byzantine / (num_clients - 2 * max_byzantine)


def trimmed_mean_bound(*, num_clients: int, max_byzantine: int) -> float:
  """Returns 6f / (n - 2f) * (1 + f / (n - 2f))."""
  ratio = lower_bound(num_clients=num_clients, max_byzantine=max_byzantine)
  return 6 * ratio * (1 + ratio)


def krum_bound(*, num_clients: int, max_byzantine: int) -> float:
  """Returns 6 (1 + f / (n - 2f)), for Krum that counts n - f - 1 others (`krum_byzfl`)."""
  return 6 * (1 + lower_bound(num_clients=num_clients, max_byzantine=max_byzantine))


def original_krum_bound(*, num_clients: int, max_byzantine: int) -> float:
  """Returns (n - f) / (n - 2f - 1) * (2 + 4 (n - f - 2) / (n - f - 1)), for Krum of its authors.

  Derived here, since that rule counts n - f - 2 others. With S the n - f rows, v their mean
  squared distance to their mean, and M the members of S among the selected row's neighbours,
  with that row itself if it is in S: M has n - 2f - 1 rows at least. The score of the selected
  row is at most the mean score over S, itself at most 2 (n - f) v (n - f - 2) / (n - f - 1), the
  smallest n - f - 2 of n - f - 1 distances within S. And the squared distance of the selected
  row to the mean is, for each row of M, at most twice its squared distance to that row plus
  twice that row's to the mean; averaging over M gives the bound.

  Raises:
    ValueError: If n < 2f + 2.
  """
  checks.at_least('num_clients', num_clients, 2 * max_byzantine + 2)
  honest = num_clients - max_byzantine
  return honest / (honest - max_byzantine - 1) * (2 + 4 * (honest - 2) / (honest - 1))


def median_bound(*, num_clients: int, max_byzantine: int) -> float:
  """Returns 4 (1 + f / (n - 2f))^2, for the coordinate-wise and the geometric median."""
  return 4 * (1 + lower_bound(num_clients=num_clients, max_byzantine=max_byzantine)) ** 2


def nearest_neighbor_mixing_bound(
  rule_bound: float, *, num_clients: int, max_byzantine: int
) -> float:
  """Returns 8f / (n - f) * (1 + kappa) for a rule with bound kappa on mixed rows.

  Smaller than kappa only when f is a small share of n: for large kappa, f < n / 9.
  """
  _check_half(num_clients, max_byzantine)
  return 8 * max_byzantine / (num_clients - max_byzantine) * (1 + rule_bound)


def smea_bound(*, num_clients: int, max_byzantine: int) -> float:
  """Returns 4f / (n - f) * (1 + f / (n - 2f))^2, against the top eigenvalue of Cov_S.

  A stronger notion: the mean squared distance, the trace of the covariance, is
  replaced by its largest eigenvalue. Youssef Allouah, Rachid Guerraoui, Nirupam Gupta,
  Rafael Pinot, John Stephan, "On the Privacy-Robustness-Utility Trilemma in
  Distributed Learning", ICML 2023, https://arxiv.org/abs/2302.04787.
  """
  ratio = lower_bound(num_clients=num_clients, max_byzantine=max_byzantine)
  return 4 * max_byzantine / (num_clients - max_byzantine) * (1 + ratio) ** 2


# Registry name to bound. For a rule that is absent none is known here; the mean has none at all
# with f > 0.
BOUNDS: Mapping[str, Callable[..., float]] = {
  'trimmed_mean': trimmed_mean_bound,
  'krum': original_krum_bound,
  'krum_byzfl': krum_bound,
  'geometric_median': median_bound,
  'coordinate_median': median_bound,
  'smea': smea_bound,
}
# The rule `geometric_median` is the geometric median if it iterates so far, as by default.
_ENOUGH_ITERATIONS = 1000
# Those whose bound is for the stronger notion.
AGAINST_TOP_EIGENVALUE = ('smea',)


def describe_bound(
  rule: str,
  *,
  num_clients: int,
  max_byzantine: int,
  mixed: bool = False,
  options: Mapping[str, Any] | None = None,
) -> str:
  """Returns one sentence that says what the bound of `rule` promises.

  Args:
    rule: A registry name.
    num_clients: n.
    max_byzantine: f.
    mixed: Whether nearest-neighbour mixing comes before the rule.
    options: All options of the rule. Of `geometric_median`, `tolerance`, `max_iterations` and
      `smoothing` say whether it is the geometric median, of which the bound is.
  """
  options = options or {}
  setting = f'f={max_byzantine} of {num_clients}'
  if max_byzantine == 0:
    return f'{rule} is told that nobody is Byzantine: no guarantee against a single one.'
  name = f'nearest_neighbor_mixing then {rule}' if mixed else rule
  if rule == 'mean':
    return f'{name} has no guarantee at {setting}: one client moves it anywhere.'
  against_top = rule in AGAINST_TOP_EIGENVALUE
  for option, least in (('tolerance', 1e-300), ('max_iterations', _ENOUGH_ITERATIONS)):
    if rule == 'geometric_median' and options.get(option, least) < least:
      return (
        f'No bound on kappa is known for {name} with {option}={options[option]}: it may end far'
        ' from the geometric median.'
      )
  if rule not in BOUNDS or (mixed and against_top):
    return f'No bound on kappa is known here for {name}; see the kappa measured in each round.'
  kappa = BOUNDS[rule](num_clients=num_clients, max_byzantine=max_byzantine)
  smoothing = options.get('smoothing')
  besides = ''
  if rule == 'geometric_median' and smoothing is not None:
    besides = f' (For updates that are large beside smoothing={smoothing:g}.)'
  spread = (
    'variance of honest updates in any one direction' if against_top else 'spread of honest updates'
  )
  if mixed:
    kappa = nearest_neighbor_mixing_bound(
      kappa, num_clients=num_clients, max_byzantine=max_byzantine
    )
  if kappa > 1:
    return (
      f'No guarantee for {name} at {setting}: kappa is at most {kappa:.3g}, so its error may'
      f' exceed the {spread}.{besides}'
    )
  return f'{name} at {setting} is robust with kappa at most {kappa:.3g}, of the {spread}.{besides}'


def empirical_kappa(
  rule: Callable[[Any], Any],
  updates: Any,
  *,
  max_byzantine: int,
  honest: Any = None,
  against_top_eigenvalue: bool = False,
) -> float:
  """Returns the smallest kappa with which `rule` is consistent on these rows.

  Args:
    rule: [n, d] -> [d].
    updates: [n, d], finite.
    max_byzantine: f.
    honest: Bool [n]. When given, the definition is tried on this one subset alone,
      whatever its size; otherwise on all subsets of n - f rows.
    against_top_eigenvalue: Compare with the top eigenvalue of the subset's covariance
      instead of its trace, as the definition for SMEA does.

  Returns:
    At least 0; infinity if all rows of a subset agree and the rule returns another, or if what
    it returns is not finite.

  Raises:
    ValueError: If there are more than a million subsets, or 2f >= n.
  """
  updates = np.asarray(updates)
  return measured_kappa(
    rule(updates),
    updates,
    max_byzantine=max_byzantine,
    honest=honest,
    against_top_eigenvalue=against_top_eigenvalue,
  )


def measured_kappa(
  aggregate: Any,
  updates: Any,
  *,
  max_byzantine: int,
  honest: Any = None,
  against_top_eigenvalue: bool = False,
) -> float:
  """Returns what `empirical_kappa` returns, from an aggregate [d] that is known."""
  rows = np.asarray(updates, np.float64)
  num_clients = len(rows)
  aggregate = np.asarray(aggregate, np.float64)
  if not np.isfinite(aggregate).all():
    return math.inf
  # The error is right where it is small, and the spread wherever the aggregate is.
  near_aggregate, near_rows = _gram(rows, aggregate), _gram(rows, np.median(rows, axis=0))
  worst = 0.0
  for members in _subsets(num_clients, max_byzantine, honest):
    size = members.shape[1]
    pairs = members[:, :, None], members[:, None, :]
    from_aggregate, from_rows = near_aggregate[pairs], near_rows[pairs]
    errors = from_aggregate.mean(axis=(1, 2))
    row_means = from_rows.mean(axis=2)
    centered = from_rows - row_means[:, :, None] - row_means[:, None, :]
    centered += row_means.mean(axis=1)[:, None, None]
    if against_top_eigenvalue:
      spread = np.linalg.eigvalsh(centered)[:, -1] / size
    else:
      spread = np.trace(centered, axis1=1, axis2=2) / size
    # Below the rounding of the Gram matrix, both are zero.
    errors = np.where(errors <= _rounding(from_aggregate), 0.0, errors)
    spread = np.where(spread <= _rounding(from_rows), 0.0, spread)
    with np.errstate(divide='ignore', invalid='ignore'):
      ratios = np.where(errors == 0, 0.0, errors / spread)
    worst = max(worst, float(ratios.max()))
  return worst


def _gram(rows: np.ndarray, origin: np.ndarray) -> np.ndarray:
  """Returns the inner products of rows seen from an origin, float64 [n, n]."""
  offsets = rows - origin
  return np.asarray(offsets @ offsets.T)


def _rounding(blocks: np.ndarray) -> np.ndarray:
  """Returns how far the mean of entries of Gram matrices may be off, float64 [subsets]."""
  sizes = np.trace(blocks, axis1=1, axis2=2) / blocks.shape[1]
  return np.asarray(64 * np.finfo(np.float64).eps * sizes)


def _subsets(num_clients: int, max_byzantine: int, honest: Any) -> Iterator[np.ndarray]:
  """Yields blocks of subsets, int [subsets, size], of bounded memory."""
  if honest is not None:
    members = np.flatnonzero(np.asarray(honest, bool))
    if not len(members):
      raise ValueError('honest has no True entry; at least one row must be honest.')
    yield members[None, :]
    return
  _check_half(num_clients, max_byzantine)
  total = math.comb(num_clients, max_byzantine)
  if total > _MAX_SUBSETS:
    raise ValueError(
      f'max_byzantine={max_byzantine} of {num_clients} rows gives {total} subsets, more than'
      f' {_MAX_SUBSETS}; pass honest= to measure on one subset.'
    )
  size = num_clients - max_byzantine
  remaining = itertools.combinations(range(num_clients), size)
  while block := list(itertools.islice(remaining, 1 + _BLOCK_ENTRIES // size**2)):
    yield np.array(block)


def _check_half(num_clients: int, max_byzantine: int) -> None:
  checks.at_least('max_byzantine', max_byzantine, 0)
  if 2 * max_byzantine >= num_clients:
    raise ValueError(
      f'max_byzantine={max_byzantine} must be less than half of the {num_clients} clients;'
      ' lower it.'
    )
