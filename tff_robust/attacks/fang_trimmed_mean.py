"""Fang's attack on the trimmed mean and the median: just beyond the honest extremes."""

from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.attacks import attack

NAME = 'fang_trimmed_mean'
PARTIAL_NAME = 'fang_trimmed_mean_partial'


def fang_trimmed_mean(
  honest: signatures.Updates, seed: signatures.Seed, *, num_byzantine: int, factor: float = 2.0
) -> signatures.Updates:
  """Fang's full-knowledge attack: draws beyond the honest extreme, against the mean.

  Where the honest mean is positive, draws lie between the smallest honest value and a
  value further down: that value times `factor` if it is negative, divided by `factor`
  if positive. Where the mean is negative, they lie above the largest honest value in
  the same way.

  Minghong Fang, Xiaoyu Cao, Jinyuan Jia, Neil Zhenqiang Gong, "Local Model Poisoning
  Attacks to Byzantine-Robust Federated Learning", USENIX Security 2020, section 4.3,
  https://arxiv.org/abs/1911.11815, with b = 2 there.

  Args:
    honest: float32 [h, d]; rows that are not finite are left out.
    seed: int64 [2].
    num_byzantine: How many attackers answer, b.
    factor: How far beyond, at least 1.

  Returns:
    float32 [b, d], uniform draws; zeros when no row is finite.
  """
  rows = attack.finite_rows(honest)
  center, _ = attack.center_and_deviation(rows)
  some = tf.shape(rows)[0] > 0
  smallest = tf.cond(some, lambda: tf.reduce_min(rows, axis=0), lambda: tf.zeros_like(center))
  largest = tf.cond(some, lambda: tf.reduce_max(rows, axis=0), lambda: tf.zeros_like(center))
  below = tf.where(smallest > 0, smallest / factor, smallest * factor)
  above = tf.where(largest > 0, largest * factor, largest / factor)
  near = tf.where(center > 0, smallest, largest)
  far = tf.where(center > 0, below, above)
  return _between(near, far, seed, num_byzantine)


def fang_trimmed_mean_partial(
  own: signatures.Updates, seed: signatures.Seed, *, num_byzantine: int
) -> signatures.Updates:
  """Fang's partial-knowledge attack: three to four standard deviations from the mean.

  Mean and standard deviation are those of the attackers' own honest messages; draws
  lie below the mean where it is positive and above it where it is negative.

  Same paper, section 4.3, partial knowledge.

  Args:
    own: float32 [b, d]; rows that are not finite are left out.
    seed: int64 [2].
    num_byzantine: How many attackers answer, b.

  Returns:
    float32 [b, d], uniform draws.
  """
  center, deviation = attack.center_and_deviation(attack.finite_rows(own))
  against = -tf.sign(center)
  near = center + 3 * against * deviation
  far = center + 4 * against * deviation
  return _between(near, far, seed, num_byzantine)


def _between(
  near: tf.Tensor, far: tf.Tensor, seed: signatures.Seed, num_byzantine: Any
) -> signatures.Updates:
  shape = tf.stack([tf.convert_to_tensor(num_byzantine, tf.int32), tf.shape(near)[0]])
  shares = tf.random.stateless_uniform(shape, seed, dtype=tf.float64)
  return attack.as_updates(near + shares * (far - near))


def build_fang_trimmed_mean(*, factor: float = 2.0) -> attack.Attack:
  """Returns the full-knowledge attack.

  Raises:
    ValueError: If `factor` is less than 1.
  """
  checks.finite('attack_factor', factor)
  checks.at_least('attack_factor', factor, 1)

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    count = attack.num_byzantine(view)
    return state, fang_trimmed_mean(view.messages, seed, num_byzantine=count, factor=factor)

  return attack.Attack(NAME, attack.HONEST_KNOWLEDGE, attack.stateless, apply)


def build_fang_trimmed_mean_partial() -> attack.Attack:
  """Returns the partial-knowledge attack, for attackers that see only their own messages."""

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    count = attack.num_byzantine(view)
    return state, fang_trimmed_mean_partial(view.messages, seed, num_byzantine=count)

  return attack.Attack(PARTIAL_NAME, attack.OWN_KNOWLEDGE, attack.stateless, apply)
