"""What every attack promises, asked of every attack of the registry, and of attacks that fail."""

import numpy as np
import pytest
import tensorflow as tf

from tff_robust import registry
from tff_robust.attacks import attack as attack_lib
from tff_robust.testing import attack_contract, attack_trial

# Other values of options which change what is sent: (attack, options).
FURTHER = [
  ('a_little_is_enough', {'attack_deviations': 1.5}),
  ('noise_matched_ipm', {'attack_noise_stddev': 0.5}),
  ('min_max', {'attack_direction': 'unit'}),
  ('min_sum', {'attack_direction': 'sign'}),
  ('replay', {'attack_delay': 2}),
  ('model_replacement', {'attack_l2_norm_bound': 5.0, 'attack_scale': 50.0}),
  ('label_flip', {'attack_class_map': '1:2'}),
  ('backdoor', {'attack_poisoned_fraction': 1.0, 'attack_trigger_value': 9.0}),
]


def _trials(by_data):
  chosen = [(name, {}) for name in registry.ATTACKS] + FURTHER
  return [case for case in chosen if registry.ATTACKS[case[0]].by_data == by_data]


def _label(case):
  return '-'.join([case[0], *map(str, case[1].values())])


@pytest.fixture(scope='module', params=_trials(False), ids=_label)
def by_messages(request):
  name, given = request.param
  return attack_trial.AttackTrial(name, given=given)


@pytest.fixture(scope='module', params=_trials(True), ids=_label)
def by_data(request):
  name, given = request.param
  return attack_trial.AttackTrial(name, given=given)


@pytest.mark.parametrize('promise', attack_contract.MESSAGE_PROMISES)
def test_keeps_its_promises_and_shows_its_deviations(by_messages, promise):
  attack_contract.check(by_messages, promise)


@pytest.mark.parametrize('promise', attack_contract.DATA_PROMISES)
def test_keeps_its_promises_by_data(by_data, promise):
  attack_contract.check(by_data, promise)


def test_attacks_that_read_no_message_and_no_others_take_one_view_alone(by_messages):
  generator = np.random.default_rng(3)
  first, second = (
    by_messages.send(by_messages.initial_state(), rows[:11], rows[11:])[1].numpy()
    # Mostly noise, so that Krum selects attackers who step against the mean.
    for rows in generator.normal(0.1, size=[2, 13, attack_trial.DIMENSION]).astype(np.float32)
  )
  reads_none = first.tobytes() == second.tobytes()
  assert reads_none == (by_messages.entry.knowledge == ('own_messages',))


# Attacks with one mistake each.


def _sees_others(view):
  return tf.shape(view.messages)[0] != tf.shape(view.own_messages)[0]


def _planted(monkeypatch, answer, following=lambda state: state):
  """Puts an attack into the registry that sends `answer(view, seed)`."""

  def apply(state, view, seed):
    return following(state), answer(view, seed)

  built = attack_lib.Attack('planted', attack_lib.KNOWLEDGE, attack_lib.stateless, apply)
  entry = registry.ATTACKS['zero']._replace(knowledge=attack_lib.KNOWLEDGE)
  monkeypatch.setitem(registry.ATTACKS, 'planted', entry)
  monkeypatch.setattr(registry, 'build', lambda *args, **kwargs: built)
  return attack_trial.AttackTrial('planted')


@pytest.mark.parametrize(
  ('answer', 'promise', 'words'),
  [
    (lambda view, seed: view.own_messages, 'harms_the_mean', 'it moves the mean 1.00 times'),
    (
      lambda view, seed: -view.own_messages,
      'sends_finite_rows_although_it_sees_others',
      'after seeing some',
    ),
    (lambda view, seed: -10.0 * view.own_messages, 'does_not_overflow', 'it overflows'),
    (
      lambda view, seed: tf.random.normal(tf.shape(view.own_messages)),
      'repeats_itself',
      'draw only from the seed',
    ),
    (lambda view, seed: view.messages, 'answers_in_form', '5 attackers send float32 (11, 6)'),
    (
      lambda view, seed: tf.pad(view.own_messages, [[0, 1], [0, 0]]),
      'sends_nothing_without_attackers',
      'nobody is Byzantine, yet it sends',
    ),
    # Mistakes that show only where it sees its own messages alone.
    (
      lambda view, seed: tf.where(_sees_others(view), -view.own_messages, view.own_messages),
      'harms_the_mean',
      'that sees own_messages: it moves the mean 1.00 times',
    ),
    (
      lambda view, seed: (
        tf.zeros([tf.shape(view.own_messages)[0], 1])
        + tf.where(_sees_others(view), 0.0, tf.reduce_mean(view.messages, axis=0))
      ),
      'sends_finite_rows_although_it_sees_others',
      'that sees own_messages: it sends NaN',
    ),
  ],
)
def test_a_planted_mistake_is_found_and_named(monkeypatch, answer, promise, words):
  trial = _planted(monkeypatch, answer)
  with pytest.raises(AssertionError) as caught:
    attack_contract.check(trial, promise)
  assert str(caught.value).startswith("attack 'planted'")
  assert words in str(caught.value)


def test_a_state_that_changes_its_structure_is_found_and_named(monkeypatch):
  trial = _planted(monkeypatch, lambda view, seed: view.own_messages, lambda state: (tf.zeros([]),))
  with pytest.raises(AssertionError, match='its state changes structure'):
    attack_contract.check(trial, 'answers_in_form')


def test_an_attack_by_data_that_changes_nothing_is_found(monkeypatch):
  monkeypatch.setattr(registry, 'build', lambda *args, **kwargs: lambda x, y: (x, y))
  trial = attack_trial.AttackTrial('label_flip')
  for promise, words in (('answers_in_form', 'leaves every'), ('harms_the_mean', '1.00 times')):
    with pytest.raises(AssertionError, match=words):
      attack_contract.check(trial, promise)
