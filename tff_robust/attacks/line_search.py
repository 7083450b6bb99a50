"""A search on the half-line for the step that harms most, by few evaluations."""

from collections.abc import Callable

import tensorflow as tf

# Away from 0.
_FIRST_STEP = 10.0


def line_search(harm: Callable[[tf.Tensor], tf.Tensor], *, num_evaluations: int) -> tf.Tensor:
  """Returns the best of `num_evaluations` nonnegative points: expand, then contract.

  Starts at 0 and goes further by a doubled step as long as that does more harm. Then
  the step shrinks by a fifth each time; it is tried on the same side of the best point
  as before if that gained, and else on the other. A proposal below 0 is moved half-way
  from the best point to 0.

  The search of the optimised attacks in Youssef Allouah, Sadegh Farhadkhani, Rachid
  Guerraoui, Nirupam Gupta, Rafael Pinot, John Stephan, "Fixing by Mixing", AISTATS
  2023, appendix on experiments, https://arxiv.org/abs/2302.01772, in spirit: the
  harm of a step is not concave, so no such search is exact.

  Args:
    harm: float64 [] -> float64 []; NaN counts as no harm at all.
    num_evaluations: Calls of `harm`, at least 1.

  Returns:
    float64 [].
  """

  def evaluate(point: tf.Tensor) -> tf.Tensor:
    value = harm(point)
    return tf.where(tf.math.is_nan(value), tf.constant(-float('inf'), tf.float64), value)

  def proceed(
    index: tf.Tensor,
    best: tf.Tensor,
    best_harm: tf.Tensor,
    step: tf.Tensor,
    expanding: tf.Tensor,
    forward: tf.Tensor,
  ) -> tuple[tf.Tensor, ...]:
    proposal = best + tf.where(forward, step, -step)
    proposal = tf.where(proposal < 0, best / 2, proposal)
    value = evaluate(proposal)
    better = value > best_harm
    still_expanding = expanding & better
    step = tf.where(still_expanding, 2 * step, 0.8 * step)
    return (
      index + 1,
      tf.where(better, proposal, best),
      tf.where(better, value, best_harm),
      step,
      still_expanding,
      # From 0 only forward; otherwise on where it gained, and else to the other side.
      still_expanding | tf.where(better, forward, ~forward) | (~better & (best == 0)),
    )

  start = tf.constant(0.0, tf.float64)
  result = tf.while_loop(
    lambda index, *_: index < num_evaluations,
    proceed,
    (
      tf.constant(1),
      start,
      evaluate(start),
      tf.constant(_FIRST_STEP, tf.float64),
      tf.constant(True),
      tf.constant(True),
    ),
    parallel_iterations=1,
  )
  return result[1]
