"""Infinity attack: messages beyond every number."""

from typing import Any

from tff_robust import signatures
from tff_robust.attacks import attack, constant_rows

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
  return constant_rows.constant_rows(float('inf'), num_byzantine=num_byzantine, dimension=dimension)


def build_infinite() -> attack.Attack:
  """Returns the attack, which looks at nothing."""
  return constant_rows.build_attack(NAME, infinite)
