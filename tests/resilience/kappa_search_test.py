"""No instance that is found exceeds a published bound on kappa; the mean exceeds them all."""

import numpy as np
import pytest
import tensorflow as tf

from tff_robust import registry
from tff_robust.aggregators import rule
from tff_robust.preaggregators import nearest_neighbor_mixing, preaggregator
from tff_robust.resilience import kappa_search, robustness
from tff_robust.testing import rule_trial

N, F = 9, 2
SIZES = {'num_clients': N, 'max_byzantine': F}
BOUNDS = robustness.BOUNDS


def _search(apply, *, name='', num_evaluations=100, seed=0):
  return kappa_search.search(
    apply,
    **SIZES,
    num_evaluations=num_evaluations,
    seed=seed,
    against_top_eigenvalue=name in robustness.AGAINST_TOP_EIGENVALUE,
  )


@pytest.mark.parametrize('name', BOUNDS)
def test_empirical_kappa_is_at_most_the_bound(name):
  trial = rule_trial.RuleTrial(name, dimension=3)
  found = _search(lambda rows: trial.apply(rows, F).aggregate, name=name)
  lower = robustness.lower_bound(**SIZES)
  assert 0.9 * lower < found.kappa <= BOUNDS[name](**SIZES)


@pytest.mark.parametrize('name', [n for n in BOUNDS if n not in robustness.AGAINST_TOP_EIGENVALUE])
def test_empirical_kappa_is_at_most_the_bound_after_mixing(name):
  mixing = nearest_neighbor_mixing.build_nearest_neighbor_mixing(max_byzantine=F)
  mixed = preaggregator.compose([mixing], rule_trial.RuleTrial(name).rule(F))
  assert isinstance(mixed, rule.AggregationRule)

  @tf.function(input_signature=[tf.TensorSpec([None, 3])])
  def apply(rows):
    return mixed.apply((), rows, tf.ones(tf.shape(rows)[:1]), tf.constant([1, 2], tf.int64))[1]

  found = _search(lambda rows: apply(rows.astype(np.float32)).numpy())
  limit = robustness.nearest_neighbor_mixing_bound(BOUNDS[name](**SIZES), **SIZES)
  assert 0.9 * robustness.lower_bound(**SIZES) < found.kappa <= limit


def test_the_mean_exceeds_every_bound():
  found = _search(lambda rows: rows.mean(axis=0))
  assert found.kappa > 100 * max(bound(**SIZES) for bound in BOUNDS.values())


def test_the_search_improves_on_its_starts_and_repeats_itself():
  def median(rows):
    return np.median(rows, axis=0)

  first, again = _search(median, num_evaluations=200), _search(median, num_evaluations=200)
  np.testing.assert_array_equal(first.rows, again.rows)
  assert robustness.empirical_kappa(median, first.rows, max_byzantine=F) == first.kappa
  drawn = kappa_search.starts(N, F, 3, np.random.default_rng(0))
  starts = [robustness.empirical_kappa(median, next(drawn), max_byzantine=F) for _ in range(100)]
  assert first.kappa > max(starts)


def test_finds_the_rule_that_returns_nan_on_some_rows():
  found = _search(lambda rows: np.where(rows.max() > 50, np.nan, rows.mean(axis=0)))
  assert found.kappa == np.inf
  assert found.rows.max() > 50
  with pytest.raises(ValueError, match='num_evaluations=0 must be at least 1'):
    _search(np.mean, num_evaluations=0)


def test_every_rule_with_a_bound_is_in_the_registry():
  assert set(BOUNDS) <= set(registry.AGGREGATORS)
  assert set(robustness.AGAINST_TOP_EIGENVALUE) <= set(robustness.BOUNDS)
