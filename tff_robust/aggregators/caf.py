"""Covariance bound-agnostic filter (CAF): scale rows down along the worst direction.

Youssef Allouah, Rachid Guerraoui, John Stephan, "Towards Trustworthy Federated Learning
with Untrusted Participants", ICML 2025. https://arxiv.org/abs/2505.01874
"""

import numpy as np
import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import averages, demands, distances, finite_rows, rule


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which the rule is defined, 2f + 1."""
  return 2 * max_byzantine + 1


def _worst_direction(gram: tf.Tensor, shares: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the largest eigenvalue of the weighted covariance, and squared projections.

  Args:
    gram: float64 [n, n], inner products of the rows around any origin.
    shares: float64 [n], nonnegative with sum 1.

  Returns:
    float64 [], and float64 [n], the squared projections of the rows, centred at their
    weighted mean, on the eigenvector of that eigenvalue.
  """
  to_mean = tf.linalg.matvec(gram, shares)
  centred = gram - to_mean[:, tf.newaxis] - to_mean[tf.newaxis, :]
  centred += tf.reduce_sum(to_mean * shares)
  # Rows without weight may be astronomically far, and must not disturb the others.
  roots = tf.sqrt(shares)
  counted = roots > 0
  scaled = tf.where(
    counted[:, tf.newaxis] & counted[tf.newaxis, :],
    centred * roots[:, tf.newaxis] * roots[tf.newaxis, :],
    tf.zeros_like(centred),
  )
  values, vectors = tf.linalg.eigh(scaled)
  largest = tf.maximum(values[-1], 0.0)
  projections = tf.linalg.matvec(centred, roots * vectors[:, -1])
  return largest, tf.math.divide_no_nan(tf.square(projections), largest)


def _filtered_shares(gram: tf.Tensor, max_byzantine: tf.Tensor) -> tf.Tensor:
  """Returns float64 [n]: the shares of the rows in the mean of smallest eigenvalue."""
  num_rows = tf.shape(gram)[0]
  enough = tf.cast(num_rows - 2 * max_byzantine, tf.float64)

  def filter_once(
    weights: tf.Tensor, best_shares: tf.Tensor, best: tf.Tensor, done: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    shares = weights / tf.reduce_sum(weights)
    largest, scores = _worst_direction(gram, shares)
    best_shares = tf.where(largest < best, shares, best_shares)
    best = tf.minimum(largest, best)
    highest = tf.reduce_max(tf.where(weights > 0, scores, tf.zeros_like(scores)))
    kept = tf.maximum(1.0 - tf.math.divide_no_nan(scores, highest), 0.0)
    return tf.where(weights > 0, weights * kept, weights), best_shares, best, highest <= 0

  weights = tf.ones([num_rows], tf.float64)
  return tf.while_loop(
    lambda weights, best_shares, best, done: (tf.reduce_sum(weights) > enough) & ~done,
    filter_once,
    (
      weights,
      weights / tf.reduce_sum(weights),
      tf.constant(np.inf, tf.float64),
      tf.constant(False),
    ),
  )[1]


def _caf(updates: signatures.Updates, max_byzantine: int) -> finite_rows.Outcome:
  updates = demands.enough_clients(
    updates, rule='caf', max_byzantine=max_byzantine, required=required_clients
  )

  def of_finite(kept: tf.Tensor, remaining: tf.Tensor) -> finite_rows.Outcome:
    shares = _filtered_shares(distances.central_gram(kept), remaining)
    # With f = 0 nothing is filtered, and the mean is the answer.
    return averages.weighted_average(kept, shares), {}

  return finite_rows.aggregate(updates, of_finite, max_byzantine=max_byzantine)


def caf(updates: signatures.Updates, *, max_byzantine: int) -> signatures.Aggregate:
  """The weighted mean of smallest covariance met while filtering along worst directions.

  Starting from equal weights c, and while their sum exceeds n - 2f: take the top
  eigenvector of the weighted covariance, and multiply each c_i by 1 - t_i / max t, where
  t_i is the squared projection of row i from the weighted mean. The weighted mean of
  the step with the smallest top eigenvalue is returned. The eigenvectors are exact, by
  way of the n x n inner products.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.

  Returns:
    float32 [d]; all zeros if more than f rows hold a NaN or an infinity. Up to f such
    rows are dropped, and f is lowered by their number.

  Guarantees:
    (f, kappa)-robust against the honest covariance's top eigenvalue, without knowing a
    bound on it, in polynomial time.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 1.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  return _caf(updates, max_byzantine)[0]


def build_caf(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns the rule `caf`.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  return finite_rows.build_rule('caf', lambda updates, seed: _caf(updates, max_byzantine))
