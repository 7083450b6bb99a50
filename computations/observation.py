"""What a simulation can see of a round and no deployment could.

The observer knows who was Byzantine. It runs beside the rule, never feeds it, and its
figures are computed from messages that no privacy guarantee covers: for analysis only.
"""

import collections
from collections.abc import Mapping

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks


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
    With `with_gram`, `gram` (float64 [n, n]): see `gram`.
  """
  honest = tf.logical_not(is_byzantine)
  finite = tf.reduce_all(tf.math.is_finite(updates), axis=1)
  kept = tf.cast(tf.logical_and(honest, finite), tf.float64)
  count = tf.reduce_sum(kept)
  # Sanitised first, because zero times infinity is not zero.
  rows = tf.where(finite[:, tf.newaxis], updates, tf.zeros_like(updates))
  mean = _weighted_sum(kept / tf.maximum(count, 1.0), rows)
  mean_square = tf.reduce_sum(tf.square(mean))
  spread = tf.reduce_sum(kept * _squared_distances_to(rows, mean))
  variance = spread / (count - 1.0)
  ratio = tf.where(count > 1.0, mean_square / variance - 1.0 / tf.maximum(count, 1.0), float('nan'))
  released = tf.cast(aggregate, tf.float64)
  released_norm, mean_norm = tf.norm(released), tf.sqrt(mean_square)
  error = tf.reduce_sum(tf.square(released - mean))
  kappa = tf.where(error > 0.0, error / (spread / tf.maximum(count, 1.0)), 0.0)
  seen = collections.OrderedDict(
    signal_to_noise_ratio=ratio,
    cosine_to_honest_mean=tf.math.divide_no_nan(
      tf.reduce_sum(released * mean), released_norm * mean_norm
    ),
    aggregate_norm=released_norm,
    honest_mean_norm=mean_norm,
    measured_kappa=tf.where(count > 0.0, kappa, float('nan')),
    num_honest=tf.reduce_sum(tf.cast(honest, tf.int32)),
    num_honest_nonfinite=tf.reduce_sum(tf.cast(tf.logical_and(honest, ~finite), tf.int32)),
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

  finite = tf.reduce_all(tf.math.is_finite(updates), axis=1)
  num_rows = tf.shape(updates)[0]
  products = column_blocks.total(
    of_block, updates, initial=tf.zeros([num_rows, num_rows], tf.float64)
  )
  both = tf.logical_and(finite[:, tf.newaxis], finite[tf.newaxis, :])
  return tf.where(both, products, tf.constant(float('nan'), tf.float64))


def _weighted_sum(weights: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
  """Returns float64 [d] of float64 [n] weights and float32 [n, d] rows, row by row."""
  zero = tf.zeros([tf.shape(rows)[1]], tf.float64)
  pairs = (weights, rows)
  return tf.foldl(lambda total, pair: total + pair[0] * tf.cast(pair[1], tf.float64), pairs, zero)


def _squared_distances_to(rows: tf.Tensor, point: tf.Tensor) -> tf.Tensor:
  """Returns float64 [n], the squared distances of float32 [n, d] rows to a float64 [d] point."""
  return tf.map_fn(
    lambda row: tf.reduce_sum(tf.square(tf.cast(row, tf.float64) - point)),
    rows,
    fn_output_signature=tf.float64,
  )
