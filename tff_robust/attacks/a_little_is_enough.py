"""A little is enough: hide within the spread of honest updates."""

import math
from typing import Any

import tensorflow as tf

from tff_robust import signatures
from tff_robust.attacks import attack

NAME = 'a_little_is_enough'


def a_little_is_enough(
  honest: signatures.Updates, *, num_byzantine: int, num_deviations: Any
) -> signatures.Updates:
  """A little is enough: every attacker sends the mean minus z standard deviations.

  In every coordinate the attackers shift by the same number of standard deviations,
  so small that some honest rows lie further out and support them.

  Gilad Baruch, Moran Baruch, Yoav Goldberg, "A Little Is Enough: Circumventing
  Defenses For Distributed Learning", NeurIPS 2019, algorithm 3,
  https://arxiv.org/abs/1902.06156. The standard deviation divides by the number of
  rows (the paper does not say; libraries differ). The shift is downwards in every
  coordinate, as published, whatever the sign of the mean.

  Args:
    honest: float32 [h, d]; rows that are not finite are left out.
    num_byzantine: How many attackers answer, b.
    num_deviations: z; see `supported_deviations`.

  Returns:
    float32 [b, d], all rows equal; zeros when no row is finite.
  """
  center, deviation = attack.center_and_deviation(attack.finite_rows(honest))
  shift = tf.cast(num_deviations, tf.float64) * deviation
  return attack.repeat_row(center - shift, num_byzantine)


def supported_deviations(num_clients: Any, num_byzantine: Any) -> tf.Tensor:
  """Returns the largest z that enough honest rows are expected to support, float64 [].

  With s = floor(n / 2 + 1) - b supporters needed for a majority, z is the normal
  quantile of (n - b - s) / (n - b): 0 for one attacker among 25, 1.07 for eleven. With
  attackers in the majority s counts as 1. For one attacker and an even n it is slightly
  negative (-0.14 for ten clients), as the formula has it: the shift is then upwards.

  Args:
    num_clients: n.
    num_byzantine: b, less than n.
  """
  num_honest = tf.maximum(num_clients - num_byzantine, 2)
  supporters = tf.maximum(num_clients // 2 + 1 - num_byzantine, 1)
  share = tf.cast(num_honest - supporters, tf.float64) / tf.cast(num_honest, tf.float64)
  return tf.math.ndtri(tf.clip_by_value(share, 1e-6, 1 - 1e-6))


def build_a_little_is_enough(*, num_deviations: float | None = None) -> attack.Attack:
  """Returns the attack with z = `num_deviations`, or by default the published z.

  The published z depends on the number of clients of the round, which attackers that
  see only their own messages do not know: with those views, z must be given.

  Args:
    num_deviations: z, any finite number.

  Raises:
    ValueError: If z is not finite.
  """
  if num_deviations is not None and not math.isfinite(num_deviations):
    raise ValueError(f'attack_deviations={num_deviations} must be a finite number.')
  modes = attack.KNOWLEDGE if num_deviations is not None else attack.HONEST_KNOWLEDGE

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    count = attack.num_byzantine(view)
    chosen: Any = num_deviations
    if num_deviations is None:
      chosen = supported_deviations(tf.shape(view.messages)[0] + count, count)
    return state, a_little_is_enough(view.messages, num_byzantine=count, num_deviations=chosen)

  return attack.Attack(NAME, modes, attack.stateless, apply)
