"""The stacks of rows on which the contract of rules is tried, and how a breach is told."""

from collections.abc import Iterator

import numpy as np

from tff_robust.testing import rule_trial

# Declared Byzantine clients of most stacks.
F = 2
SEEDS = range(3)
FAR = (1e6, 1e30, -3e38)
NOT_FINITE = (np.nan, np.inf, -np.inf)

Trial = rule_trial.RuleTrial


def stack(trial: Trial, seed: int, f: int = F) -> np.ndarray:
  """Returns rows around a mean that is not zero, float32 [n, d]."""
  rng = np.random.default_rng(seed)
  width = trial.dimension or 37
  noise = rng.normal(size=[trial.num_rows(f), width])
  return (noise + 0.3 * rng.normal(size=width)).astype(np.float32)


def demand(
  kept: bool, trial: Trial, rows: np.ndarray, sentence: str, *, f: int = F, seed: int = 0
) -> None:
  """Raises AssertionError with a sentence about a stack unless a promise is kept on it."""
  if not kept:
    declared = f'f={f}, ' if trial.reads_f else ''
    raise AssertionError(
      f'rule {trial.name!r} with {declared}n={len(rows)}, d={rows.shape[1]}, stack {seed}:'
      f' {sentence}'
    )


def near(found: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> bool:
  """Tells whether two aggregates are the same up to rounding."""
  return np.allclose(found, expected, rtol=rtol, atol=atol)


def off(found: np.ndarray, expected: np.ndarray) -> str:
  """Returns the largest difference of two aggregates, for a sentence."""
  with np.errstate(invalid='ignore', over='ignore'):
    return f'{np.max(np.abs(found.astype(np.float64) - expected)):.3g}'


def spoiled_stacks(trial: Trial) -> Iterator[tuple[np.ndarray, list[int], str]]:
  """Yields stacks with up to f rows that are not finite, which these are, and so in words."""
  for seed, bad in zip(SEEDS, NOT_FINITE, strict=True):
    for places in ([-1], [-1, 4]):
      rows = stack(trial, seed)
      rows[places, -1] = bad
      yield rows, places, f'{len(places)} rows that hold {bad}'
