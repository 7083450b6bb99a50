"""Promises of every rule on rows that are as they should be: form, oracle and symmetries.

Each raises AssertionError where it is broken; `rule_contract` lists them.
"""

import itertools

import numpy as np

from tff_robust.testing import rule_cases as cases
from tff_robust.testing import rule_trial, state_form

Trial = rule_trial.RuleTrial


def answers_in_form(trial: Trial) -> None:
  """The aggregate is float32 [d] and finite, and the two basic measurements are right."""
  for seed in cases.SEEDS:
    rows = cases.stack(trial, seed)
    aggregate, measured = trial.apply(rows, cases.F)
    name = trial.rule(cases.F).name
    cases.demand(name == trial.name, trial, rows, f'it calls itself {name!r}.')
    cases.demand(
      aggregate.shape == rows.shape[1:] and aggregate.dtype == np.float32,
      trial,
      rows,
      f'the aggregate is {aggregate.dtype} {list(aggregate.shape)}, not float32 [d].',
      seed=seed,
    )
    for key, dtype in (('num_nonfinite', np.int32), ('round_rejected', np.bool_)):
      found = measured.get(key)
      cases.demand(
        found is not None and found.dtype == dtype and found.shape == () and not found,
        trial,
        rows,
        f'{key} is {found!r} for finite rows, not a scalar {np.dtype(dtype)} of value 0.',
        seed=seed,
      )
    cases.demand(bool(np.isfinite(aggregate).all()), trial, rows, 'the aggregate is not finite.')
    selected = measured.get('selected', np.zeros(len(rows), np.bool_))
    cases.demand(
      selected.shape == (len(rows),) and selected.dtype == np.bool_,
      trial,
      rows,
      f'selected is {selected.dtype} {list(selected.shape)}, not bool [n].',
      seed=seed,
    )


def keeps_its_state(trial: Trial) -> None:
  """Its state keeps its form, is all that it remembers, and outlives a round that is rejected."""
  first, last = (cases.stack(trial, seed) for seed in (0, 1))
  start = state = trial.first_state(cases.F, first.shape[1])
  answers = []
  for rows in (first, np.full_like(first, np.nan), last):
    following, answer = trial.follow(state, rows, cases.F)
    cases.demand(
      state_form.is_kept(state, following),
      trial,
      rows,
      'its state changes structure, shape or dtype from one round to the next.',
    )
    answers.append(answer)
    state = following
  cases.demand(
    bool(np.isfinite(answers[-1].aggregate).all())
    and not answers[-1].measurements['round_rejected'],
    trial,
    last,
    'a round that was rejected spoils the next; keep what is not finite out of the state.',
    seed=1,
  )
  again = trial.follow(start, first, cases.F)[1].aggregate
  cases.demand(
    again.tobytes() == answers[0].aggregate.tobytes(),
    trial,
    first,
    'from the same state, the same rows give another aggregate some rounds later, off by'
    f' {cases.off(again, answers[0].aggregate)}; remember in the state alone.',
  )


def equals_its_eager_self(trial: Trial) -> None:
  """Traced without knowing n, the rule answers as it does eagerly."""
  rows = cases.stack(trial, 0)
  traced, eager = trial.apply(rows, cases.F), trial.apply_eagerly(rows, cases.F)
  cases.demand(
    cases.near(traced.aggregate, eager.aggregate, 1e-5, 1e-6),
    trial,
    rows,
    f'traced and eager answers differ by {cases.off(traced.aggregate, eager.aggregate)}.',
  )
  cases.demand(
    set(traced.measurements) == set(eager.measurements),
    trial,
    rows,
    'traced and eager answers measure different things.',
  )


def repeats_itself(trial: Trial) -> None:
  """The same rows and the same seed give the same aggregate, bit for bit."""
  rows = cases.stack(trial, 0)
  first, second = (
    trial.apply(rows, cases.F).aggregate,
    trial.apply(rows, cases.F).aggregate,
  )
  cases.demand(
    first.tobytes() == second.tobytes(),
    trial,
    rows,
    f'two answers with one seed differ by {cases.off(first, second)}; draw only from the seed.',
  )


def keeps_row_order(trial: Trial) -> None:
  """The order of rows does not matter, whether f of them are outliers or not."""
  for f, factor in itertools.product(range(cases.F + 1), (1, 3)):
    for seed in cases.SEEDS:
      rows = cases.stack(trial, seed, f)
      rows[:f] *= factor
      order = np.random.default_rng(seed + 100).permutation(len(rows))
      expected, found = trial.apply(rows, f).aggregate, trial.apply(rows[order], f).aggregate
      cases.demand(
        cases.near(found, expected, 1e-5, 1e-6),
        trial,
        rows,
        f'rows in another order move the aggregate by {cases.off(found, expected)}.',
        f=f,
        seed=seed,
      )


def moves_with_the_origin(trial: Trial) -> None:
  """A shift of all rows shifts the aggregate."""
  for seed in cases.SEEDS:
    rows = cases.stack(trial, seed)
    shift = np.linspace(-3, 3, rows.shape[1], dtype=np.float32)
    expected, found = (
      trial.apply(rows, cases.F).aggregate + shift,
      trial.apply(rows + shift, cases.F).aggregate,
    )
    cases.demand(
      cases.near(found, expected, 1e-4, 1e-4),
      trial,
      rows,
      f'all rows shifted, the aggregate is off its own shift by {cases.off(found, expected)}.',
      seed=seed,
    )


def moves_with_the_scale(trial: Trial) -> None:
  """A factor on all rows is a factor on the aggregate."""
  for seed in cases.SEEDS:
    rows = cases.stack(trial, seed)
    expected, found = (
      8 * trial.apply(rows, cases.F).aggregate,
      trial.apply(8 * rows, cases.F).aggregate,
    )
    cases.demand(
      cases.near(found, expected, 1e-4, 1e-5),
      trial,
      rows,
      f'all rows times 8, the aggregate is off 8 times itself by {cases.off(found, expected)}.',
      seed=seed,
    )


def ignores_weights(trial: Trial) -> None:
  """What clients claim about their number of examples plays no part."""
  rows = cases.stack(trial, 0)
  claimed = np.linspace(1, 1000, len(rows))
  expected, found = (
    trial.apply(rows, cases.F),
    trial.apply(rows, cases.F, weights=claimed),
  )
  cases.demand(
    cases.near(found.aggregate, expected.aggregate, 1e-6, 1e-7),
    trial,
    rows,
    f'claimed weights move the aggregate by {cases.off(found.aggregate, expected.aggregate)}.',
  )


def returns_a_shared_row(trial: Trial) -> None:
  """Where all rows agree, the aggregate is that row."""
  rows = np.tile(cases.stack(trial, 0)[:1], [trial.num_rows(cases.F), 1])
  found = trial.apply(rows, cases.F).aggregate
  cases.demand(
    cases.near(found, rows[0], 1e-6, 1e-7),
    trial,
    rows,
    f'all rows agree, and the aggregate is off them by {cases.off(found, rows[0])}.',
  )


def stays_within_the_rows(trial: Trial) -> None:
  """No coordinate leaves the range of the rows, with duplicates and on lattices full of ties."""
  for seed in cases.SEEDS:
    rng = np.random.default_rng(seed)
    rows = cases.stack(trial, seed)
    lattice = rng.integers(-1, 2, size=rows.shape).astype(np.float32)
    lattice[0] = 1.0  # No rule that compares directions gets only zeros.
    duplicates = rows.copy()
    duplicates[: len(rows) // 2] = rows[0]
    for case in (rows, rows + 20, lattice, duplicates):
      aggregate, measured = trial.apply(case, cases.F)
      slack = 1e-5 * np.abs(case).max()
      low, high = case.min(axis=0) - slack, case.max(axis=0) + slack
      cases.demand(
        bool(np.all((low <= aggregate) & (aggregate <= high))) and not measured['round_rejected'],
        trial,
        case,
        'a coordinate of the aggregate is outside of the range of the rows, or the round is'
        ' rejected.',
        seed=seed,
      )


def equals_its_oracle(trial: Trial) -> None:
  """The rule answers as its oracle in float64 does, where its row of the registry names one."""
  for f in range(cases.F + 1):
    for seed in cases.SEEDS:
      rows = cases.stack(trial, seed, f)
      rows[:f] *= 3
      expected = trial.oracle(rows, f)
      if expected is None:
        return
      found = trial.apply(rows, f).aggregate
      cases.demand(
        cases.near(found, expected, 1e-4, 1e-5),
        trial,
        rows,
        f'the aggregate is off the oracle by {cases.off(found, expected)}.',
        f=f,
        seed=seed,
      )
