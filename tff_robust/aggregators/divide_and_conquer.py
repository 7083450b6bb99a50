"""Divide and conquer (DnC): drop what stands out along the main direction.

Virat Shejwalkar, Amir Houmansadr, "Manipulating the Byzantine: Optimizing Model
Poisoning Attacks and Defenses for Federated Learning", NDSS 2021, algorithm 2.
https://www.ndss-symposium.org/ndss-paper/manipulating-the-byzantine-optimizing-model-poisoning-attacks-and-defenses-for-federated-learning/
"""

import math

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import averages, demands, finite_rows, rule

_NAME = 'divide_and_conquer'
# What a product of f and a factor may lack of a whole number.
_ROUNDING = 1e-9


def required_clients(max_byzantine: int, filter_factor: float = 1.0) -> int:
  """Returns the smallest round of which something is kept, and of which most are honest."""
  return max(2 * max_byzantine, math.floor(filter_factor * max_byzantine + _ROUNDING)) + 1


def _outlier_scores(rows: tf.Tensor) -> tf.Tensor:
  """Returns float64 [n]: squared projections of the centred rows on their main direction."""
  wide = tf.cast(rows, tf.float64)
  centred = wide - tf.reduce_mean(wide, axis=0, keepdims=True)
  # In units of the largest entry nothing overflows.
  centred = tf.math.divide_no_nan(centred, tf.reduce_max(tf.abs(centred)))
  values, vectors = tf.linalg.eigh(tf.matmul(centred, centred, transpose_b=True))
  # A left singular vector times its singular value is the projections.
  return tf.maximum(values[-1], 0.0) * tf.square(vectors[:, -1])


def _divide_and_conquer(
  updates: signatures.Updates,
  seed: signatures.Seed,
  max_byzantine: int,
  num_iterations: int,
  num_coordinates: int,
  filter_factor: float,
) -> finite_rows.Outcome:
  updates = demands.enough_clients(
    updates,
    rule=_NAME,
    max_byzantine=max_byzantine,
    required=lambda f: required_clients(f, filter_factor),
  )

  def of_finite(kept: tf.Tensor, remaining: tf.Tensor) -> finite_rows.Outcome:
    num_rows, width = tf.shape(kept)[0], tf.shape(kept)[1]
    whole = tf.floor(filter_factor * tf.cast(remaining, tf.float64) + _ROUNDING)
    # At least one while one may be left: a row with a NaN, which lowers f, turns no filter off.
    dropped = tf.maximum(tf.cast(whole, tf.int32), tf.minimum(remaining, 1))

    def filter_once(index: tf.Tensor, selected: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      draw = tf.random.experimental.stateless_fold_in(seed, tf.cast(index, tf.int64))
      shuffled = tf.random.experimental.stateless_shuffle(tf.range(width), draw)
      scores = _outlier_scores(tf.gather(kept, shuffled[:num_coordinates], axis=1))
      lowest = tf.math.top_k(-scores, k=num_rows - dropped).indices
      passed = tf.scatter_nd(lowest[:, tf.newaxis], tf.ones_like(lowest), [num_rows]) > 0
      return index + 1, selected & passed

    _, selected = tf.while_loop(
      lambda index, _: index < num_iterations,
      filter_once,
      (tf.constant(0), tf.fill([num_rows], True)),
      shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
    )
    average = averages.weighted_average(kept, tf.cast(selected, tf.float64))
    return average, {'selected': selected}

  aggregate, measurements = finite_rows.aggregate(updates, of_finite, max_byzantine=max_byzantine)
  nothing_left = ~tf.reduce_any(measurements['selected'])
  return aggregate, {
    **measurements,
    'round_rejected': measurements['round_rejected'] | nothing_left,
  }


def divide_and_conquer(
  updates: signatures.Updates,
  *,
  max_byzantine: int,
  seed: signatures.Seed,
  num_iterations: int = 1,
  num_coordinates: int = 10_000,
  filter_factor: float = 1.0,
) -> signatures.Aggregate:
  """The mean of the updates that no random subset of coordinates shows as outliers.

  Each iteration takes random coordinates, centres the updates, projects them on their
  top right singular vector and drops the `floor(filter_factor * f)` (one at least) largest squared
  projections; the rows that pass all iterations are averaged. Ties keep the smallest
  row index; how projections that are equal but for rounding compare is left to it.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.
    seed: int64 [2], from which the coordinates are drawn.
    num_iterations: How many subsets of coordinates are tried.
    num_coordinates: Size of a subset (all coordinates, if d is smaller).
    filter_factor: How many rows a filter drops, in units of f (c in the paper); with f above 0,
      so many that it is at least one.

  Returns:
    float32 [d]; all zeros if no row passes, or if more than f rows hold a NaN or an
    infinity. Up to f such rows are dropped, and f is lowered by their number.

  Guarantees:
    None for any single draw; the paper's bound needs honest updates of bounded spread
    and a Byzantine mean away from theirs.

  Raises:
    ValueError: If n is known while tracing and too small, or an option is out of range.
    tf.errors.InvalidArgumentError: If n turns out too small at run time.
  """
  _check(num_iterations, num_coordinates, filter_factor, max_byzantine)
  return _divide_and_conquer(
    updates, seed, max_byzantine, num_iterations, num_coordinates, filter_factor
  )[0]


def _check(
  num_iterations: int, num_coordinates: int, filter_factor: float, max_byzantine: int
) -> None:
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  checks.whole_at_least('num_iterations', num_iterations, 1)
  checks.whole_at_least('num_coordinates', num_coordinates, 1)
  checks.positive('filter_factor', filter_factor)
  if 0 < filter_factor * max_byzantine < 1:
    raise ValueError(
      f'filter_factor={filter_factor} with max_byzantine={max_byzantine} drops no row; raise it'
      f' to at least {1 / max_byzantine:.3g}.'
    )


def build_divide_and_conquer(
  *,
  max_byzantine: int,
  num_iterations: int = 1,
  num_coordinates: int = 10_000,
  filter_factor: float = 1.0,
) -> rule.AggregationRule:
  """Returns the rule `divide_and_conquer`, which also measures `selected`.

  Raises:
    ValueError: If f is not a whole number of at least 0, `num_iterations` or `num_coordinates`
      not one of at least 1, `filter_factor` not a finite number above 0, or `filter_factor`
      times f above 0 and below 1, so that no row would be dropped.
  """
  _check(num_iterations, num_coordinates, filter_factor, max_byzantine)
  return finite_rows.build_rule(
    _NAME,
    lambda updates, seed: _divide_and_conquer(
      updates, seed, max_byzantine, num_iterations, num_coordinates, filter_factor
    ),
  )
