"""NaN attack: messages that are no numbers."""

from typing import Any

from tff_robust import signatures
from tff_robust.attacks import attack, constant_rows

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
  return constant_rows.constant_rows(float('nan'), num_byzantine=num_byzantine, dimension=dimension)


def build_nan() -> attack.Attack:
  """Returns the attack, which looks at nothing."""
  return constant_rows.build_attack(NAME, nan)
