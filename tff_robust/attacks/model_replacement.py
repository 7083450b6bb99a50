"""Model replacement: a malicious update scaled up until it outvotes all others."""

from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.attacks import attack

NAME = 'model_replacement'


def model_replacement(
  own: signatures.Updates, *, scale: float, l2_norm_bound: float | None = None
) -> signatures.Updates:
  """The attackers' own updates, scaled so that their mean replaces the new model.

  Row i is scale / b times attacker i's own message, which it trained on data of its
  choice: in a run, on its examples with a backdoor (`attack_target_class`), or without one on
  its examples as they are, which only takes training further. In the mean of n rows with
  scale = n (and a server learning rate of 1) honest updates nearly cancel once the model has
  converged, and the model becomes the attackers' average. With a bound on the norm
  ("train and scale"), a row is scaled only as far as a filter of norms lets it pass. What the
  attackers train is kept inconspicuous by `build_model_replacement` ("constrain and scale").

  Eugene Bagdasaryan, Andreas Veit, Yiqing Hua, Deborah Estrin, Vitaly Shmatikov, "How
  To Backdoor Federated Learning", AISTATS 2020, sections 4.2 and 4.3,
  https://arxiv.org/abs/1807.00459. Attackers share the scale, as in the paper's case
  of several; an attacker whose message is not finite sends zeros.

  Args:
    own: float32 [b, d], what each attacker trained.
    scale: n divided by the server's learning rate for full replacement.
    l2_norm_bound: Largest Euclidean norm of a row, or None for no bound.

  Returns:
    float32 [b, d], row i for attacker i.
  """
  own = tf.convert_to_tensor(own)
  finite = tf.reduce_all(tf.math.is_finite(own), axis=1, keepdims=True)
  rows = tf.cast(tf.where(finite, own, tf.zeros_like(own)), tf.float64)
  scaled = scale / tf.cast(tf.maximum(tf.shape(own)[0], 1), tf.float64) * rows
  if l2_norm_bound is not None:
    lengths = tf.norm(scaled, axis=1, keepdims=True)
    bound = tf.constant(l2_norm_bound, tf.float64)
    scaled *= bound / tf.maximum(lengths, bound)
  return attack.as_updates(scaled)


def build_model_replacement(
  *, scale: float, l2_norm_bound: float | None = None, anomaly_weight: float = 0.0
) -> attack.Attack:
  """Returns the attack; it reads only the attackers' own messages.

  With `anomaly_weight` a, attackers minimise (1 - a) L + a |w - w_0|^2 in local training, L their
  loss and w_0 the broadcast model: "constrain and scale" of section 4.2 with alpha = 1 - a. The
  paper leaves the measure of anomaly open; this is the Euclidean distance, squared. The penalty is
  no part of DP-SGD: its gradient is added to the noised one.

  Args:
    scale: n divided by the server's learning rate for full replacement; positive.
    l2_norm_bound: Largest Euclidean norm of a row, positive, or None for no bound.
    anomaly_weight: a, at least 0, less than 1; 0 to train like honest clients.

  Raises:
    ValueError: If an option is out of its range.
  """
  checks.positive('attack_scale', scale)
  checks.in_half_open_unit_interval('attack_anomaly_weight', anomaly_weight)
  if l2_norm_bound is not None:
    checks.positive('attack_l2_norm_bound', l2_norm_bound)

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    return state, model_replacement(view.own_messages, scale=scale, l2_norm_bound=l2_norm_bound)

  return attack.Attack(
    NAME, attack.OWN_KNOWLEDGE, attack.stateless, apply, anomaly_weight=anomaly_weight
  )
