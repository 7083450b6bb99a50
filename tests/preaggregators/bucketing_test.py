import numpy as np
import pytest
import tensorflow as tf

from tff_robust.preaggregators import bucketing

_SEED = tf.constant([5, 6], tf.int64)


@pytest.mark.parametrize(('n', 'size'), [(6, 2), (7, 2), (7, 3), (5, 1), (3, 9)])
def test_every_client_is_in_one_bucket_of_the_right_size(n, size):
  members = bucketing.bucket_members(tf.constant(n), size, _SEED).numpy()
  np.testing.assert_array_equal(members.sum(0), np.ones(n))
  sizes = members.sum(1)
  assert len(sizes) == -(-n // size)
  assert all(sizes[:-1] == size)
  assert sizes[-1] == n - size * (len(sizes) - 1)


@pytest.mark.parametrize(('n', 'size'), [(6, 2), (7, 3), (5, 1)])
def test_buckets_are_the_means_of_their_members(n, size):
  rows = np.random.default_rng(n).normal(size=[n, 4]).astype(np.float32)
  members = bucketing.bucket_members(tf.constant(n), size, _SEED).numpy()
  expected = [rows[mask].astype(np.float64).mean(0) for mask in members]
  actual = bucketing.bucketing(rows, bucket_size=size, seed=_SEED)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


def test_really_permutes_by_the_seed():
  def partition(seed):
    members = bucketing.bucket_members(tf.constant(12), 3, tf.constant([seed, 0], tf.int64))
    return frozenset(frozenset(np.flatnonzero(row)) for row in members.numpy())

  partitions = [partition(seed) for seed in range(20)]
  assert partitions == [partition(seed) for seed in range(20)]
  assert len(set(partitions)) == 20


def test_every_pair_shares_a_bucket_equally_often():
  together = np.zeros([6, 6])
  for seed in range(600):
    members = bucketing.bucket_members(tf.constant(6), 2, tf.constant([seed, 1], tf.int64))
    together += np.einsum('bi,bj->ij', members, members)
  off_diagonal = together[~np.eye(6, dtype=bool)]
  # Expected 120 each, standard deviation 9.8.
  assert 80 < off_diagonal.min() <= off_diagonal.max() < 160


def test_a_nonfinite_row_spoils_its_bucket_only_and_weights_add_up():
  rows = np.ones([7, 2], np.float32)
  rows[4, 1] = np.inf
  step = bucketing.build_bucketing(bucket_size=2)
  buckets, weights = step.apply(rows, np.arange(1, 8, dtype=np.float32), _SEED)
  members = bucketing.bucket_members(tf.constant(7), 2, _SEED).numpy()
  np.testing.assert_array_equal(np.isnan(buckets).all(1), members[:, 4])
  np.testing.assert_array_equal(weights, members @ np.arange(1, 8))
  assert not step.keeps_rows


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf, -3.0])
def test_a_weight_that_cannot_be_spoils_the_weight_of_its_bucket_only(bad):
  rows = np.random.default_rng(0).normal(size=[7, 2]).astype(np.float32)
  claimed = np.arange(1, 8, dtype=np.float32)
  claimed[4] = bad
  buckets, weights = bucketing.build_bucketing(bucket_size=2).apply(rows, claimed, _SEED)
  members = bucketing.bucket_members(tf.constant(7), 2, _SEED).numpy()
  expected = np.where(members[:, 4], np.nan, members @ np.arange(1, 8))
  np.testing.assert_array_equal(weights, expected)
  np.testing.assert_array_equal(buckets, bucketing.bucketing(rows, bucket_size=2, seed=_SEED))


@pytest.mark.parametrize('size', [0, 1.5, None, True])
def test_refuses_empty_and_broken_buckets(size):
  with pytest.raises(ValueError, match=f'bucket_size={size} must be'):
    bucketing.build_bucketing(bucket_size=size)
  with pytest.raises(ValueError, match=f'bucket_size={size} must be'):
    bucketing.bucketing(np.ones([6, 2], np.float32), bucket_size=size, seed=_SEED)


def test_refuses_weights_of_other_rows():
  step = bucketing.build_bucketing(bucket_size=2)
  with pytest.raises(
    ValueError, match=r'weights has shape \(4,\); it must be \[6\], one entry a row'
  ):
    step.apply(np.ones([6, 2], np.float32), np.ones(4, np.float32), _SEED)
