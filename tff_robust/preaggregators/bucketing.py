"""Bucketing: average the updates of random groups before a rule sees them.

Sai Praneeth Karimireddy, Lie He, Martin Jaggi, "Byzantine-Robust Learning on
Heterogeneous Datasets via Bucketing", ICLR 2022.
https://arxiv.org/abs/2006.09365
"""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import demands
from tff_robust.preaggregators import preaggregator, row_mixing


def bucket_members(num_clients: tf.Tensor, bucket_size: int, seed: signatures.Seed) -> tf.Tensor:
  """Returns bool [ceil(n / s), n]: a random partition of n clients into buckets of s.

  The last bucket holds what is left, and may be smaller.
  """
  place = tf.random.experimental.stateless_shuffle(tf.range(num_clients), seed)
  num_buckets = (num_clients + bucket_size - 1) // bucket_size
  return tf.equal(tf.range(num_buckets)[:, tf.newaxis], (place // bucket_size)[tf.newaxis, :])


def _bucket(
  updates: signatures.Updates,
  weights: signatures.Weights,
  bucket_size: int,
  seed: signatures.Seed,
) -> tuple[tf.Tensor, tf.Tensor]:
  updates = demands.as_updates(updates)
  members = bucket_members(tf.shape(updates)[0], bucket_size, seed)
  weights = demands.one_each_row('weights', weights, updates)
  usable = demands.usable_weights(weights)
  # Summed without what is not a weight: even zero times a NaN is a NaN, in every bucket.
  counted = tf.where(usable, tf.cast(weights, tf.float64), 0.0)
  totals = tf.cast(tf.linalg.matvec(tf.cast(members, tf.float64), counted), tf.float32)
  spoiled = tf.reduce_any(members & ~usable[tf.newaxis, :], axis=1)
  return row_mixing.average_rows(updates, members), tf.where(spoiled, float('nan'), totals)


def bucketing(updates: signatures.Updates, *, bucket_size: int, seed: signatures.Seed) -> tf.Tensor:
  """The means of random buckets of `bucket_size` updates.

  f Byzantine clients spoil at most f buckets, so the rule that follows is declared for
  the same f among ceil(n / bucket_size) rows. A bucket with a NaN or an infinity is all
  NaN.

  Args:
    updates: float32 [n, d].
    bucket_size: Updates in a bucket, s; the last bucket may have fewer.
    seed: int64 [2], from which the partition is drawn.

  Returns:
    float32 [ceil(n / s), d].

  Raises:
    ValueError: If `bucket_size` is not positive.
  """
  checks.whole_at_least('bucket_size', bucket_size, 1)
  updates = demands.as_updates(updates)
  return _bucket(updates, tf.ones(tf.shape(updates)[:1]), bucket_size, seed)[0]


def build_bucketing(*, bucket_size: int) -> preaggregator.PreAggregator:
  """Returns the pre-aggregator `bucketing`; a bucket weighs as much as its clients.

  A weight that is negative or not finite makes that of its bucket NaN, and no other: as a row
  with a NaN does, it costs its client the bucket that it is in. A rule that reads weights drops
  the bucket; to all others, what clients claim of themselves makes no difference here either.

  Raises:
    ValueError: If `bucket_size` is not a whole number of at least 1.
  """
  checks.whole_at_least('bucket_size', bucket_size, 1)

  def apply(
    updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> tuple[signatures.Updates, signatures.Weights]:
    return _bucket(updates, weights, bucket_size, seed)

  return preaggregator.PreAggregator('bucketing', apply, keeps_rows=False)
