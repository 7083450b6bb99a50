import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import krum, rule
from tff_robust.attacks import adaptive_krum, attack, optimal_attack

SEED = tf.constant([5, 6], tf.int64)


def _honest(seed=0, rows=14, columns=30, signal=0.4):
  generator = np.random.default_rng(seed)
  return (generator.normal(size=(rows, columns)) + signal).astype(np.float32)


def _trimmed_mean(num_trimmed):
  def apply(state, updates, weights, seed):
    del weights, seed
    ordered = tf.sort(updates, axis=0)[num_trimmed : tf.shape(updates)[0] - num_trimmed]
    return rule.RuleOutput(state, tf.reduce_mean(ordered, axis=0), {})

  return rule.AggregationRule('trimmed', lambda dimension: (), apply)


def _counting_rule():
  """A rule with state: it counts its rounds and returns their number times the mean."""

  def apply(state, updates, weights, seed):
    del weights, seed
    count = state + 1
    return rule.RuleOutput(count, tf.cast(count, tf.float32) * tf.reduce_mean(updates, axis=0), {})

  return rule.AggregationRule('counting', lambda dimension: tf.zeros([], tf.int64), apply)


def _send(built, honest, num_byzantine, state=()):
  view = attack.View(
    tf.constant(honest), tf.zeros([num_byzantine, honest.shape[1]]), tf.constant(0, tf.int64)
  )
  return tf.function(built.apply, autograph=False)(state, view, SEED)


def _harm(applied, honest, sent):
  output = applied.apply((), tf.concat([honest, sent], 0), None, SEED).aggregate
  return np.linalg.norm(output.numpy() - honest.mean(axis=0))


def test_finds_about_the_best_factor_against_a_trimmed_mean():
  pipeline, honest = _trimmed_mean(5), _honest()
  built = optimal_attack.build_optimal_ipm(rule=pipeline)
  _, sent = _send(built, honest, 5)
  center = honest.mean(axis=0)
  factors = -(sent.numpy() @ center) / (center @ center)
  np.testing.assert_allclose(sent, -factors[:, None] * center, rtol=1e-4, atol=1e-5)
  on_grid = [
    _harm(pipeline, honest, np.tile(-np.float32(epsilon) * center, (5, 1)))
    for epsilon in np.geomspace(0.01, 100, 60)
  ]
  assert _harm(pipeline, honest, sent) > 0.98 * max(on_grid)


def test_optimal_alie_steps_in_standard_deviations():
  pipeline, honest = _trimmed_mean(5), _honest()
  _, sent = _send(optimal_attack.build_optimal_alie(rule=pipeline), honest, 5)
  steps = (honest.mean(axis=0) - sent.numpy()) / honest.std(axis=0)
  assert steps.std() < 1e-3
  center = honest.mean(axis=0)
  on_grid = [
    _harm(pipeline, honest, np.tile(center - np.float32(z) * honest.std(axis=0), (5, 1)))
    for z in np.geomspace(0.01, 100, 60)
  ]
  assert _harm(pipeline, honest, sent) > 0.98 * max(on_grid)


def test_harms_krum_at_least_as_much_as_a_fixed_factor():
  pipeline = krum.build_krum(max_byzantine=11)
  for seed in range(3):
    honest = _honest(seed, signal=0.1)
    _, sent = _send(optimal_attack.build_optimal_ipm(rule=pipeline, num_evaluations=40), honest, 11)
    fixed = np.tile(-0.1 * honest.mean(axis=0), (11, 1)).astype(np.float32)
    control = _harm(pipeline, honest, fixed)
    tailored = adaptive_krum.adaptive_krum(honest, num_byzantine=11, max_byzantine=11)
    assert _harm(pipeline, honest, sent) > control
    assert _harm(pipeline, honest, tailored) > control


def test_needs_the_messages_that_the_rule_will_see():
  built = optimal_attack.build_optimal_ipm(rule=_trimmed_mean(1))
  assert built.knowledge_modes == ('honest_messages',)


def test_advances_the_state_of_the_rule_by_one_trial_a_round():
  built = optimal_attack.build_optimal_ipm(rule=_counting_rule(), num_evaluations=5)
  state, _ = _send(built, _honest(), 5, state=tf.constant(3, tf.int64))
  assert int(state) == 4


@pytest.mark.parametrize(('rows', 'num_byzantine'), [(14, 0), (0, 3)])
def test_tries_nothing_when_there_is_nothing_to_do(rows, num_byzantine):
  built = optimal_attack.build_optimal_ipm(rule=krum.build_krum(max_byzantine=3))
  _, sent = _send(built, _honest(rows=rows), num_byzantine)
  np.testing.assert_array_equal(sent, np.zeros((num_byzantine, 30)))


def test_refuses_to_search_without_an_evaluation():
  with pytest.raises(ValueError, match='attack_evaluations=0'):
    optimal_attack.build_optimal_alie(rule=_trimmed_mean(1), num_evaluations=0)
