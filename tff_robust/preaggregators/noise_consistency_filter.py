"""Reject messages that cannot be what an honest client's DP mechanism sends.

The norm and distribution tests follow Xiang, Wang, Lin, Wang, "Practical Differentially
Private and Byzantine-resilient Federated Learning", SIGMOD 2023
(https://arxiv.org/abs/2304.09762), which holds messages against the noise that the protocol
prescribes. The thresholds and the test of pairs are our own.
"""

from collections.abc import Mapping

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks, demands, distances, row_norms
from tff_robust.preaggregators import preaggregator
from tff_robust.privacy import noise_limits

_NAME = 'noise_consistency_filter'


def noise_consistency_filter(
  updates: signatures.Updates, *, limits: noise_limits.NoiseLimits
) -> tf.Tensor:
  """The updates, with all entries NaN in rows that no honest client sends under DP noise.

  Three tests against `limits`, which `tff_robust.privacy.noise_limits` derives from clip
  norm, noise multiplier, batch size and dimension: of a row's norm, of the distribution of
  its coordinates, and, among rows that pass both, of the distances of pairs. The third is for
  colluders that add the right noise, but share some of it. While there is a pair that is too
  close, the rows with the most such partners are rejected, all of them if several tie: a
  group of colluders goes as a whole, and a row made to lie close to many honest ones goes
  alone. A row can still be made to fall with one of its partners by whoever knows it: a copy
  of an honest message takes that message along. So the third test is for adversaries that see
  their own messages only: f attackers that all copy one honest message (`mimic`) make f + 1
  rows fall, and the rule rejects every round, and two that copy one message each make four
  fall, which leaves the rule with an f that is too low by two.

  What remains are attackers with full noise of their own, such as `noise_matched_ipm` without
  shared noise; a rule then faces one more noisy row, as if it were an honest one.

  Args:
    updates: float32 [n, d]. A row with a NaN or an infinity stays as it is.
    limits: The thresholds, for dimension d and rounds of at least n clients.

  Returns:
    float32 [n, d]. NaN rows are what a rule takes for infinitely far: it lowers f by their
    number, and rejects the round when they are more than f: there are more attackers than it
    was told, or honest messages are not what the protocol says, or were copied.

  Guarantees:
    In a round of honest messages, none is rejected with probability at least
    1 - `limits.false_rejection_probability`. The first two tests keep that promise to an
    honest row whatever the other rows are.

  Raises:
    ValueError: If `updates` is known not to be a matrix.
  """
  updates = demands.as_updates(updates)
  lengths = row_norms.norms(updates)
  consistent = tf.math.is_finite(lengths) & _has_allowed_norm(lengths, limits)
  distance = distribution_distance(updates, _likely_stddev(lengths, updates, limits))
  consistent &= distance <= limits.distribution_distance
  if limits.pair_distance > 0:
    consistent = _without_close_pairs(updates, consistent, limits.pair_distance)
  kept = consistent | ~demands.finite_rows(updates)
  return tf.where(kept[:, tf.newaxis], updates, float('nan'))


def distribution_distance(updates: signatures.Updates, noise_stddev: tf.Tensor) -> tf.Tensor:
  """Distance between the distribution of a row's coordinates and centred Gaussian noise.

  The distance of Kolmogorov, taken at the values that cut the normal distribution into
  `noise_limits.NUM_CELLS` cells of equal probability: counting replaces sorting, and is less
  than the distance by one cell's probability at most.

  Args:
    updates: float32 [n, d].
    noise_stddev: float64 [n], the standard deviation to compare each row with.

  Returns:
    float64 [n]; meaningless in rows with a NaN or an infinity.
  """
  num_rows, num_cells = tf.shape(updates)[0], noise_limits.NUM_CELLS
  scale = tf.cast(noise_stddev * 2.0**0.5, tf.float32)[:, tf.newaxis]
  first_cell = num_cells * tf.range(num_rows)[:, tf.newaxis]

  def count(block: tf.Tensor) -> tf.Tensor:
    probability = 0.5 + 0.5 * tf.math.erf(tf.where(tf.math.is_finite(block), block, 0.0) / scale)
    cell = tf.minimum(tf.cast(num_cells * probability, tf.int32), num_cells - 1)
    cell = tf.reshape(first_cell + cell, [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(cell), cell, num_rows * num_cells)
    return tf.reshape(counts, [num_rows, num_cells])

  initial = tf.zeros([num_rows, num_cells], tf.int32)
  counts = column_blocks.total(count, updates, initial=initial)
  below = tf.cast(tf.cumsum(counts, axis=1)[:, :-1], tf.float64)
  below /= tf.cast(tf.shape(updates)[1], tf.float64)
  expected = tf.range(1, num_cells, dtype=tf.float64) / num_cells
  return tf.reduce_max(tf.abs(below - expected), axis=1)


def _has_allowed_norm(lengths: tf.Tensor, limits: noise_limits.NoiseLimits) -> tf.Tensor:
  intervals = tf.constant(limits.norm_intervals, tf.float64)
  within = (lengths[:, tf.newaxis] >= intervals[:, 0]) & (lengths[:, tf.newaxis] <= intervals[:, 1])
  return tf.reduce_any(within, axis=1)


def _likely_stddev(
  lengths: tf.Tensor, updates: tf.Tensor, limits: noise_limits.NoiseLimits
) -> tf.Tensor:
  """Returns float64 [n]: the deviation that a row's norm suggests, within what is possible."""
  least, greatest = limits.noise_stddevs
  suggested = lengths / tf.sqrt(tf.cast(tf.shape(updates)[1], tf.float64))
  finite = tf.where(tf.math.is_finite(lengths), suggested, tf.ones_like(lengths))
  return tf.clip_by_value(finite, tf.constant(least, tf.float64), tf.constant(greatest, tf.float64))


def _without_close_pairs(
  updates: tf.Tensor, consistent: tf.Tensor, pair_distance: float
) -> tf.Tensor:
  """Returns bool [n]: what is left of `consistent` when no two rows are too close."""
  candidates = tf.where(consistent[:, tf.newaxis], updates, float('nan'))
  close = distances.squared_distances(candidates) < pair_distance**2
  close = tf.linalg.set_diag(close, tf.zeros_like(consistent))

  def num_partners(kept: tf.Tensor) -> tf.Tensor:
    both = close & kept[:, tf.newaxis] & kept[tf.newaxis, :]
    return tf.math.count_nonzero(both, axis=1, dtype=tf.int32)

  def reject_most_involved(kept: tf.Tensor) -> tuple[tf.Tensor]:
    partners = num_partners(kept)
    return (kept & (partners < tf.reduce_max(partners)),)

  (kept,) = tf.while_loop(
    lambda kept: tf.reduce_any(num_partners(kept) > 0),
    reject_most_involved,
    (consistent,),
    parallel_iterations=1,
  )
  return kept


def build_noise_consistency_filter(
  *, limits: noise_limits.NoiseLimits
) -> preaggregator.PreAggregator:
  """Returns the pre-aggregator `noise_consistency_filter`, which measures `num_filtered`.

  Weights stay with their rows.
  """

  def apply(
    updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> tuple[signatures.Updates, signatures.Weights]:
    del seed  # Nothing is drawn.
    return noise_consistency_filter(updates, limits=limits), weights

  def measure(before: tf.Tensor, after: tf.Tensor) -> Mapping[str, tf.Tensor]:
    rejected = demands.finite_rows(before) & ~demands.finite_rows(after)
    return {'num_filtered': tf.math.count_nonzero(rejected, dtype=tf.int32)}

  return preaggregator.PreAggregator(_NAME, apply, measure=measure)
