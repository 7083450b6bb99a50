"""Directions in which optimised attacks leave the honest mean."""

import tensorflow as tf

from tff_robust.attacks import attack

# Against the mean (of length one), against every coordinate's standard deviation, and
# against the sign of every coordinate of the mean.
DIRECTIONS = ('unit', 'deviation', 'sign')


def direction(rows: tf.Tensor, name: str) -> tf.Tensor:
  """Returns the perturbation direction of the given name.

  Virat Shejwalkar, Amir Houmansadr, "Manipulating the Byzantine: Optimizing Model
  Poisoning Attacks and Defenses for Federated Learning", NDSS 2021, section IV-C.

  Args:
    rows: float64 [h, d], finite.
    name: One of `DIRECTIONS`.

  Returns:
    float64 [d], all zeros where the mean (or the deviation) is zero.
  """
  center, deviation = attack.center_and_deviation(rows)
  if name == 'unit':
    return -tf.math.divide_no_nan(center, tf.norm(center))
  if name == 'deviation':
    return -deviation
  return -tf.sign(center)
