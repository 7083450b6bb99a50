"""Adaptive inner product manipulation against Krum: the largest step it still selects."""

from typing import Any

import numpy as np
import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.attacks import attack, krum_capture

NAME = 'adaptive_krum'
_SMALLEST, _LARGEST, _CANDIDATES = 1e-3, 1e3, 121
_HALVINGS = 40


def largest_captured_epsilon(
  honest: signatures.Updates, *, num_byzantine: int, max_byzantine: int
) -> tf.Tensor:
  """Returns the largest epsilon for which Krum selects -epsilon times the honest mean.

  A scan of a logarithmic grid from 0.001 to 1000, then halving above the last captured
  point. An interval of captured factors that lies wholly between two grid points (a
  ratio of 1.12) is missed; the exact set is
  `tff_robust.resilience.krum_breaking_point.ipm_intervals`.

  Args:
    honest: float32 [h, d], as sent; rows that are not finite count as clients of the
      round but are left out of the mean.
    num_byzantine: Colluders, b.
    max_byzantine: The f that Krum is told.

  Returns:
    float64 [], 0 if no factor on the grid is captured, at most 1000. The value itself
    is captured.
  """
  rows = attack.finite_rows(honest)
  center, _ = attack.center_and_deviation(rows)
  ray = krum_capture.ray(
    rows,
    base=center,
    direction=-center,
    num_clients=tf.shape(honest)[0] + num_byzantine,
    num_byzantine=num_byzantine,
  )

  def captured(epsilons: tf.Tensor) -> tf.Tensor:
    return krum_capture.margins(ray, 1.0 + epsilons, max_byzantine=max_byzantine) > 0

  grid = tf.constant(np.geomspace(_SMALLEST, _LARGEST, _CANDIDATES), tf.float64)
  last = tf.reduce_max(tf.where(captured(grid), tf.range(_CANDIDATES), -1))
  inside = tf.gather(grid, tf.maximum(last, 0))
  outside = tf.gather(grid, tf.minimum(last + 1, _CANDIDATES - 1))

  def halve(step: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, ...]:
    middle = (low + high) / 2
    hit = captured(middle[tf.newaxis])[0]
    return step + 1, tf.where(hit, middle, low), tf.where(hit, high, middle)

  _, boundary, _ = tf.while_loop(
    lambda step, low, high: (step < _HALVINGS) & (low < high),
    halve,
    (tf.constant(0), inside, outside),
  )
  return tf.where(last >= 0, boundary, tf.zeros_like(boundary))


def adaptive_krum(
  honest: signatures.Updates, *, num_byzantine: int, max_byzantine: int, safety: float = 0.999
) -> signatures.Updates:
  """Inner product manipulation with a factor just below what Krum would reject.

  The optimal member of its family against Krum: the damage of a selected row grows
  with epsilon. The step is found from the honest Gram matrix instead of by running the
  rule; otherwise it is an aggregator-tailored attack in the sense of Virat Shejwalkar, Amir
  Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses
  for Federated Learning", NDSS 2021, section IV-B.
  https://www.ndss-symposium.org/ndss-paper/manipulating-the-byzantine-optimizing-model-poisoning-attacks-and-defenses-for-federated-learning/

  Args:
    honest: float32 [h, d], as sent.
    num_byzantine: How many attackers answer, b.
    max_byzantine: The f that Krum is told.
    safety: Factor on the largest captured epsilon, in (0, 1), which leaves room for
      float32 rounding.

  Returns:
    float32 [b, d], all rows equal; zeros if no factor is captured.
  """
  epsilon = largest_captured_epsilon(
    honest, num_byzantine=num_byzantine, max_byzantine=max_byzantine
  )
  return attack.repeat_row(-safety * epsilon * attack.finite_mean(honest), num_byzantine)


def build_adaptive_krum(*, max_byzantine: int, safety: float = 0.999) -> attack.Attack:
  """Returns the attack on a Krum that is told `max_byzantine`.

  It must see what honest clients send: their privacy noise moves the boundary.

  Raises:
    ValueError: If `max_byzantine` is negative or `safety` not in (0, 1).
  """
  checks.at_least('max_byzantine', max_byzantine, 0)
  checks.in_open_unit_interval('attack_safety', safety)

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    del seed
    return state, adaptive_krum(
      view.messages,
      num_byzantine=attack.num_byzantine(view),
      max_byzantine=max_byzantine,
      safety=safety,
    )

  return attack.Attack(NAME, ('honest_messages',), attack.stateless, apply)
