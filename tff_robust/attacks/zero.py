"""Zero attack: free riders that send nothing of use."""

from typing import Any

import tensorflow as tf

from tff_robust import signatures
from tff_robust.attacks import attack

NAME = 'zero'


def zero(*, num_byzantine: Any, dimension: Any) -> signatures.Updates:
  """Every attacker sends zeros, like a free rider that trains nothing.

  It is also what inner product manipulation tends to as epsilon goes to 0: rules that prefer
  central rows select it when honest rows are mostly noise, and the model stands still.

  Args:
    num_byzantine: How many attackers answer, b.
    dimension: d.

  Returns:
    float32 [b, d].
  """
  return tf.fill(tf.stack([num_byzantine, dimension]), tf.constant(0.0, tf.float32))


def build_zero() -> attack.Attack:
  """Returns the attack, which looks at nothing."""

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    shape = tf.shape(view.own_messages)
    return state, zero(num_byzantine=shape[0], dimension=shape[1])

  return attack.Attack(NAME, attack.KNOWLEDGE, attack.stateless, apply)
