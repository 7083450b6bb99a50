"""What every rule promises, asked of every rule."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import (
  bulyan,
  caf,
  centered_clipping,
  comparative_gradient_elimination,
  coordinate_median,
  divide_and_conquer,
  foolsgold,
  geometric_median,
  krum,
  meamed,
  mean,
  minimum_diameter_averaging,
  phocas,
  sign_majority,
  smea,
  trimmed_mean,
)
from tff_robust.aggregators import rule as rule_lib

_F = 2
_D = 37


class Case(NamedTuple):
  """A rule at f = 2, and what it claims."""

  build: Callable[..., rule_lib.AggregationRule]
  options: Mapping[str, Any] = {}
  required_clients: int = 2 * _F + 1
  num_clients: int = 11
  moves_with_origin: bool = True
  moves_with_scale: bool = True
  has_budget: bool = True  # takes max_byzantine, and rejects more non-finite rows
  keeps_shared_row: bool = True
  often_ties: bool = False  # several answers are equally right, and row order decides
  drops_exactly: bool = True  # dropping t rows and lowering f by t changes nothing else
  survives: float = 1.0  # f far rows leave it within this many honest norms


CASES = {
  'krum': Case(krum.build_krum, required_clients=7),
  'multi_krum': Case(krum.build_multi_krum, {'num_selected': 4}, required_clients=7),
  'coordinate_median': Case(coordinate_median.build_coordinate_median),
  'trimmed_mean': Case(trimmed_mean.build_trimmed_mean),
  'meamed': Case(meamed.build_meamed),
  'phocas': Case(phocas.build_phocas),
  'bulyan': Case(bulyan.build_bulyan, required_clients=11, num_clients=13),
  'comparative_gradient_elimination': Case(
    comparative_gradient_elimination.build_comparative_gradient_elimination,
    moves_with_origin=False,
  ),
  'minimum_diameter_averaging': Case(
    minimum_diameter_averaging.build_minimum_diameter_averaging, often_ties=True
  ),
  'smea': Case(smea.build_smea),
  'caf': Case(caf.build_caf),
  'geometric_median': Case(geometric_median.build_geometric_median),
  'centered_clipping': Case(
    centered_clipping.build_centered_clipping,
    {'clip_radius': 3.0, 'num_iterations': 2},
    required_clients=1,
    moves_with_origin=False,
    moves_with_scale=False,
    has_budget=False,
    keeps_shared_row=False,
  ),
  'divide_and_conquer': Case(divide_and_conquer.build_divide_and_conquer),
  'foolsgold': Case(
    foolsgold.build_foolsgold,
    required_clients=2,
    moves_with_origin=False,
    has_budget=False,
    keeps_shared_row=False,
  ),
  'sign_majority': Case(
    sign_majority.build_sign_majority,
    required_clients=1,
    moves_with_origin=False,
    moves_with_scale=False,
    has_budget=False,
    keeps_shared_row=False,
  ),
}


def _rule(name, f=_F):
  case = CASES[name]
  budget = {'max_byzantine': f} if case.has_budget else {}
  return case.build(**budget, **case.options)


@functools.cache
def _traced(name, f):
  rule = _rule(name, f)

  @tf.function(input_signature=[tf.TensorSpec([None, _D]), tf.TensorSpec([2], tf.int64)])
  def apply(updates, seed):
    output = rule.apply(rule.init(_D), updates, tf.ones(tf.shape(updates)[:1]), seed)
    return output.aggregate, dict(output.measurements)

  return apply


@pytest.fixture(autouse=True, scope='module')
def _drop_graphs():
  yield
  _traced.cache_clear()


def _apply(name, rows, f=_F, seed=(1, 2)):
  aggregate, measurements = _traced(name, f)(
    tf.constant(rows, tf.float32), tf.constant(seed, tf.int64)
  )
  return aggregate.numpy(), measurements


def _rows(name, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=[CASES[name].num_clients, _D]).astype(np.float32)


every_rule = pytest.mark.parametrize('name', list(CASES))


@every_rule
def test_keeps_shape_dtype_and_basic_measurements(name):
  aggregate, measurements = _apply(name, _rows(name))
  assert aggregate.shape == (_D,)
  assert aggregate.dtype == np.float32
  assert np.isfinite(aggregate).all()
  assert measurements['num_nonfinite'].dtype == tf.int32
  assert measurements['num_nonfinite'] == 0
  assert measurements['round_rejected'].dtype == tf.bool
  assert not measurements['round_rejected']
  assert _rule(name).name == name


@pytest.mark.parametrize('name', [name for name, case in CASES.items() if not case.often_ties])
def test_does_not_depend_on_the_order_of_rows(name):
  rows = _rows(name)
  order = np.random.default_rng(1).permutation(len(rows))
  expected, _ = _apply(name, rows)
  np.testing.assert_allclose(_apply(name, rows[order])[0], expected, rtol=1e-5, atol=1e-6)


@every_rule
def test_moves_with_the_origin_where_claimed(name):
  rows, shift = _rows(name), np.linspace(-3, 3, _D, dtype=np.float32)
  expected = _apply(name, rows)[0] + shift
  moved, _ = _apply(name, rows + shift)
  assert np.allclose(moved, expected, rtol=1e-4, atol=1e-4) == CASES[name].moves_with_origin


@every_rule
def test_moves_with_the_scale_where_claimed(name):
  rows = _rows(name)
  expected = 8 * _apply(name, rows)[0]
  scaled, _ = _apply(name, 8 * rows)
  assert np.allclose(scaled, expected, rtol=1e-4, atol=1e-5) == CASES[name].moves_with_scale


@every_rule
def test_duplicates_are_no_obstacle(name):
  rows = _rows(name)
  rows[:6] = rows[0]
  aggregate, measurements = _apply(name, rows)
  assert np.isfinite(aggregate).all()
  assert not measurements['round_rejected']


@every_rule
@pytest.mark.parametrize('value', [1e6, 1e30, -3e38])
def test_survives_f_far_rows(name, value):
  rows = _rows(name)
  limit = np.linalg.norm(rows[_F:], axis=1).max()
  rows[:_F] = value
  aggregate, _ = _apply(name, rows)
  assert np.linalg.norm(aggregate.astype(np.float64)) <= CASES[name].survives * limit


def test_mean_does_not_survive_f_far_rows():
  rows = _rows('krum')
  limit = np.linalg.norm(rows[_F:], axis=1).max()
  rows[:_F] = 1e6
  assert np.linalg.norm(mean.mean(rows)) > 1e4 * limit


@every_rule
@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('num_bad', [1, 2])
def test_drops_nonfinite_rows_and_lowers_f(name, bad, num_bad):
  rows = _rows(name)
  rows[[4, 7][:num_bad], 5] = bad
  kept = np.isfinite(rows).all(1)
  aggregate, measurements = _apply(name, rows)
  assert measurements['num_nonfinite'] == num_bad
  assert not measurements['round_rejected']
  assert np.isfinite(aggregate).all()
  if 'selected' in measurements:
    assert not np.any(measurements['selected'].numpy()[~kept])
  if CASES[name].drops_exactly:
    lowered = _F - num_bad if CASES[name].has_budget else _F
    expected, _ = _apply(name, rows[kept], f=lowered)
    np.testing.assert_allclose(aggregate, expected, rtol=1e-5, atol=1e-6)


@every_rule
def test_rejects_the_round_when_too_few_rows_are_finite(name):
  rows = _rows(name)
  rows[: _F + 1 if CASES[name].has_budget else len(rows), 0] = np.nan
  aggregate, measurements = _apply(name, rows)
  np.testing.assert_array_equal(aggregate, np.zeros(_D))
  assert measurements['round_rejected']


@every_rule
def test_rejects_the_round_when_no_row_is_finite(name):
  aggregate, measurements = _apply(name, np.full([11, _D], np.nan))
  np.testing.assert_array_equal(aggregate, np.zeros(_D))
  assert measurements['round_rejected']
  assert measurements['num_nonfinite'] == 11


@every_rule
def test_is_defined_at_its_bound_and_not_below(name):
  case, rule = CASES[name], _rule(name)
  rows = _rows(name)[: case.required_clients]
  assert np.isfinite(_apply(name, rows)[0]).all()
  text = f'{name}.* needs at least {case.required_clients} clients'
  with pytest.raises(tf.errors.InvalidArgumentError, match=text):
    _apply(name, rows[1:])
  with pytest.raises(ValueError, match=text):
    rule.apply(rule.init(_D), rows[1:], np.ones(len(rows) - 1), tf.constant([0, 0], tf.int64))


@every_rule
def test_returns_shared_row_when_all_rows_agree(name):
  row = np.linspace(-1, 2, _D).astype(np.float32)
  aggregate, _ = _apply(name, np.tile(row, [11, 1]))
  assert np.allclose(aggregate, row, rtol=1e-6) == CASES[name].keeps_shared_row


def test_refuses_a_negative_number_of_byzantine_clients():
  for case in CASES.values():
    if case.has_budget:
      with pytest.raises(ValueError, match='max_byzantine=-1'):
        case.build(max_byzantine=-1, **case.options)
