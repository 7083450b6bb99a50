"""FoolsGold: down-weight updates that resemble each other too much.

Clement Fung, Chris J. M. Yoon, Ivan Beschastnikh, "The Limitations of Federated Learning
in Sybil Settings", RAID 2020, algorithm 1.
https://www.usenix.org/conference/raid2020/presentation/fung
"""

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import averages, demands, distances, finite_rows, rule

# Rows that point the same way differ by rounding only, which must not be scaled up.
_ROUNDING = 1e-9


def learning_rates(histories: tf.Tensor) -> tf.Tensor:
  """The paper's weight of each client, from the similarity of their histories.

  The largest similarity of a client to others counts as zero where it is below: the text of
  algorithm 1 leaves it negative, and pardoning would then turn a client that resembles nobody
  into a sybil. The authors' code (https://github.com/DistributedML/FoolsGold) subtracts the
  identity from the similarities, so that a client's own entry is this zero.

  Args:
    histories: float32 [n, d], finite: each client's accumulated updates.

  Returns:
    float64 [n], from 0 to 1.
  """
  num_rows = tf.shape(histories)[0]
  gram = distances.gram(histories)
  lengths = tf.sqrt(tf.linalg.diag_part(gram))
  similarity = tf.math.divide_no_nan(gram, lengths[:, tf.newaxis] * lengths[tf.newaxis, :])
  # A client is not compared with itself, and one that resembles nobody has similarity zero.
  similarity = tf.linalg.set_diag(similarity, tf.zeros([num_rows], tf.float64))
  strongest = tf.reduce_max(similarity, axis=1)
  mine, theirs = strongest[:, tf.newaxis], strongest[tf.newaxis, :]
  pardon = tf.where(theirs > mine, tf.math.divide_no_nan(mine, theirs), tf.ones_like(similarity))
  weights = tf.clip_by_value(1.0 - tf.reduce_max(similarity * pardon, axis=1), 0.0, 1.0)
  weights = tf.where(weights < _ROUNDING, tf.zeros_like(weights), weights)
  weights = tf.math.divide_no_nan(weights, tf.reduce_max(weights))
  logits = tf.math.log(weights) - tf.math.log1p(-weights) + 0.5  # -inf at 0, +inf at 1
  return tf.clip_by_value(logits, 0.0, 1.0)


def _foolsgold(updates: signatures.Updates) -> finite_rows.Outcome:
  updates = demands.enough_clients(updates, rule='foolsgold', max_byzantine=0, required=2)

  def of_finite(kept: tf.Tensor, _: tf.Tensor) -> finite_rows.Outcome:
    weights = learning_rates(kept)
    return averages.weighted_average(kept, weights), {'all_alike': tf.reduce_sum(weights) <= 0}

  aggregate, measurements = finite_rows.aggregate(updates, of_finite)
  rest = {name: value for name, value in measurements.items() if name != 'all_alike'}
  rejected = measurements['round_rejected'] | measurements['all_alike']
  return aggregate, {**rest, 'round_rejected': rejected}


def foolsgold(updates: signatures.Updates) -> signatures.Aggregate:
  """The mean of the updates, weighted by how little they resemble others.

  Sybils of one attacker push the same way, round after round, and lose their weight.
  The paper compares clients by all that they have ever sent; this rule sees one
  round's rows without their senders, and compares these. With histories at hand, use
  `learning_rates` on them. Weights are normalised to a mean. Entries below 2**-126 may count
  as zero.

  Args:
    updates: float32 [n, d], n >= 2.

  Returns:
    float32 [d]; all zeros if no weight is left (all rows point the same way), or no row
    is finite. Rows with a NaN or an infinity are dropped.

  Guarantees:
    None against a single attacker; honest clients with alike data lose weight too.

  Raises:
    ValueError: If n is known while tracing and n < 2.
    tf.errors.InvalidArgumentError: If that turns out at run time.
  """
  return _foolsgold(updates)[0]


def build_foolsgold() -> rule.AggregationRule:
  """Returns the rule `foolsgold`."""
  return finite_rows.build_rule('foolsgold', lambda updates, seed: _foolsgold(updates))
