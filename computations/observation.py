"""What a simulation can see of a round and no deployment could.

The observer knows who was Byzantine. It runs beside the rule, never feeds it, and its
figures are computed from messages that no privacy guarantee covers: for analysis only.
"""

import collections
from collections.abc import Mapping

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks, demands


def observe(
  updates: signatures.Updates,
  is_byzantine: tf.Tensor,
  aggregate: signatures.Aggregate,
  *,
  with_gram: bool = False,
) -> Mapping[str, tf.Tensor]:
  """Compares an aggregate with the honest messages of its round.

  Args:
    updates: float32 [n, d], the messages as the rule received them.
    is_byzantine: bool [n].
    aggregate: float32 [d].
    with_gram: Whether the inner products of all messages are measured too.

  Returns:
    `signal_to_noise_ratio` (float64 []): R = ||g||^2 / tr(Cov) of the honest messages, by
    the unbiased estimate q - 1/h with q = ||mean||^2 / (sum ||x_i - mean||^2 / (h - 1)); it
    can be slightly negative when noise dominates, and is NaN for h < 2.
    `cosine_to_honest_mean`, `aggregate_norm`, `honest_mean_norm` (float64 []), `num_honest`,
    `num_honest_nonfinite` and `num_byzantine` (int32 []). `measured_kappa` (float64 []): the
    squared distance of the aggregate to the honest mean, divided by the mean squared distance
    of an honest message to it; what (f, kappa)-robustness bounds. Only finite honest rows count.
    Infinite for an aggregate that is not finite.
    With `with_gram`, `gram` (float64 [n, n]): see `gram`.
  """
  honest = tf.logical_not(is_byzantine)
  count, sums, num_nonfinite = _honest_sums(updates, honest, aggregate)
  mean_square, spread, released_square, product, error = tf.unstack(sums)
  variance = spread / (count - 1.0)
  ratio = tf.where(count > 1.0, mean_square / variance - 1.0 / tf.maximum(count, 1.0), float('nan'))
  released_norm, mean_norm = tf.sqrt(released_square), tf.sqrt(mean_square)
  kappa = tf.where(error > 0.0, error / (spread / tf.maximum(count, 1.0)), 0.0)
  kappa = tf.where(tf.math.is_finite(error), kappa, tf.constant(float('inf'), tf.float64))
  seen = collections.OrderedDict(
    signal_to_noise_ratio=ratio,
    cosine_to_honest_mean=tf.math.divide_no_nan(product, released_norm * mean_norm),
    aggregate_norm=released_norm,
    honest_mean_norm=mean_norm,
    measured_kappa=tf.where(count > 0.0, kappa, float('nan')),
    num_honest=tf.reduce_sum(tf.cast(honest, tf.int32)),
    num_honest_nonfinite=num_nonfinite,
    num_byzantine=tf.reduce_sum(tf.cast(is_byzantine, tf.int32)),
  )
  if with_gram:
    seen['gram'] = gram(updates)
  return seen


def gram(updates: signatures.Updates) -> tf.Tensor:
  """Returns the inner products of all pairs of messages, NaN for those that are not finite.

  Args:
    updates: float32 [n, d].

  Returns:
    float64 [n, n].
  """

  def of_block(block: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(block, tf.float64)
    return tf.matmul(wide, wide, transpose_b=True)

  finite = demands.finite_rows(updates)
  num_rows = tf.shape(updates)[0]
  products = column_blocks.total(
    of_block, updates, initial=tf.zeros([num_rows, num_rows], tf.float64)
  )
  both = tf.logical_and(finite[:, tf.newaxis], finite[tf.newaxis, :])
  return tf.where(both, products, tf.constant(float('nan'), tf.float64))


# Where messages are spread by less than this share of their squares, differences are summed.
_CLOSE = 1e-3


def _honest_sums(
  updates: signatures.Updates, honest: tf.Tensor, aggregate: signatures.Aggregate
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Returns how many honest messages count (float64), their `_sums`, how many do not (int32)."""

  def over(kept: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    indices = tf.where(kept)[:, 0]
    count = tf.cast(tf.shape(indices)[0], tf.float64)

    def total(*, spread_of_squares: bool) -> tf.Tensor:
      return column_blocks.total(
        lambda block, released: _sums(
          block, released, indices, count, spread_of_squares=spread_of_squares
        ),
        updates,
        beside=aggregate,
        initial=tf.zeros([5], tf.float64),
      )

    sums = total(spread_of_squares=True)
    squares = sums[1] + count * sums[0]
    # Squares that nearly cancel say little about the spread. (NaN is not close.)
    close = sums[1] < _CLOSE * squares
    return count, tf.cond(close, lambda: total(spread_of_squares=False), lambda: sums)

  def over_finite() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    finite = demands.finite_rows(updates)
    num_nonfinite = tf.reduce_sum(tf.cast(tf.logical_and(honest, ~finite), tf.int32))
    return *over(tf.logical_and(honest, finite)), num_nonfinite

  # No square of a float32 overflows in float64, so that the sums of finite rows are finite,
  # and messages need not be looked at twice.
  count, sums = over(honest)
  return tf.cond(
    tf.math.is_finite(sums[0] + sums[1]),
    lambda: (count, sums, tf.constant(0)),
    over_finite,
  )


def _sums(
  block: tf.Tensor,
  released: tf.Tensor,
  kept: tf.Tensor,
  count: tf.Tensor,
  *,
  spread_of_squares: bool,
) -> tf.Tensor:
  """Returns what the figures of a round are made of, for some of the columns.

  Args:
    block: float32 [n, width], the messages.
    released: float32 [width], the aggregate.
    kept: int64 [h], which messages count.
    count: float64 [], h.
    spread_of_squares: Whether the differences from the mean are taken from sums of squares,
      which is faster and good where the messages are not close to each other.

  Returns:
    float64 [5], sums over columns: the squares of the honest mean; the squared differences of
    the honest messages from it; the squares of the aggregate; its products with the honest
    mean; its squared differences from the honest mean.
  """
  # Gathered and not multiplied by zero, because zero times infinity is not zero.
  all_kept = tf.equal(tf.size(kept), tf.shape(block)[0])
  rows = tf.cond(all_kept, lambda: block, lambda: tf.gather(block, kept))
  rows = tf.cast(rows, tf.float64)
  released = tf.cast(released, tf.float64)
  # A product with ones takes less time than a sum over rows.
  sums = tf.matmul(tf.ones([1, tf.shape(rows)[0]], tf.float64), rows)[0]
  mean = sums / tf.maximum(count, 1.0)
  mean_square, released_square, error = [
    2.0 * tf.nn.l2_loss(values) for values in (mean, released, released - mean)
  ]
  if spread_of_squares:
    spread = 2.0 * tf.nn.l2_loss(rows) - count * mean_square
  else:
    spread = 2.0 * tf.nn.l2_loss(rows - mean)
  product = tf.reduce_sum(released * mean)
  return tf.stack([mean_square, spread, released_square, product, error])
