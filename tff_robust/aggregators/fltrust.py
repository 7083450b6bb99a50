"""FLTrust: updates trusted as far as they point where the server's own update points.

Xiaoyu Cao, Minghong Fang, Jia Liu, Neil Zhenqiang Gong, "FLTrust: Byzantine-robust
Federated Learning via Trust Bootstrapping", NDSS 2021, algorithm 2.
https://arxiv.org/abs/2012.13995
"""

from typing import Any

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import averages, column_blocks, demands, finite_rows, rule


def _products_and_norms(
  updates: tf.Tensor, root_update: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Returns the rows' inner products with the root update, their norms, and its norm.

  Returns:
    float64 [n], float64 [n] and float64 [].
  """

  def of_block(block: tf.Tensor, root: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(block, tf.float64)
    products = tf.linalg.matvec(wide, tf.cast(root, tf.float64))
    return tf.stack([products, tf.reduce_sum(tf.square(wide), axis=1)])

  zeros = tf.zeros([2, tf.shape(updates)[0]], tf.float64)
  sums = column_blocks.total(of_block, updates, initial=zeros, beside=root_update)
  products, squares = tf.unstack(sums)
  return products, tf.sqrt(squares), tf.norm(tf.cast(root_update, tf.float64))


def _fltrust(updates: signatures.Updates, root_update: tf.Tensor) -> finite_rows.Outcome:
  updates = demands.enough_clients(updates, rule='fltrust', max_byzantine=0, required=1)
  root_update = demands.one_each_coordinate('root_update', root_update, updates)
  finite = demands.finite_rows(updates)
  products, norms, root_norm = _products_and_norms(updates, root_update)
  # Not a number without a direction: for a zero row, and for all rows of a zero root update.
  cosines = products / (norms * root_norm)
  trust = tf.where(
    finite & tf.math.is_finite(cosines), tf.maximum(cosines, 0.0), tf.zeros_like(cosines)
  )
  total = tf.reduce_sum(trust)
  scales = tf.where(trust > 0, trust * root_norm / (norms * total), tf.zeros_like(trust))
  # The root update's norm may not be a float32, and one coordinate get all of it.
  aggregate = tf.clip_by_value(
    averages.weighted_sum(updates, scales), tf.float32.min, tf.float32.max
  )
  return aggregate, {
    'num_nonfinite': tf.math.count_nonzero(~finite, dtype=tf.int32),
    'round_rejected': tf.equal(total, 0.0),
    'trust': trust,
  }


def fltrust(updates: signatures.Updates, *, root_update: tf.Tensor) -> signatures.Aggregate:
  """The average of the updates, rescaled to the root update's norm, weighted by trust.

  The trust of a row is its cosine to the root update g, or 0 where that is negative:
  sum_i trust_i (|g| / |x_i|) x_i / sum_i trust_i. The weights of clients play no part, and
  entries below 2**-126 may count as zero.

  Args:
    updates: float32 [n, d].
    root_update: float32 [d], what the server computed like a client on its root set.

  Returns:
    float32 [d], summed in float64; all zeros if no row is trusted, as when the root update is
    zero or holds a NaN or an infinity. Rows with a NaN or an infinity have trust 0.

  Guarantees:
    The aggregate is no longer than the root update and never points against it, whatever
    the clients send and however many of them are Byzantine. A row that is opposed to the
    root update has no influence at all. How much of an honest majority's direction is
    followed depends on how well the root set stands for the clients' data.

  Raises:
    ValueError: If it is known while tracing that there is no row, or that the root update does
      not fit the updates.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  return _fltrust(updates, root_update)[0]


def build_fltrust() -> rule.RootedRule:
  """Returns the rooted rule `fltrust`, which also measures `trust`, float64 [n]."""

  def apply(
    state: Any,
    updates: signatures.Updates,
    weights: signatures.Weights,
    seed: signatures.Seed,
    root: rule.RootView,
  ) -> rule.RuleOutput:
    del weights, seed  # FLTrust reads neither.
    return rule.RuleOutput(state, *_fltrust(updates, root.update))

  return rule.RootedRule('fltrust', lambda dimension: (), apply)
