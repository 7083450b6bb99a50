"""Sign flipping: each attacker sends the opposite of its own honest message."""

from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.attacks import attack

NAME = 'sign_flip'


def sign_flip(own: signatures.Updates, *, scale: float = 1.0) -> signatures.Updates:
  """Sign flipping: attacker i sends -scale times what it would have sent honestly.

  Attackers need not know each other. (Some libraries give this name to inner product
  manipulation with factor 1, in which all attackers send the same row; here every row
  is the attacker's own.)

  Sign: no convention is assumed, as for inner product manipulation: the opposite of
  an honest update harms whether the server adds or subtracts.

  Liping Li, Wei Xu, Tianyi Chen, Georgios B. Giannakis, Qing Ling, "RSA:
  Byzantine-Robust Stochastic Aggregation Methods for Distributed Learning from
  Heterogeneous Datasets", AAAI 2019, section 5, https://arxiv.org/abs/1811.03761.
  An attacker whose honest message is not finite sends zeros.

  Args:
    own: float32 [b, d], the attackers' own honest messages.
    scale: The factor, at least 0.

  Returns:
    float32 [b, d], row i for attacker i.
  """
  own = tf.convert_to_tensor(own)
  finite = tf.reduce_all(tf.math.is_finite(own), axis=1, keepdims=True)
  rows = tf.cast(tf.where(finite, own, tf.zeros_like(own)), tf.float64)
  return attack.as_updates(-scale * rows)


def build_sign_flip(*, scale: float = 1.0) -> attack.Attack:
  """Returns the attack with factor `scale`; it reads only the attackers' own messages.

  Raises:
    ValueError: If `scale` is negative or not finite.
  """
  checks.nonnegative('attack_scale', scale)

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    return state, sign_flip(view.own_messages, scale=scale)

  return attack.Attack(NAME, attack.OWN_KNOWLEDGE, attack.stateless, apply)
