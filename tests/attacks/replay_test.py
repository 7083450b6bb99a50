import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import attack, replay


def _rounds(count, rows=3, columns=4):
  return np.random.default_rng(0).normal(size=(count, rows, columns)).astype(np.float32)


def _play(built, rounds, num_byzantine=2):
  state = built.init(rounds[0].shape[1])
  answers = []
  for index, messages in enumerate(rounds):
    view = attack.View(
      tf.constant(messages),
      tf.zeros([num_byzantine, messages.shape[1]]),
      tf.constant(index, tf.int64),
    )
    state, sent = built.apply(state, view, tf.constant([0, 0], tf.int64))
    answers.append(sent.numpy())
  return answers


@pytest.mark.parametrize('delay', [1, 3])
def test_sends_what_was_seen_some_rounds_ago(delay):
  rounds = _rounds(7)
  answers = _play(replay.build_replay(delay=delay), rounds)
  for index, sent in enumerate(answers):
    source = rounds[index - delay] if index >= delay else rounds[index]
    np.testing.assert_array_equal(sent, np.stack([source[0]] * 2))


def test_passes_over_messages_that_are_not_finite():
  rounds = _rounds(2)
  rounds[0, 0, 1] = np.inf
  answers = _play(replay.build_replay(), rounds)
  np.testing.assert_array_equal(answers[1][0], rounds[0, 1])


def test_sends_zeros_until_something_finite_was_seen():
  rounds = _rounds(2)
  rounds[0] = np.nan
  answers = _play(replay.build_replay(), rounds)
  np.testing.assert_array_equal(answers, np.zeros((2, 2, 4)))


@pytest.mark.parametrize('unseen', [np.full((3, 4), np.nan), np.zeros((0, 4))])
def test_goes_on_with_the_last_message_that_was_seen(unseen):
  rounds = [*_rounds(2), unseen.astype(np.float32), *_rounds(3)[2:]]
  answers = _play(replay.build_replay(), rounds)
  for sent, source in zip(answers[1:], [rounds[0], rounds[1], rounds[1]], strict=True):
    np.testing.assert_array_equal(sent, np.stack([source[0]] * 2))


def test_harms_the_mean_once_the_gradient_has_turned():
  rounds = np.ones((2, 3, 4), np.float32)
  rounds[1] = -1.0
  sent = _play(replay.build_replay(), rounds)[1]
  attacked = np.concatenate([rounds[1], sent]).mean(axis=0)
  np.testing.assert_allclose(attacked, np.full(4, -0.2), rtol=1e-6)
  unturned = _play(replay.build_replay(), np.ones((2, 3, 4), np.float32))[1]
  np.testing.assert_array_equal(unturned, np.ones((2, 4)))


def test_refuses_a_delay_of_no_round():
  with pytest.raises(ValueError, match='attack_delay=0'):
    replay.build_replay(delay=0)
