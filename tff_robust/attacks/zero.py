"""Zero attack: free riders that send nothing of use."""

from typing import Any

from tff_robust import signatures
from tff_robust.attacks import attack, constant_rows

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
  return constant_rows.constant_rows(0.0, num_byzantine=num_byzantine, dimension=dimension)


def build_zero() -> attack.Attack:
  """Returns the attack, which looks at nothing."""
  return constant_rows.build_attack(NAME, zero)
