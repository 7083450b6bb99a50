"""Min-Max: as far from the honest mean as honest rows are from each other."""

import tensorflow as tf

from tff_robust import signatures
from tff_robust.attacks import attack, perturbation

NAME = 'min_max'


def min_max(
  honest: signatures.Updates, *, num_byzantine: int, direction: str = 'deviation'
) -> signatures.Updates:
  """Min-Max: the largest step that is no further from any honest row than they are apart.

  Attackers send u = mean + gamma * p with the largest gamma for which
  max_i |u - x_i| <= max_ij |x_i - x_j|. In closed form gamma is the smallest, over i,
  of the positive roots of |p|^2 g^2 + 2 g <p, mean - x_i> + |mean - x_i|^2 - T = 0
  with T the right side squared.

  Virat Shejwalkar, Amir Houmansadr, "Manipulating the Byzantine: Optimizing Model
  Poisoning Attacks and Defenses for Federated Learning", NDSS 2021, equation 9.
  https://www.ndss-symposium.org/ndss-paper/manipulating-the-byzantine-optimizing-model-poisoning-attacks-and-defenses-for-federated-learning/
  The paper finds gamma by halving an interval, which stops short of it or beyond.

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
  offsets = rows - center
  gram = tf.matmul(offsets, offsets, transpose_b=True)
  squared = tf.linalg.diag_part(gram)
  largest = tf.reduce_max(
    tf.concat([[0.0], tf.reshape(squared[:, None] + squared[None, :] - 2 * gram, [-1])], axis=0)
  )
  # With c = <p, x_i - mean>, the positive root is (c + sqrt(c^2 + |p|^2 (T - ...))) / |p|^2.
  quadratic = tf.reduce_sum(towards**2)
  half = tf.linalg.matvec(offsets, towards)
  room = tf.maximum(largest - squared, 0.0)
  roots = tf.math.divide_no_nan(half + tf.sqrt(half**2 + quadratic * room), quadratic)
  gamma = tf.cond(
    tf.shape(rows)[0] > 0, lambda: tf.reduce_min(roots), lambda: tf.zeros([], tf.float64)
  )
  return attack.repeat_row(center + gamma * towards, num_byzantine)


def build_min_max(*, direction: str = 'deviation') -> attack.Attack:
  """Returns the attack along `direction`, one of `perturbation.DIRECTIONS`.

  It takes any knowledge: attackers that see only their own messages bound themselves
  by these.

  Raises:
    ValueError: If the direction is not known.
  """
  return perturbation.build_attack(NAME, min_max, direction)
