"""Directions in which optimised attacks leave the honest mean."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.attacks import attack

# Against the mean (of length one), against every coordinate's standard deviation, and
# against the sign of every coordinate of the mean.
DIRECTIONS = ('unit', 'deviation', 'sign')


def direction(rows: tf.Tensor, name: str) -> tf.Tensor:
  """Returns the perturbation direction of the given name.

  Virat Shejwalkar, Amir Houmansadr, "Manipulating the Byzantine: Optimizing Model
  Poisoning Attacks and Defenses for Federated Learning", NDSS 2021, section IV-C.
  https://www.ndss-symposium.org/ndss-paper/manipulating-the-byzantine-optimizing-model-poisoning-attacks-and-defenses-for-federated-learning/

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


def build_attack(
  name: str, perturb: Callable[..., signatures.Updates], direction: str
) -> attack.Attack:
  """Returns an attack that steps along a direction, with any knowledge.

  Args:
    name: The registry name.
    perturb: Called with the rows of the view, float32 [v, d], and `num_byzantine` and
      `direction`; returns float32 [b, d].
    direction: One of `DIRECTIONS`.

  Raises:
    ValueError: If the direction is not known.
  """
  checks.known_name('attack_direction', direction, DIRECTIONS)

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    count = attack.num_byzantine(view)
    return state, perturb(view.messages, num_byzantine=count, direction=direction)

  return attack.Attack(name, attack.KNOWLEDGE, attack.stateless, apply)
