"""The geometric median by the smoothed Weiszfeld algorithm (RFA).

Krishna Pillutla, Sham M. Kakade, Zaid Harchaoui, "Robust Aggregation for Federated
Learning", IEEE Transactions on Signal Processing 70, 2022, algorithm 2.
https://arxiv.org/abs/1912.13445
"""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import averages, demands, distances, finite_rows, rule

# The inverse of a smaller number overflows.
_LEAST_SMOOTHING = 1e-300
# Of the mean of the unit vectors to the rows, which is zero in their geometric median.
_LARGEST_GRADIENT = 1e-4


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which the rule is defined, 2f + 1."""
  return 2 * max_byzantine + 1


def _weiszfeld(
  gram: tf.Tensor, *, smoothing: float, tolerance: float, max_iterations: int
) -> tf.Tensor:
  """Returns float64 [n]: the shares of the rows in their geometric median.

  All iterates are averages of the rows, so they are followed as shares, by way of the
  rows' inner products.

  Args:
    gram: float64 [n, n], from `distances.central_gram`.
    smoothing: Distances count as at least this.
    tolerance: Stop when an iteration moves by less than this fraction of the median
      distance to the rows, and the gradient is next to nothing. With 0, begin at the mean.
    max_iterations: Stop after so many.
  """
  num_rows = tf.shape(gram)[0]

  def lengths_from(shares: tf.Tensor) -> tf.Tensor:
    offsets = shares[tf.newaxis, :] - tf.eye(num_rows, dtype=tf.float64)
    squared = tf.reduce_sum(tf.matmul(offsets, gram) * offsets, axis=1)
    return tf.sqrt(tf.maximum(squared, 0.0))

  def improve(
    step: tf.Tensor, shares: tf.Tensor, lengths: tf.Tensor, done: tf.Tensor
  ) -> tuple[tf.Tensor, ...]:
    pull = 1.0 / tf.maximum(lengths, smoothing)
    following = pull / tf.reduce_sum(pull)
    shift = (following - shares)[tf.newaxis, :]
    moved = tf.sqrt(tf.maximum(tf.matmul(tf.matmul(shift, gram), shift, transpose_b=True), 0.0))
    lengths = lengths_from(following)
    # A majority of honest rows makes this their scale, however far the others are.
    scale = tf.sort(lengths)[(num_rows - 1) // 2]
    # A row that the iterate lies on holds it back, however hard the others pull: steps are short
    # there, and say nothing.
    gradient = moved[0, 0] * tf.reduce_sum(pull) / tf.cast(num_rows, tf.float64)
    is_there = (moved[0, 0] <= tolerance * scale) & (gradient <= _LARGEST_GRADIENT)
    return step + 1, following, lengths, (tolerance > 0) & is_there

  start = _central_majority(gram)
  if tolerance == 0:
    start = tf.fill([num_rows], 1.0 / tf.cast(num_rows, tf.float64))
  return tf.while_loop(
    lambda step, shares, lengths, done: (step < max_iterations) & ~done,
    improve,
    (tf.constant(0), start, lengths_from(start), tf.constant(False)),
  )[1]


def _central_majority(gram: tf.Tensor) -> tf.Tensor:
  """Returns the shares, float64 [n], of the mean of the tightest majority around a row.

  From the mean of all, which one far row moves anywhere, squared lengths cancel: what is measured
  there is rounding.
  """
  lengths = tf.linalg.diag_part(gram)
  squared = tf.maximum(lengths[:, tf.newaxis] + lengths - 2.0 * gram, 0.0)
  size = tf.shape(gram)[0] // 2 + 1
  nearest = tf.argsort(squared[distances.central_row(squared)], stable=True)[:size]
  shares = tf.fill([size], 1.0 / tf.cast(size, tf.float64))
  return tf.scatter_nd(nearest[:, tf.newaxis], shares, tf.shape(gram)[:1])


def _geometric_median(
  updates: signatures.Updates,
  max_byzantine: int,
  smoothing: float,
  tolerance: float,
  max_iterations: int,
) -> finite_rows.Outcome:
  updates = demands.enough_clients(
    updates,
    rule='geometric_median',
    max_byzantine=max_byzantine,
    required=required_clients,
  )

  def of_finite(kept: tf.Tensor, remaining: tf.Tensor) -> finite_rows.Outcome:
    del remaining
    shares = _weiszfeld(
      distances.central_gram(kept),
      smoothing=smoothing,
      tolerance=tolerance,
      max_iterations=max_iterations,
    )
    return averages.weighted_average(kept, shares), {}

  return finite_rows.aggregate(updates, of_finite, max_byzantine=max_byzantine)


def _check(smoothing: float, tolerance: float, max_iterations: int) -> None:
  checks.positive('smoothing', smoothing)
  checks.at_least('smoothing', smoothing, _LEAST_SMOOTHING)
  checks.nonnegative('tolerance', tolerance)
  checks.whole_at_least('max_iterations', max_iterations, 1)


def geometric_median(
  updates: signatures.Updates,
  *,
  max_byzantine: int,
  smoothing: float = 1e-6,
  tolerance: float = 1e-6,
  max_iterations: int = 1000,
) -> signatures.Aggregate:
  """The point with the smallest sum of Euclidean distances to the updates.

  Found by the smoothed Weiszfeld iteration with equal weights: claimed numbers of examples are
  not read, since an attacker may claim any. `tolerance=0` with `max_iterations=3` are the paper's
  three passes from the mean. Otherwise the iteration deviates from the paper in two ways: it
  begins at the mean of the tightest majority of rows, and it ends only where the gradient of the
  smoothed sum of distances is next to nothing as well. Attackers can put a row on the mean, near
  which every step is short. f is only a demand on n.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.
    smoothing: Distances count as at least this, in the unit of the updates. Updates that are
      much smaller than it are all averaged, Byzantine ones as well.
    tolerance: Stop when an iteration moves by less than this fraction of the median
      distance to the updates, and the mean of the unit vectors to them is no longer than 1e-4;
      0 for a fixed number of iterations from the mean.
    max_iterations: Stop after so many iterations. From a mean that is far away (`tolerance=0`) the
      iteration comes back by a factor of about (n - f) / f in each.

  Returns:
    float32 [d]; all zeros if more than f rows hold a NaN or an infinity. Up to f such
    rows are dropped.

  Guarantees:
    Breakdown point 1/2: with f < n / 2 the smoothed geometric median stays within
    (n - f) / (n - 2f) * (2 r + smoothing / 2) of the honest centre, for honest updates within r
    of it, when iterated far enough: with the default options by far, with three iterations from
    a mean that is far away not at all.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 1, or an option is out of range.
    tf.errors.InvalidArgumentError: If n turns out too small at run time.
  """
  _check(smoothing, tolerance, max_iterations)
  return _geometric_median(updates, max_byzantine, smoothing, tolerance, max_iterations)[0]


def build_geometric_median(
  *,
  max_byzantine: int,
  smoothing: float = 1e-6,
  tolerance: float = 1e-6,
  max_iterations: int = 1000,
) -> rule.AggregationRule:
  """Returns the rule `geometric_median`.

  Args:
    max_byzantine: Declared Byzantine clients, f.
    smoothing: Distances count as at least this, in the unit of the updates.
    tolerance: See `geometric_median`.
    max_iterations: Stop after so many iterations.

  Raises:
    ValueError: If f is not a whole number of at least 0, `smoothing` is less than 1e-300 or not
      finite, `tolerance` is negative or not finite, or `max_iterations` is not a whole number of
      at least 1.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  _check(smoothing, tolerance, max_iterations)
  return finite_rows.build_rule(
    'geometric_median',
    lambda updates, seed: _geometric_median(
      updates, max_byzantine, smoothing, tolerance, max_iterations
    ),
  )
