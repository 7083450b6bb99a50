"""Static clipping: no update is longer than a fixed norm.

Ziteng Sun, Peter Kairouz, Ananda Theertha Suresh, H. Brendan McMahan, "Can You Really
Backdoor Federated Learning?", 2019, section 3. https://arxiv.org/abs/1911.07963
"""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import demands, row_norms
from tff_robust.preaggregators import preaggregator, row_mixing


def clip_to(updates: signatures.Updates, lengths: tf.Tensor, max_norm: tf.Tensor) -> tf.Tensor:
  """Scales the finite rows that are longer than `max_norm` down to it.

  Those that only seem so, since they are longer by less than norms are wrong by, stay.

  Args:
    updates: float32 [n, d].
    lengths: float64 [n], the norms of the rows, from `row_norms.close_norms`.
    max_norm: float64 [].
  """
  too_long = tf.math.is_finite(lengths) & (lengths > (1 + 2 * row_norms.CLOSE) * max_norm)
  factors = tf.where(too_long, max_norm / lengths, tf.ones_like(lengths))
  return row_mixing.scale_rows(updates, factors)


def static_clipping(updates: signatures.Updates, *, max_norm: float) -> tf.Tensor:
  """Each update scaled to min(1, max_norm / |x|) of itself.

  Args:
    updates: float32 [n, d].
    max_norm: The largest Euclidean norm that is left alone.

  Returns:
    float32 [n, d], none longer than max_norm by more than 2**-14 of it. Rows with a NaN or an
    infinity are left as they are, for the rule.

  Guarantees:
    With the mean, Byzantine rows move the aggregate by at most max_norm, and 2**-14 of it,
    times their share of the weights each way: f / n where weights are equal.

  Raises:
    ValueError: If `max_norm` is not positive and finite.
  """
  checks.positive('max_norm', max_norm)
  updates = demands.as_updates(updates)
  return clip_to(updates, row_norms.close_norms(updates), tf.constant(max_norm, tf.float64))


def build_static_clipping(*, max_norm: float) -> preaggregator.PreAggregator:
  """Returns the pre-aggregator `static_clipping`; weights stay with their rows.

  Raises:
    ValueError: If `max_norm` is not a finite number above 0.
  """
  checks.positive('max_norm', max_norm)

  def apply(
    updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> tuple[signatures.Updates, signatures.Weights]:
    del seed  # Nothing is drawn.
    return static_clipping(updates, max_norm=max_norm), weights

  return preaggregator.PreAggregator('static_clipping', apply)
