"""Infinity attack: messages beyond every number."""

from typing import Any

import tensorflow as tf

from tff_robust import signatures
from tff_robust.attacks import attack

NAME = 'infinite'


def infinite(*, num_byzantine: Any, dimension: Any) -> signatures.Updates:
  """Every attacker sends positive infinity in every coordinate.

  A test of what the receiver does with them: one such row turns a mean into infinity,
  and the difference of two into NaN.

  Args:
    num_byzantine: How many attackers answer, b.
    dimension: d.

  Returns:
    float32 [b, d].
  """
  return tf.fill(tf.stack([num_byzantine, dimension]), tf.constant(float('inf'), tf.float32))


def build_infinite() -> attack.Attack:
  """Returns the attack, which looks at nothing."""

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    shape = tf.shape(view.own_messages)
    return state, infinite(num_byzantine=shape[0], dimension=shape[1])

  return attack.Attack(NAME, attack.KNOWLEDGE, attack.stateless, apply)
