"""Promises of every rule on rows and numbers that are not as they should be.

Each raises AssertionError where it is broken; `rule_contract` lists them.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tff_robust.testing import rule_cases as cases
from tff_robust.testing import rule_trial

Trial = rule_trial.RuleTrial


def _scattered(rows: np.ndarray, f: int, value: float) -> np.ndarray:
  """Returns rows of which f are far, each in a direction of its own and by a tenth of the last."""
  rows = rows.copy()
  for i in range(f):
    rows[i] = 0.0
    rows[i, i % rows.shape[1]] = value / 10.0**i
  return rows


def _around_the_mean(rows: np.ndarray, f: int, value: float) -> np.ndarray:
  """Returns rows of which f - 1 are far, and one is the mean of all."""
  rows = rows.copy()
  rows[: f - 1] = value
  rows[f - 1] = 0.0
  rows[f - 1] = rows.sum(axis=0, dtype=np.float64) / (len(rows) - 1)
  return rows


def survives_far_rows(trial: Trial) -> None:
  """With f rows at 1e6, at 1e30 and near the largest float32, the aggregate stays short.

  It is at most twice as long as the longest of the others, also in the smallest round for
  which the rule says that it is defined, where the far rows differ from each other in direction
  and size, and where one of them lies on the mean of all.
  """
  for f, value, seed in itertools.product(range(1, cases.F + 1), cases.FAR, cases.SEEDS):
    for num_rows in (trial.num_rows(f), max(trial.required_clients(f), 2 * f + 1)):
      rows = cases.stack(trial, seed, f)[:num_rows]
      limit = np.linalg.norm(rows[f:], axis=1).max()
      alike = rows.copy()
      alike[:f] = value
      stacks = {'': alike}
      if f > 1:
        stacks[' and less, apart from each other,'] = _scattered(rows, f, value)
        stacks[', one of them moved to the mean of all,'] = _around_the_mean(rows, f, value)
      for words, far in stacks.items():
        found = float(np.linalg.norm(trial.apply(far, f).aggregate.astype(np.float64)))
        cases.demand(
          found <= 2 * limit,
          trial,
          far,
          f'{f} rows at {value:g}{words} give an aggregate of norm {found:.3g}, more than twice'
          f' that of the longest other, {limit:.3g}.',
          f=f,
          seed=seed,
        )


def drops_nonfinite_rows(trial: Trial) -> None:
  """Up to f rows with a NaN or an infinity are counted and never selected or averaged."""
  for rows, places, words in cases.spoiled_stacks(trial):
    aggregate, measured = trial.apply(rows, cases.F)
    cases.demand(bool(np.isfinite(aggregate).all()), trial, rows, f'{words} spoil the aggregate.')
    cases.demand(
      measured['num_nonfinite'] == len(places) and not measured['round_rejected'],
      trial,
      rows,
      f'{words} are counted as {measured["num_nonfinite"]}, or reject the round.',
    )
    chosen = measured.get('selected', np.zeros(len(rows), np.bool_))
    cases.demand(not chosen[places].any(), trial, rows, f'{words} are selected.')


def lowers_f_by_what_it_drops(trial: Trial) -> None:
  """Non-finite rows, t of them, leave the rule of the other n - t rows at f - t."""
  for rows, places, words in cases.spoiled_stacks(trial):
    kept = np.isfinite(rows).all(axis=1)
    lowered = cases.F - len(places) if trial.reads_f else cases.F
    found, expected = (
      trial.apply(rows, cases.F).aggregate,
      trial.apply(rows[kept], lowered).aggregate,
    )
    cases.demand(
      cases.near(found, expected, 1e-5, 1e-6),
      trial,
      rows,
      f'{words} are not as if they were absent and f lower by {len(places)}: off by'
      f' {cases.off(found, expected)}.',
    )


def rejects_hopeless_rounds(trial: Trial) -> None:
  """With more than f non-finite rows, or none but these, the aggregate is zero and says so."""
  rows = cases.stack(trial, 0)
  for count in dict.fromkeys((cases.F + 1 if trial.reads_f else len(rows), len(rows))):
    spoiled = rows.copy()
    spoiled[:count, 0] = np.nan
    aggregate, measured = trial.apply(spoiled, cases.F)
    cases.demand(
      not aggregate.any() and bool(measured['round_rejected']),
      trial,
      spoiled,
      f'{count} rows that are not finite must reject the round: round_rejected=True and zeros.',
    )
    cases.demand(
      measured['num_nonfinite'] == count,
      trial,
      spoiled,
      f'{count} rows are not finite, and num_nonfinite={measured["num_nonfinite"]}.',
    )


def is_defined_from_its_bound(trial: Trial) -> None:
  """At `required_clients` the rule answers; with one client less it refuses by name."""
  for f in range(cases.F + 1):
    required = trial.required_clients(f)
    rows = cases.stack(trial, f, f)[:required]
    cases.demand(
      bool(np.isfinite(trial.apply(rows, f).aggregate).all()),
      trial,
      rows,
      'the aggregate is not finite at the smallest round that is allowed.',
      f=f,
    )
    if required == 1:
      continue
    attempts: tuple[tuple[Callable[..., Any], type[Exception]], ...] = (
      (trial.apply, tf.errors.InvalidArgumentError),
      (trial.apply_eagerly, ValueError),
    )
    for apply, error in attempts:
      try:
        apply(rows[1:], f)
      except error as caught:
        text = str(caught)
      else:
        text = 'nothing'
      said = trial.name in text and f'at least {required} clients' in text
      cases.demand(
        said,
        trial,
        rows[1:],
        f'one client too few must raise {error.__name__} with the name of the rule and "at least'
        f' {required} clients"; it raised: {text[:200]}.',
        f=f,
      )


def refuses_a_negative_f(trial: Trial) -> None:
  """`max_byzantine=-1` is refused when the rule is built."""
  if not trial.reads_f:
    return
  builder_arguments = {**trial.options(0), 'max_byzantine': -1}
  try:
    trial.build(builder_arguments)
  except ValueError as caught:
    if 'max_byzantine=-1' in str(caught):
      return
  raise AssertionError(
    f'rule {trial.name!r}: its builder must refuse max_byzantine=-1 with a ValueError that names'
    ' it, as `checks.at_least` does.'
  )
