"""Replay: an honest message of an earlier round, sent again by all attackers."""

from typing import Any, NamedTuple

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.attacks import attack

NAME = 'replay'


class State(NamedTuple):
  """Messages that were seen, waiting to be sent.

  Attributes:
    waiting: float32 [delay, d], the next to be sent first.
    num_seen: int64 [], how many were ever stored.
  """

  waiting: tf.Tensor
  num_seen: tf.Tensor


def replay(
  state: State, seen: signatures.Updates, *, num_byzantine: Any
) -> tuple[State, signatures.Updates]:
  """Every attacker sends the first finite message that was seen `delay` rounds ago.

  A stale message was honest once: no test of its own can reject it, but it belongs to
  an earlier model. Before enough rounds have passed, attackers send the first finite
  message of the current round.

  Args:
    state: Messages waiting; the delay is their number.
    seen: float32 [v, d], of the current round.
    num_byzantine: How many attackers answer, b.

  Returns:
    The next state, and float32 [b, d] with all rows equal. When no row is finite, the last
    message that was seen takes its place; zeros before the first.
  """
  seen = tf.convert_to_tensor(seen)
  finite = tf.reduce_all(tf.math.is_finite(seen), axis=1)
  candidates = tf.boolean_mask(seen, finite)[:1]
  # Where there is nothing to see, what was seen last is seen again.
  current = tf.cond(tf.shape(candidates)[0] > 0, lambda: candidates[0], lambda: state.waiting[-1])
  delay = tf.shape(state.waiting, out_type=tf.int64)[0]
  row = tf.where(state.num_seen >= delay, state.waiting[0], current)
  waiting = tf.concat([state.waiting[1:], current[tf.newaxis, :]], axis=0)
  waiting = tf.ensure_shape(waiting, state.waiting.shape)
  return State(waiting, state.num_seen + 1), tf.tile(row[tf.newaxis, :], [num_byzantine, 1])


def build_replay(*, delay: int = 1) -> attack.Attack:
  """Returns the attack.

  Args:
    delay: Rounds between seeing a message and sending it, at least 1. The attackers
      remember that many messages.

  Raises:
    ValueError: If `delay` is less than 1.
  """
  checks.at_least('attack_delay', delay, 1)

  def init(dimension: int) -> State:
    return State(tf.zeros([delay, dimension], tf.float32), tf.zeros([], tf.int64))

  def apply(
    state: Any, view: attack.View, seed: signatures.Seed
  ) -> tuple[State, signatures.Updates]:
    del seed
    return replay(state, view.messages, num_byzantine=attack.num_byzantine(view))

  return attack.Attack(NAME, attack.KNOWLEDGE, init, apply)
