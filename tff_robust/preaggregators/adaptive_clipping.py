"""Adaptive robust clipping (ARC): clip the longest updates to the next longest.

Youssef Allouah, Rachid Guerraoui, Nirupam Gupta, Ahmed Jellouli, Geovani Rizk, John
Stephan, "Adaptive Gradient Clipping for Robust Federated Learning", ICLR 2025.
https://arxiv.org/abs/2405.14432
"""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import demands, row_norms
from tff_robust.preaggregators import preaggregator, static_clipping

_NAME = 'adaptive_clipping'


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which the clipping is defined, 2f + 1."""
  return 2 * max_byzantine + 1


def adaptive_clipping(updates: signatures.Updates, *, max_byzantine: int) -> tf.Tensor:
  """The floor(2 f (n - f) / n) longest updates, clipped to the norm of the next one.

  Rows with a NaN or an infinity are left as they are, for the rule; n and f are then
  those of the other rows, f being lowered by their number.

  Args:
    updates: float32 [n, d].
    max_byzantine: Declared Byzantine clients, f, with n >= 2f + 1.

  Returns:
    float32 [n, d]. Rows that are longer by less than 2**-14 may stay.

  Guarantees:
    Keeps the robustness coefficient of the rule that follows, up to a constant, and every row
    no longer than the longest honest update, and 2**-13 of it: so is the aggregate of a rule that
    averages rows. (A coordinate-wise one may answer with a longer vector than any row.)

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
  lengths = row_norms.close_norms(updates)
  finite = tf.math.is_finite(lengths)
  num_finite = tf.math.count_nonzero(finite, dtype=tf.int32)
  remaining = tf.maximum(max_byzantine - (tf.shape(lengths)[0] - num_finite), 0)
  num_clipped = 2 * remaining * (num_finite - remaining) // tf.maximum(num_finite, 1)
  longest_first = tf.sort(tf.where(finite, lengths, -tf.ones_like(lengths)), direction='DESCENDING')
  return static_clipping.clip_to(updates, lengths, longest_first[num_clipped])


def build_adaptive_clipping(*, max_byzantine: int) -> preaggregator.PreAggregator:
  """Returns the pre-aggregator `adaptive_clipping`; weights stay with their rows.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)

  def apply(
    updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> tuple[signatures.Updates, signatures.Weights]:
    del seed  # Nothing is drawn.
    return adaptive_clipping(updates, max_byzantine=max_byzantine), weights

  return preaggregator.PreAggregator(_NAME, apply)
