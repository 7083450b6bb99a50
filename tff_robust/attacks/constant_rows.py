"""Messages with the same value in every coordinate, whatever the others send."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tff_robust import signatures
from tff_robust.attacks import attack


def constant_rows(value: float, *, num_byzantine: Any, dimension: Any) -> signatures.Updates:
  """Returns b messages that hold nothing but a value.

  Args:
    value: Any number, or an infinity or NaN.
    num_byzantine: How many attackers answer, b.
    dimension: d.

  Returns:
    float32 [b, d].
  """
  return tf.fill(tf.stack([num_byzantine, dimension]), tf.constant(value, tf.float32))


def build_attack(name: str, rows: Callable[..., signatures.Updates]) -> attack.Attack:
  """Returns an attack that looks at nothing.

  Args:
    name: The registry name.
    rows: Called with `num_byzantine` and `dimension`; returns float32 [b, d].
  """

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    shape = tf.shape(view.own_messages)
    return state, rows(num_byzantine=shape[0], dimension=shape[1])

  return attack.Attack(name, attack.LEAST_KNOWLEDGE, attack.stateless, apply)
