"""Fang's attack on Krum: the largest step against the signs of the honest mean that it selects."""

from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.attacks import attack, krum_capture

NAME = 'fang_krum'
_SMALLEST_STEP = 1e-5


def fang_krum(
  honest: signatures.Updates, *, num_byzantine: int, max_byzantine: int
) -> signatures.Updates:
  """Fang's attack on Krum: -lambda times the sign of the honest mean.

  lambda starts at its upper bound and is halved until Krum selects the attackers, or
  until it is at most 1e-5.

  Minghong Fang, Xiaoyu Cao, Jinyuan Jia, Neil Zhenqiang Gong, "Local Model Poisoning
  Attacks to Byzantine-Robust Federated Learning", USENIX Security 2020, section 4.2
  and theorem 1, https://arxiv.org/abs/1911.11815. With full knowledge, on updates
  instead of weights, and with all attackers' rows equal (the paper lets b - 1 of them
  differ by a small distance) and against the signs of the honest mean (the paper's direction is
  that of the aggregate without an attack, here a single honest row). The attackers' number in
  the bound is what Krum is told. On messages before their DP noise (`honest_clean`) the search
  is against a Krum that sees these, and its step smaller than the noisy messages would allow.

  Args:
    honest: float32 [h, d], as sent; rows that are not finite are left out.
    num_byzantine: How many attackers answer, b.
    max_byzantine: The f that Krum is told.

  Returns:
    float32 [b, d], all rows equal.
  """
  rows = attack.finite_rows(honest)
  center, _ = attack.center_and_deviation(rows)
  num_clients = tf.shape(honest)[0] + num_byzantine
  ray = krum_capture.ray(
    rows,
    base=tf.zeros_like(center),
    direction=-tf.sign(center),
    num_clients=num_clients,
    num_byzantine=num_byzantine,
  )

  def rejected(step: tf.Tensor) -> tf.Tensor:
    return krum_capture.margins(ray, step[tf.newaxis], max_byzantine=max_byzantine)[0] <= 0

  step = tf.while_loop(
    lambda step: (step > _SMALLEST_STEP) & rejected(step),
    lambda step: (step / 2,),
    (_upper_bound(ray, tf.shape(center)[0], max_byzantine),),
  )[0]
  return attack.repeat_row(-step * tf.sign(center), num_byzantine)


def _upper_bound(ray: krum_capture.Ray, dimension: tf.Tensor, max_byzantine: int) -> tf.Tensor:
  """Returns the bound of theorem 1 on lambda, float64 []; 0 without honest rows."""
  neighbors = tf.maximum(ray.num_clients - max_byzantine - 2, 0)
  # A row's n - f - 2 nearest honest rows, itself left out.
  infinity = tf.fill(tf.shape(ray.products), tf.constant(float('inf'), tf.float64))
  others = tf.sort(tf.linalg.set_diag(ray.squared_distances, infinity), axis=1)[:, :neighbors]
  sums = tf.reduce_sum(tf.where(tf.math.is_finite(others), others, 0.0), axis=1)
  divisor = tf.cast(tf.maximum(ray.num_clients - 2 * max_byzantine - 1, 1), tf.float64)
  coordinates = tf.cast(dimension, tf.float64)

  def bound() -> tf.Tensor:
    lengths = tf.sqrt(ray.base_distances)
    within = tf.sqrt(tf.reduce_min(sums) / (divisor * coordinates))
    return within + tf.reduce_max(lengths) / tf.sqrt(coordinates)

  return tf.cond(tf.shape(ray.products)[0] > 0, bound, lambda: tf.zeros([], tf.float64))


def build_fang_krum(*, max_byzantine: int) -> attack.Attack:
  """Returns the attack on a Krum that is told `max_byzantine`; it must see honest messages.

  Raises:
    ValueError: If `max_byzantine` is negative.
  """
  checks.at_least('max_byzantine', max_byzantine, 0)

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    return state, fang_krum(
      view.messages, num_byzantine=attack.num_byzantine(view), max_byzantine=max_byzantine
    )

  return attack.Attack(NAME, attack.HONEST_KNOWLEDGE, attack.stateless, apply)
