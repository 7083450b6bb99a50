"""Centred clipping: a step from the last aggregate, with clipped differences.

Sai Praneeth Karimireddy, Lie He, Martin Jaggi, "Learning from History for Byzantine
Robust Optimization", ICML 2021, algorithm 2.
https://proceedings.mlr.press/v139/karimireddy21a.html
"""

from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import averages, demands, finite_rows, row_norms, rule


def _centered_clipping(
  updates: signatures.Updates, centre: Any, clip_radius: float, num_iterations: int
) -> finite_rows.Outcome:
  updates = demands.enough_clients(updates, rule='centered_clipping', max_byzantine=0, required=1)
  centre = demands.one_each_coordinate('centre', centre, updates)

  def of_finite(kept: tf.Tensor, _: tf.Tensor) -> finite_rows.Outcome:
    num_rows = tf.cast(tf.shape(kept)[0], tf.float64)

    def step(index: tf.Tensor, centre: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      lengths = row_norms.close_norms(kept, centre=centre)
      factors = tf.math.divide_no_nan(tf.minimum(lengths, clip_radius), lengths)
      # centre + mean of factor * (row - centre), as one average of rows and centre.
      stay = num_rows - tf.reduce_sum(factors)
      weights = tf.concat([factors, [stay]], axis=0)
      return index + 1, averages.weighted_average(kept, weights, beside=centre)

    _, result = tf.while_loop(
      lambda index, _: index < num_iterations, step, (tf.constant(0), centre)
    )
    return result, {}

  return finite_rows.aggregate(updates, of_finite)


def centered_clipping(
  updates: signatures.Updates, centre: Any, *, clip_radius: float, num_iterations: int = 1
) -> signatures.Aggregate:
  """The centre plus the mean of the updates' differences from it, each clipped.

  Repeats v <- v + (1/n) sum_i (x_i - v) min(1, clip_radius / |x_i - v|). Lengths are right to
  2**-16; entries below 2**-126 may count as zero.

  Args:
    updates: float32 [n, d].
    centre: float32 [d], where v starts: the last round's aggregate.
    clip_radius: No update moves the centre by more than this over n (tau in the paper).
    num_iterations: How often the step is repeated (L in the paper).

  Returns:
    float32 [d]; all zeros if no row is finite. Rows with a NaN or an infinity are
    dropped, and n counts the others.

  Guarantees:
    f Byzantine rows move the aggregate by at most num_iterations * clip_radius * f / n, and
    2**-15 of it.
    The paper's proof needs f of about 0.15 n at most and a radius that fits the honest
    spread. A small radius clips honest noise, but not a small reversed vector.

  Raises:
    ValueError: If an option is out of range, or it is known while tracing that the centre does
      not fit the updates.
  """
  _check(clip_radius, num_iterations)
  return _centered_clipping(updates, centre, clip_radius, num_iterations)[0]


def _check(clip_radius: float, num_iterations: int) -> None:
  checks.positive('clip_radius', clip_radius)
  checks.whole_at_least('num_iterations', num_iterations, 1)


def build_centered_clipping(*, clip_radius: float, num_iterations: int = 1) -> rule.AggregationRule:
  """Returns the rule `centered_clipping`, whose state is the last aggregate, float32 [d].

  It starts at zero, and stays where it is in a rejected round.

  Raises:
    ValueError: If `clip_radius` is not a finite number above 0, or `num_iterations` not a whole
      number of at least 1.
  """
  _check(clip_radius, num_iterations)

  def apply(
    state: Any, updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> rule.RuleOutput:
    del weights, seed  # Neither is read.
    aggregate, measurements = _centered_clipping(updates, state, clip_radius, num_iterations)
    following = tf.where(measurements['round_rejected'], state, aggregate)
    return rule.RuleOutput(following, aggregate, measurements)

  return rule.AggregationRule(
    'centered_clipping', lambda dimension: tf.zeros([dimension], tf.float32), apply
  )
