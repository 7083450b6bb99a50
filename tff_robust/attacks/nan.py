"""NaN attack: messages that are no numbers."""

from typing import Any

import tensorflow as tf

from tff_robust import signatures
from tff_robust.attacks import attack

NAME = 'nan'


def nan(*, num_byzantine: Any, dimension: Any) -> signatures.Updates:
  """Every attacker sends NaN in every coordinate.

  A test of what the receiver does with them: a rule must neither select nor average
  them, although comparisons with NaN are always false.

  Args:
    num_byzantine: How many attackers answer, b.
    dimension: d.

  Returns:
    float32 [b, d].
  """
  return tf.fill(tf.stack([num_byzantine, dimension]), tf.constant(float('nan'), tf.float32))


def build_nan() -> attack.Attack:
  """Returns the attack, which looks at nothing."""

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    shape = tf.shape(view.own_messages)
    return state, nan(num_byzantine=shape[0], dimension=shape[1])

  return attack.Attack(NAME, attack.KNOWLEDGE, attack.stateless, apply)
