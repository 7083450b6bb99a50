"""Min-Sum: as far from all honest rows together as the most remote honest row."""

import tensorflow as tf

from tff_robust import signatures
from tff_robust.attacks import attack, perturbation

NAME = 'min_sum'


def min_sum(
  honest: signatures.Updates, *, num_byzantine: int, direction: str = 'deviation'
) -> signatures.Updates:
  """Min-Sum: the largest step whose summed squared distances an honest row also has.

  Attackers send u = mean + gamma * p with the largest gamma for which
  sum_i |u - x_i|^2 <= max_i sum_j |x_i - x_j|^2. Both sides are h times a squared
  distance to the mean plus the same constant, so gamma is the largest distance of an
  honest row to the mean, divided by |p|.

  Virat Shejwalkar, Amir Houmansadr, "Manipulating the Byzantine: Optimizing Model
  Poisoning Attacks and Defenses for Federated Learning", NDSS 2021, equation 10.
  https://www.ndss-symposium.org/ndss-paper/manipulating-the-byzantine-optimizing-model-poisoning-attacks-and-defenses-for-federated-learning/
  The paper finds gamma by halving an interval.

  Args:
    honest: float32 [h, d]; rows that are not finite are left out.
    num_byzantine: How many attackers answer, b.
    direction: p, one of `perturbation.DIRECTIONS`.

  Returns:
    float32 [b, d], all rows equal; zeros when no row is finite.
  """
  rows = attack.finite_rows(honest)
  center, _ = attack.center_and_deviation(rows)
  towards = perturbation.direction(rows, direction)
  distances = tf.norm(rows - center, axis=1)
  furthest = tf.reduce_max(tf.concat([[0.0], distances], axis=0))
  gamma = tf.math.divide_no_nan(furthest, tf.norm(towards))
  return attack.repeat_row(center + gamma * towards, num_byzantine)


def build_min_sum(*, direction: str = 'deviation') -> attack.Attack:
  """Returns the attack along `direction`, one of `perturbation.DIRECTIONS`.

  It takes any knowledge: attackers that see only their own messages bound themselves
  by these.

  Raises:
    ValueError: If the direction is not known.
  """
  return perturbation.build_attack(NAME, min_sum, direction)
