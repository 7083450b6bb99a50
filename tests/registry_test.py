import numpy as np
import pytest
import tensorflow as tf

from tff_robust import deviations, registry
from tff_robust.aggregators import rule as rule_lib
from tff_robust.attacks import attack as attack_lib
from tff_robust.catalogue import aggregators, attacks, preaggregators
from tff_robust.preaggregators import preaggregator
from tff_robust.privacy import message_noise, noise_limits

NUM_CLIENTS = 11
# A loss that falls along the ones, so that no update is tried in vain.
ROOT = rule_lib.RootView(tf.ones(6), lambda step: -tf.reduce_sum(step))
LIMITS = noise_limits.noise_limits(
  [message_noise.MessageNoise(noise_stddev=1.0, independent_bound=1.0)],
  dimension=6,
  num_clients=NUM_CLIENTS,
)


def options_of(kind, table, name):
  needed = set(table[name].reads) - set(table[name].defaults)
  given = {option: registry.OPTIONS[option].example for option in needed}
  return registry.complete_options(kind, table, name, given)


def rule_of(name):
  """Returns the options and the rule of a row; a rooted rule is bound to `ROOT`."""
  options = options_of('aggregator', registry.AGGREGATORS, name)
  rule = registry.build(registry.AGGREGATORS, name, options)
  rooted = registry.AGGREGATORS[name].needs_root
  assert isinstance(rule, rule_lib.RootedRule if rooted else rule_lib.AggregationRule)
  return options, rule_lib.bind(rule, ROOT) if rooted else rule


@pytest.mark.parametrize('name', registry.AGGREGATORS)
def test_every_rule_is_built_from_its_row_and_answers(name):
  _, rule = rule_of(name)
  assert rule.name == name
  updates = np.random.default_rng(0).standard_normal((NUM_CLIENTS, 6)).astype(np.float32)
  output = rule.apply(rule.init(6), updates, np.ones(NUM_CLIENTS, np.float32), [1, 2])
  assert output.aggregate.shape == [6]
  assert np.isfinite(output.aggregate).all()
  assert {'num_nonfinite', 'round_rejected'} <= set(output.measurements)


@pytest.mark.parametrize('name', registry.AGGREGATORS)
def test_demand_for_clients_in_the_row_is_the_demand_of_the_rule(name):
  options, rule = rule_of(name)
  required = registry.AGGREGATORS[name].required_clients(options)
  for num_clients in (required, required - 1):
    rows, weights = np.eye(num_clients, 6, dtype=np.float32), np.ones(num_clients, np.float32)
    if num_clients == required:
      assert rule.apply(rule.init(6), rows, weights, [1, 2]).aggregate.shape == [6]
    elif num_clients > 0:
      with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=name):
        rule.apply(rule.init(6), rows, weights, [1, 2])


@pytest.mark.parametrize('table', [registry.AGGREGATORS, registry.PREAGGREGATORS])
def test_no_builder_takes_a_broken_number_for_a_whole_one(table):
  examples = {name: option.example for name, option in registry.OPTIONS.items()}
  for name, entry in table.items():
    options = {option: examples[option] for option in entry.reads} | dict(entry.defaults)
    for option in entry.reads:
      for value in (1.5, '2', None, True) if registry.OPTIONS[option].kind is int else ():
        with pytest.raises(ValueError, match=f'^{option}={value!r} must be a whole number'):
          registry.build(table, name, {**options, option: value})


@pytest.mark.parametrize('name', registry.PREAGGREGATORS)
def test_every_preaggregator_is_built_from_its_row_and_its_rows_are_counted(name):
  options = options_of('preaggregators', registry.PREAGGREGATORS, name)
  step = registry.build(registry.PREAGGREGATORS, name, options, noise_limits=LIMITS)
  assert isinstance(step, preaggregator.PreAggregator)
  assert step.name == name
  updates = np.random.default_rng(0).standard_normal((NUM_CLIENTS, 6)).astype(np.float32)
  rows, weights = step.apply(updates, np.ones(NUM_CLIENTS, np.float32), [1, 2])
  expected = registry.PREAGGREGATORS[name].rows_after(NUM_CLIENTS, options)
  assert rows.shape == [expected, 6]
  assert np.shape(weights) == (expected,)


@pytest.mark.parametrize('name', registry.PREAGGREGATORS)
def test_demand_for_rows_in_the_row_is_the_demand_of_the_preaggregator(name):
  options = options_of('preaggregators', registry.PREAGGREGATORS, name)
  required = registry.PREAGGREGATORS[name].required_clients(options)
  step = registry.build(registry.PREAGGREGATORS, name, options, noise_limits=LIMITS)
  for num_rows in (required, required - 1):
    rows, weights = np.eye(num_rows, 6, dtype=np.float32), np.ones(num_rows, np.float32)
    if num_rows == required:
      assert step.apply(rows, weights, [1, 2])[0].shape[1] == 6
    elif num_rows > 0:
      with pytest.raises(ValueError, match=name):
        step.apply(rows, weights, [1, 2])


@pytest.mark.parametrize(
  ('name', 'given', 'message'),
  [
    ('krum', {'max_byzantine': None}, "aggregator 'krum' needs max_byzantine"),
    ('krum', {'max_byzantine': 2.5}, 'max_byzantine=2.5 must be a whole number'),
    ('krum', {'max_byzantine': '2'}, "max_byzantine='2' must be a whole number"),
    ('krum', {'max_byzantine': True}, 'max_byzantine=True must be a whole number'),
    ('centered_clipping', {'clip_radius': '3'}, "clip_radius='3' must be a number"),
    ('centered_clipping', {'clip_radius': True}, 'clip_radius=True must be a number'),
    (
      'centered_clipping',
      {'clip_radius': 3.0, 'num_iterations': None},
      "num_iterations=None is no value; leave it out for the 1 of aggregator 'centered_clipping'",
    ),
  ],
)
def test_options_of_another_kind_are_refused(name, given, message):
  with pytest.raises(ValueError, match=message):
    registry.complete_options('aggregator', registry.AGGREGATORS, name, given)


def test_text_is_refused_where_it_is_none_and_so_are_options_of_preaggregators():
  with pytest.raises(ValueError, match='attack_direction=3 must be text'):
    registry.complete_options('attack', registry.ATTACKS, 'min_max', {'attack_direction': 3})
  with pytest.raises(ValueError, match=r'bucket_size=2.0 must be a whole number'):
    registry.complete_options(
      'aggregator',
      registry.AGGREGATORS,
      'mean',
      {'bucket_size': 2.0},
      preaggregators=['bucketing'],
    )


def test_two_readers_of_an_option_with_unlike_defaults_leave_it_to_the_user(monkeypatch):
  reads = {'num_iterations': 'num_iterations'}
  entry = registry.Entry('a:b', reads, {'num_iterations': 7})
  monkeypatch.setitem(registry.PREAGGREGATORS, 'repeated', entry)

  def complete(**given):
    return registry.complete_options(
      'aggregator',
      registry.AGGREGATORS,
      'centered_clipping',
      {'clip_radius': 1.0, **given},
      preaggregators=['repeated'],
    )

  said = (
    "num_iterations is 7 by default for pre-aggregator 'repeated' and 1 for aggregator"
    " 'centered_clipping'; give num_iterations."
  )
  with pytest.raises(ValueError, match=f'^{said}$'):
    complete()
  assert complete(num_iterations=3)['num_iterations'] == 3
  monkeypatch.setitem(
    registry.PREAGGREGATORS, 'repeated', entry._replace(defaults={'num_iterations': 1})
  )
  assert complete()['num_iterations'] == 1


def test_whole_numbers_pass_for_numbers_and_none_where_it_is_the_default():
  complete = registry.complete_options
  given = {'max_byzantine': np.int64(2), 'norm_penalty': None, 'trial_learning_rate': 1}
  assert complete('aggregator', registry.AGGREGATORS, 'zeno', given) == given
  # What is complete may be completed again.
  assert complete(
    'attack', registry.ATTACKS, 'a_little_is_enough', {'attack_deviations': None}
  ) == {'attack_deviations': None}


BY_DATA = [name for name, entry in registry.ATTACKS.items() if entry.by_data]
BY_MESSAGES = [name for name in registry.ATTACKS if name not in BY_DATA]


@pytest.mark.parametrize('name', BY_DATA)
def test_every_attack_by_data_is_built_from_its_row_and_changes_examples(name):
  options = options_of('attack', registry.ATTACKS, name)
  transform = registry.build(registry.ATTACKS, name, options, num_classes=4)
  x = np.zeros((8, 5, 5, 1), np.uint8)
  y = np.arange(8, dtype=np.int32) % 4
  poisoned_x, poisoned_y = transform(x, y)
  assert np.shape(poisoned_x) == x.shape
  assert np.shape(poisoned_y) == y.shape
  assert (np.asarray(poisoned_y) != y).any()
  assert registry.ATTACKS[name].knowledge == ()


@pytest.mark.parametrize('name', BY_MESSAGES)
def test_every_attack_is_built_from_its_row_and_answers_in_each_of_its_views(name):
  options = options_of('attack', registry.ATTACKS, name)
  rule = registry.build(registry.AGGREGATORS, 'krum', {'max_byzantine': 2})
  attack = registry.build(registry.ATTACKS, name, options, rule=rule)
  assert isinstance(attack, attack_lib.Attack)
  assert attack.name == name
  assert attack.knowledge_modes == registry.ATTACKS[name].knowledge
  rows = np.random.default_rng(0).standard_normal((NUM_CLIENTS, 6)).astype(np.float32)
  for knowledge in attack.knowledge_modes:
    seen = rows[2:] if knowledge.startswith('honest_') else rows[:2]
    view = attack_lib.View(tf.constant(seen), tf.constant(rows[:2]), tf.constant(0, tf.int64))
    _, sent = attack.apply(attack.init(6), view, tf.constant([1, 2], tf.int64))
    assert sent.shape == [2, 6]


@pytest.mark.parametrize('table', [registry.AGGREGATORS, registry.PREAGGREGATORS, registry.ATTACKS])
def test_every_option_that_a_row_reads_or_defaults_is_known(table):
  for entry in table.values():
    assert set(entry.reads) <= set(registry.OPTIONS)
    assert set(entry.defaults) <= set(registry.options_of(table, entry))


def test_every_option_that_somebody_needs_has_an_example_that_is_allowed():
  tables = (registry.AGGREGATORS, registry.PREAGGREGATORS, registry.ATTACKS)
  entries = [entry for table in tables for entry in table.values()]
  needed = {option for entry in entries for option in set(entry.reads) - set(entry.defaults)}
  assert 'max_byzantine' in needed
  for name in needed:
    option = registry.OPTIONS[name]
    assert type(option.example) is option.kind
    option.check(name, option.example)


def test_deviations_belong_to_what_the_registry_holds():
  assert set(deviations.RULES) <= set(registry.AGGREGATORS)
  assert set(deviations.ATTACKS) <= set(registry.ATTACKS)
  assert set(deviations.PREAGGREGATORS) <= set(registry.PREAGGREGATORS)
  for table in (deviations.RULES, deviations.ATTACKS, deviations.PREAGGREGATORS):
    assert all(reason.endswith('.') for row in table.values() for reason in row.values())


def test_every_option_is_read_by_somebody():
  tables = (registry.AGGREGATORS, registry.PREAGGREGATORS, registry.ATTACKS)
  entries = [entry for table in tables for entry in table.values()]
  assert set(registry.OPTIONS) == {option for entry in entries for option in entry.reads}


def test_the_registry_hands_out_the_tables_themselves():
  assert registry.AGGREGATORS is aggregators.AGGREGATORS
  assert registry.PREAGGREGATORS is preaggregators.PREAGGREGATORS
  assert registry.ATTACKS is attacks.ATTACKS
