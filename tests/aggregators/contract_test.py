"""What every rule promises, asked of every rule of the registry, and of rules that lie."""

import pytest
import tensorflow as tf

from tff_robust import registry
from tff_robust.aggregators import demands, rule
from tff_robust.testing import rule_contract, rule_trial


@pytest.fixture(scope='module', params=registry.AGGREGATORS)
def trial(request):
  """One rule with its graphs, which live as long as its promises are checked."""
  return rule_trial.RuleTrial(request.param)


@pytest.mark.parametrize('promise', rule_contract.PROMISES)
def test_keeps_its_promises_and_shows_its_deviations(trial, promise):
  rule_contract.check(trial, promise)


def test_every_rule_has_an_oracle():
  assert all(entry.oracle for entry in registry.AGGREGATORS.values())


# Rules with one mistake each.


def _build(function, required):
  def build(*, max_byzantine):
    def apply(state, updates, weights, seed):
      updates = demands.enough_clients(
        updates, rule='liar', max_byzantine=max_byzantine, required=required(max_byzantine)
      )
      aggregate = function(updates, max_byzantine, weights, seed)
      bad = tf.math.count_nonzero(~demands.finite_rows(updates), dtype=tf.int32)
      measured = {'num_nonfinite': bad, 'round_rejected': bad > max_byzantine}
      return rule.RuleOutput(state, tf.where(measured['round_rejected'], 0.0, aggregate), measured)

    if max_byzantine < 0:
      raise ValueError(f'max_byzantine={max_byzantine} must be at least 0.')
    return rule.AggregationRule('liar', lambda dimension: (), apply)

  return build


def _trimmed(updates, f):
  return tf.reduce_mean(tf.sort(updates, axis=0)[f : tf.shape(updates)[0] - f], axis=0)


def _trimmed_late(updates, f, weights, seed):
  return _trimmed(updates, tf.maximum(f - 1, 0))


def _by_order(updates, f, weights, seed):
  return _trimmed(updates, f) + 1e-3 * (updates[0] - updates[1])


def _nan_wins(updates, f, weights, seed):
  scores = tf.norm(updates - _trimmed(updates, f), axis=1)
  scores = tf.where(tf.math.is_nan(scores), -1.0, scores)
  return updates[tf.argmin(scores)]


def _by_weight(updates, f, weights, seed):
  return updates[tf.argmax(weights)]


def _from_zero(updates, f, weights, seed):
  return _trimmed(updates, f) * 0.9


def _unseeded(updates, f, weights, seed):
  return _trimmed(updates, f) * (1 + 0.1 * tf.random.uniform([]))


def _absolute(updates, f, weights, seed):
  return _trimmed(updates, f) + 0.01


def _eager(updates, f, weights, seed):
  return _trimmed(updates, f if updates.shape[0] else f + 1)


def _zeros_for_nan(updates, f, weights, seed):
  return _trimmed(tf.where(tf.math.is_finite(updates), updates, 0.0), f)


def _majority(f):
  return 2 * f + 1


def _one_too_few(f):
  return 2 * f


@pytest.mark.parametrize(
  ('function', 'required', 'promise', 'words'),
  [
    (_trimmed_late, _majority, 'survives_far_rows', '1 rows at 1e+06 give an aggregate of norm'),
    (_by_order, _majority, 'keeps_row_order', 'rows in another order move the aggregate'),
    (_nan_wins, _majority, 'drops_nonfinite_rows', '1 rows that hold nan spoil the aggregate'),
    (_by_weight, _majority, 'ignores_weights', 'claimed weights move the aggregate'),
    (_from_zero, _majority, 'moves_with_the_origin', 'off its own shift'),
    (_from_zero, _majority, 'returns_a_shared_row', 'all rows agree'),
    (_absolute, _majority, 'moves_with_the_scale', 'off 8 times itself'),
    (_absolute, _majority, 'equals_its_oracle', 'off the oracle by 0.01'),
    (_from_zero, _majority, 'stays_within_the_rows', 'outside of the range'),
    (_eager, _majority, 'equals_its_eager_self', 'traced and eager answers differ'),
    (_zeros_for_nan, _majority, 'lowers_f_by_what_it_drops', 'not as if they were absent'),
    (_unseeded, _majority, 'repeats_itself', 'draw only from the seed'),
    (_trimmed_late, _one_too_few, 'is_defined_from_its_bound', 'it raised: nothing'),
  ],
)
def test_a_planted_mistake_is_found_and_named(monkeypatch, function, required, promise, words):
  entry = registry.Entry(
    'planted:build',
    {'max_byzantine': 'max_byzantine'},
    {},
    lambda options: 2 * options['max_byzantine'] + 1,
    oracle=registry.AGGREGATORS['trimmed_mean'].oracle,
  )
  monkeypatch.setitem(registry.AGGREGATORS, 'liar', entry)
  build = _build(function, required)
  monkeypatch.setattr(
    rule_trial.RuleTrial,
    'build',
    lambda self, options: build(max_byzantine=options['max_byzantine']),
  )
  trial = rule_trial.RuleTrial('liar')
  with pytest.raises(AssertionError) as caught:
    rule_contract.check(trial, promise)
  assert words in str(caught.value)
  assert "rule 'liar' with f=" in str(caught.value)
  rule_contract.check(trial, 'answers_in_form')


def _plant(monkeypatch, init, apply):
  """Puts the rule 'liar' of these two functions into the registry, which reads nothing."""
  monkeypatch.setitem(registry.AGGREGATORS, 'liar', registry.Entry('a:b', {}))
  built = rule.AggregationRule('liar', init, apply)
  monkeypatch.setattr(rule_trial.RuleTrial, 'build', lambda self, options: built)


def _median_with_state(following):
  """Returns the median, whose next state is `following(state, updates)`, added to the aggregate."""
  median = registry.build(registry.AGGREGATORS, 'coordinate_median', {'max_byzantine': 2})

  def apply(state, updates, weights, seed):
    output = median.apply((), updates, weights, seed)
    added = tf.reduce_sum(state) if tf.is_tensor(state) else 0.0
    aggregate = tf.where(output.measurements['round_rejected'], 0.0, output.aggregate + added)
    return rule.RuleOutput(following(state, updates), aggregate, output.measurements)

  return apply


@pytest.mark.parametrize(
  ('init', 'following', 'words'),
  [
    (lambda d: tf.zeros([d]), lambda state, rows: tf.concat([state, [0.0]], 0), 'shape or dtype'),
    (lambda d: tf.zeros([d]), lambda state, rows: tf.cast(state, tf.float64), 'shape or dtype'),
    (lambda d: (), lambda state, rows: (tf.zeros([]),), 'structure, shape'),
    (lambda d: tf.zeros([d]), lambda state, rows: tf.reduce_mean(rows, axis=0), 'spoils the next'),
  ],
)
def test_a_state_that_changes_its_form_or_is_spoiled_is_found(monkeypatch, init, following, words):
  _plant(monkeypatch, init, _median_with_state(following))
  with pytest.raises(AssertionError, match=words):
    rule_contract.check('liar', 'keeps_its_state')


def test_a_rule_that_remembers_beside_its_state_is_found(monkeypatch):
  rounds = tf.Variable(0.0)
  answer = _median_with_state(lambda state, rows: state)

  def apply(state, updates, weights, seed):
    output = answer(state, updates, weights, seed)
    return output._replace(aggregate=output.aggregate + rounds.assign_add(1.0))

  _plant(monkeypatch, lambda dimension: (), apply)
  with pytest.raises(AssertionError, match=r'some rounds later, off by 3;'):
    rule_contract.check('liar', 'keeps_its_state')


@pytest.mark.parametrize(
  ('selected', 'words'),
  [
    (lambda rows: tf.ones([tf.shape(rows)[0]], tf.int32), 'selected is int32'),
    (lambda rows: tf.constant([True, False]), r'selected is bool \[2\], not bool \[n\]'),
  ],
)
def test_a_selection_of_another_form_is_found(monkeypatch, selected, words):
  answer = _median_with_state(lambda state, rows: state)

  def apply(state, updates, weights, seed):
    output = answer(state, updates, weights, seed)
    measured = {**output.measurements, 'selected': selected(updates)}
    return output._replace(measurements=measured)

  _plant(monkeypatch, lambda dimension: (), apply)
  with pytest.raises(AssertionError, match=words):
    rule_contract.check('liar', 'answers_in_form')


def test_a_rule_that_never_rejects_and_refuses_nothing_is_found(monkeypatch):
  def apply(state, updates, weights, seed):
    bad = tf.math.count_nonzero(~demands.finite_rows(updates), dtype=tf.int32)
    measured = {'num_nonfinite': bad, 'round_rejected': tf.constant(False)}
    return rule.RuleOutput(state, tf.reduce_max(updates, axis=0), measured)

  monkeypatch.setitem(
    registry.AGGREGATORS, 'liar', registry.Entry('a:b', {'max_byzantine': 'max_byzantine'})
  )
  built = rule.AggregationRule('liar', lambda dimension: (), apply)
  monkeypatch.setattr(rule_trial.RuleTrial, 'build', lambda self, options: built)
  said = dict(rule_contract.findings('liar'))
  assert 'must reject the round' in said['rejects_hopeless_rounds']
  assert 'its builder must refuse max_byzantine=-1' in said['refuses_a_negative_f']
  assert said['keeps_row_order'] is None


def test_the_mean_passes_for_no_robust_rule(monkeypatch):
  entry = registry.AGGREGATORS['mean']._replace(deviations={})
  monkeypatch.setitem(registry.AGGREGATORS, 'mean', entry)
  said = dict(rule_contract.findings('mean'))
  broken = {promise for promise, sentence in said.items() if sentence}
  assert broken == {'survives_far_rows', 'ignores_weights'}
  assert '1 rows at 1e+06' in said['survives_far_rows']


def test_a_wrong_oracle_is_noticed(monkeypatch):
  oracle = registry.AGGREGATORS['coordinate_median'].oracle
  entry = registry.AGGREGATORS['trimmed_mean']._replace(oracle=oracle)
  monkeypatch.setitem(registry.AGGREGATORS, 'trimmed_mean', entry)
  with pytest.raises(AssertionError, match='off the oracle by'):
    rule_contract.check('trimmed_mean', 'equals_its_oracle')


def test_a_deviation_that_does_not_show_or_does_not_exist_is_refused(monkeypatch):
  entry = registry.AGGREGATORS['coordinate_median']
  for deviations, error, words in (
    ({'keeps_row_order': 'No reason.'}, AssertionError, 'strike the deviation'),
    ({'keeps_row_orders': 'No reason.'}, ValueError, "Did you mean 'keeps_row_order'"),
  ):
    monkeypatch.setitem(
      registry.AGGREGATORS, 'coordinate_median', entry._replace(deviations=deviations)
    )
    with pytest.raises(error, match=words):
      rule_contract.check('coordinate_median', 'keeps_row_order')
