"""Inner product manipulation: a small step against the honest mean."""

from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.attacks import attack

NAME = 'inner_product_manipulation'


def inner_product_manipulation(
  honest: signatures.Updates, *, num_byzantine: int, epsilon: float
) -> signatures.Updates:
  """Inner product manipulation: every attacker sends -epsilon times the honest mean.

  The aggregate then has a smaller, and for large enough epsilon a negative, inner
  product with the true gradient. The mean of all n messages is
  (h - b * epsilon) / n times the honest mean, so it is reversed if and only if
  epsilon > h / b; rules that prefer rows near the centre are reversed by far smaller
  epsilon.

  Sign: no convention is assumed. Whether rows are gradients or differences
  `initial - final` (which a server subtracts) or `final - initial` (which it adds),
  the opposite of the honest mean is what harms.

  Cong Xie, Oluwasanmi Koyejo, Indranil Gupta, "Fall of Empires: Breaking
  Byzantine-tolerant SGD by Inner Product Manipulation", UAI 2019, section 4,
  https://arxiv.org/abs/1903.03936. Rows with a NaN or an infinity are left out of the
  mean, which the paper does not treat; with no finite row, attackers send zeros.

  Args:
    honest: float32 [h, d].
    num_byzantine: How many attackers answer, b; an integer or an int32 scalar.
    epsilon: The factor, positive in the paper.

  Returns:
    float32 [b, d], all rows equal.
  """
  return attack.repeat_row(-epsilon * attack.finite_mean(honest), num_byzantine)


def build_inner_product_manipulation(*, epsilon: float) -> attack.Attack:
  """Returns the attack with factor `epsilon`.

  It takes any knowledge: with `own_messages` or `own_clean` the colluders estimate
  the honest mean by the mean of their own honest messages.

  Args:
    epsilon: The factor, at least 0.

  Raises:
    ValueError: If `epsilon` is negative or not finite.
  """
  checks.nonnegative('attack_epsilon', epsilon)

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    count = attack.num_byzantine(view)
    return state, inner_product_manipulation(
      tf.convert_to_tensor(view.messages), num_byzantine=count, epsilon=epsilon
    )

  return attack.Attack(NAME, attack.KNOWLEDGE, attack.stateless, apply)
