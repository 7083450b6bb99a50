"""Rules on stacks that hypothesis draws: any n, f, d, scale and kind of rows."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from tff_robust import registry
from tff_robust.testing import rule_trial

NAMES = list(registry.AGGREGATORS)
KINDS = (
  'spread',
  'lattice',
  'duplicates',
  'colluders',
  'far',
  'astronomical',
  'around the mean',
  'nonfinite',
)
# What the geometric median smooths away and centred clipping leaves is no smaller.
EXPONENTS = strategies.integers(-3, 12)


@strategies.composite
def stacks(draw):
  """Draws f, how many rows more than demanded, and what to make of them."""
  return (
    draw(strategies.integers(0, 2)),
    draw(strategies.integers(0, 6)),
    draw(strategies.integers(1, 9)),
    draw(strategies.integers(0, 2**32 - 1)),
    draw(strategies.sampled_from(KINDS)),
    2.0 ** draw(EXPONENTS),
  )


def _rows(kind, n, f, d, seed, unit):
  """Returns rows whose last n - f are honest, and which rows are finite."""
  rng = np.random.default_rng(seed)
  rows = rng.normal(size=[n, d]) + rng.normal(size=d)
  if kind == 'lattice':
    rows = rng.integers(-1, 2, size=[n, d]).astype(np.float64)
  elif kind == 'duplicates':
    rows = rows[rng.integers(0, n, size=n)]
  rows = (unit * rows).astype(np.float32)
  if kind == 'colluders':
    rows[:f] = -0.5 * rows[f:].mean(axis=0)
  elif kind == 'far':
    rows[:f] = 1e6 * unit
  elif kind == 'astronomical':
    rows[:f] = 1e30
  elif kind == 'around the mean' and f:
    rows[: f - 1] = 1e6 * unit
    rows[f - 1] = np.delete(rows, f - 1, axis=0).mean(axis=0, dtype=np.float64)
  elif kind == 'nonfinite':
    rows[:f, rng.integers(d)] = rng.choice([np.nan, np.inf, -np.inf])
  return rows


@pytest.fixture(scope='module', params=NAMES)
def trial(request):
  """One rule, with a graph for each f and any d."""
  return rule_trial.RuleTrial(request.param, dimension=None)


def _try(trial, stack):
  f, more, d, seed, kind, unit = stack
  deviations = trial.entry.deviations
  # Some accept rounds without an honest majority, in which nobody promises anything.
  n = max(trial.required_clients(f), 2 * f + (1 if trial.reads_f else 3)) + more
  rows = _rows(kind, n, f, d, seed, unit)
  kept = rows[np.isfinite(rows).all(axis=1)]
  if kind == 'nonfinite' and 'drops_nonfinite_rows' in deviations:
    return
  aggregate, measured = trial.apply(rows, f)
  assert aggregate.shape == (d,)
  assert np.isfinite(aggregate).all()
  assert measured['num_nonfinite'] == len(rows) - len(kept)
  slack = 1e-5 * np.abs(kept).max() + 1e-30
  within = (kept.min(axis=0) - slack <= aggregate) & (aggregate <= kept.max(axis=0) + slack)
  assert within.all() or 'stays_within_the_rows' in deviations or measured['round_rejected']
  if kind in ('far', 'astronomical', 'around the mean') and 'survives_far_rows' not in deviations:
    # A rule that takes no f, or which has only its bound, owes no more than the order of size.
    limit = np.linalg.norm(rows[f:].astype(np.float64), axis=1).max()
    assert np.linalg.norm(aggregate.astype(np.float64)) <= 3 * limit + 3
  if kind in ('spread', 'colluders') and 'moves_with_the_scale' not in deviations:
    np.testing.assert_allclose(
      trial.apply(4 * rows, f).aggregate, 4 * aggregate, rtol=1e-3, atol=4e-3 * np.abs(kept).max()
    )
  # Where one other counts, as in Krum of 3, two rows that are each other's nearest tie; and on
  # a line the sum of the distances to all others is the same between the two middle rows.
  is_decided = n >= 2 * f + 5 and d > 1
  if kind == 'spread' and is_decided and 'keeps_row_order' not in deviations:
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_allclose(
      trial.apply(rows[order], f).aggregate, aggregate, rtol=1e-3, atol=1e-4 * np.abs(kept).max()
    )
  if kind in ('spread', 'colluders', 'nonfinite'):
    np.testing.assert_array_equal(trial.apply(rows, f).aggregate, aggregate)
  if kind in ('spread', 'colluders') and is_decided:
    # One answer, whether the rule knows n before it computes or not.
    np.testing.assert_allclose(
      trial.apply_eagerly(rows, f).aggregate,
      aggregate,
      rtol=1e-4,
      atol=1e-5 * np.abs(kept).max(),
    )
  if kind == 'spread' and is_decided and 'moves_with_the_origin' not in deviations:
    shift = (unit * np.random.default_rng(seed + 1).normal(size=d)).astype(np.float32)
    moved = trial.apply(rows + shift, f).aggregate
    np.testing.assert_allclose(moved - shift, aggregate, atol=1e-3 * np.abs(kept).max())


_SETTINGS = {
  'deadline': None,
  'derandomize': True,
  'suppress_health_check': [hypothesis.HealthCheck.function_scoped_fixture],
}


@hypothesis.settings(max_examples=12, **_SETTINGS)
@hypothesis.given(stack=stacks())
def test_holds_on_any_stack(trial, stack):
  _try(trial, stack)


@pytest.mark.slow
@hypothesis.settings(max_examples=120, **_SETTINGS)
@hypothesis.given(stack=stacks())
def test_holds_on_many_stacks(trial, stack):
  _try(trial, stack)
