"""Nearest-neighbour mixing (NNM): each update becomes the mean of its neighbourhood.

Youssef Allouah, Sadegh Farhadkhani, Rachid Guerraoui, Nirupam Gupta, Rafael Pinot, John
Stephan, "Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity",
AISTATS 2023. https://proceedings.mlr.press/v206/allouah23a.html
"""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import demands, distances
from tff_robust.preaggregators import preaggregator, row_mixing

_NAME = 'nearest_neighbor_mixing'


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which mixing is defined, 2f + 1."""
  return 2 * max_byzantine + 1


def nearest_neighbor_mixing(updates: signatures.Updates, *, max_byzantine: int) -> tf.Tensor:
  """Each update replaced by the mean of the n - f updates nearest to it, itself included.

  Ties go to the smallest row index. A row with a NaN or an infinity becomes all NaN, and
  is nobody's neighbour as long as there are at most f of them.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.

  Returns:
    float32 [n, d].

  Guarantees:
    A rule with robustness coefficient kappa has at most 8f / (n - f) * (1 + kappa) on
    the mixed rows, which is lower only for small f / n.

  Raises:
    ValueError: If n is known while tracing and n < 2f + 1.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  updates = demands.enough_clients(
    updates,
    rule=_NAME,
    max_byzantine=max_byzantine,
    required=required_clients,
    kind='pre-aggregator',
  )
  num_rows = tf.shape(updates)[0]
  squared = distances.squared_distances(updates)
  neighbours = tf.math.top_k(-squared, k=num_rows - max_byzantine).indices
  members = tf.reduce_any(tf.one_hot(neighbours, num_rows, on_value=True, off_value=False), axis=1)
  shares = tf.cast(members, tf.float64) / tf.cast(num_rows - max_byzantine, tf.float64)
  # A non-finite row stays with itself, and hence non-finite.
  alone = tf.eye(num_rows, dtype=tf.float64)
  finite = tf.math.is_finite(tf.linalg.diag_part(squared))
  return row_mixing.mix_rows(updates, tf.where(finite[:, tf.newaxis], shares, alone))


def build_nearest_neighbor_mixing(*, max_byzantine: int) -> preaggregator.PreAggregator:
  """Returns the pre-aggregator `nearest_neighbor_mixing`; weights stay with their rows.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)

  def apply(
    updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> tuple[signatures.Updates, signatures.Weights]:
    del seed  # Nothing is drawn.
    return nearest_neighbor_mixing(updates, max_byzantine=max_byzantine), weights

  return preaggregator.PreAggregator(_NAME, apply)
