"""Gaussian attack: noise that has nothing to do with anybody's data."""

from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.attacks import attack

NAME = 'gaussian'


def gaussian(
  seed: signatures.Seed, *, num_byzantine: Any, dimension: Any, noise_stddev: float = 200.0
) -> signatures.Updates:
  """Every attacker sends independent Gaussian noise of mean zero.

  Peva Blanchard, El Mahdi El Mhamdi, Rachid Guerraoui, Julien Stainer, "Machine
  Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
  section 5, https://arxiv.org/abs/1703.02757, with standard deviation 200.

  Args:
    seed: int64 [2].
    num_byzantine: How many attackers answer, b.
    dimension: d.
    noise_stddev: Standard deviation of every coordinate.

  Returns:
    float32 [b, d].
  """
  shape = tf.stack([num_byzantine, dimension])
  draws = tf.random.stateless_normal(shape, seed, dtype=tf.float32)
  return attack.as_updates(noise_stddev * tf.cast(draws, tf.float64))


def build_gaussian(*, noise_stddev: float = 200.0) -> attack.Attack:
  """Returns the attack, which looks at nothing.

  Raises:
    ValueError: If `noise_stddev` is negative or not finite.
  """
  checks.nonnegative('attack_noise_stddev', noise_stddev)

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    shape = tf.shape(view.own_messages)
    return state, gaussian(
      seed, num_byzantine=shape[0], dimension=shape[1], noise_stddev=noise_stddev
    )

  return attack.Attack(NAME, attack.LEAST_KNOWLEDGE, attack.stateless, apply)
