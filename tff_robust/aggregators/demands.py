"""What every rule demands of a round before it looks at the updates."""

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import column_blocks


def as_updates(updates: signatures.Updates) -> tf.Tensor:
  """Returns `updates` as a float32 matrix tensor.

  Raises:
    ValueError: If it is known not to be a matrix.
  """
  updates = tf.convert_to_tensor(updates, tf.float32)
  checks.rank_two('updates', updates.shape)
  return updates


def enough_clients(
  updates: signatures.Updates, *, rule: str, max_byzantine: int, required: int
) -> tf.Tensor:
  """Returns `updates` as a tensor that exists only if the round is large enough.

  Args:
    updates: float32 [n, d].
    rule: Registry name of the rule.
    max_byzantine: Declared Byzantine clients, f.
    required: The smallest n for which the rule is defined at this f.

  Raises:
    ValueError: If n is known while tracing and too small, or f is negative.
    tf.errors.InvalidArgumentError: If n becomes known at run time and is too small.
  """
  updates = as_updates(updates)
  num_clients = updates.shape[0]
  if num_clients is not None:
    checks.enough_clients(rule, num_clients, max_byzantine, required)
    return updates
  checks.at_least('max_byzantine', max_byzantine, 0)
  num_clients = tf.shape(updates)[0]
  message = (
    f'aggregator {rule} with max_byzantine={max_byzantine} needs at least {required} clients'
    ' a round; lower max_byzantine or raise clients_per_round. Clients of this round:'
  )
  enough = tf.debugging.Assert(num_clients >= required, [message, num_clients])
  with tf.control_dependencies([enough]):
    return tf.identity(updates)


def finite_rows(updates: signatures.Updates) -> tf.Tensor:
  """Returns bool [n]: which rows hold neither a NaN nor an infinity."""

  def count_spoiled(block: tf.Tensor) -> tf.Tensor:
    return tf.cast(~tf.reduce_all(tf.math.is_finite(block), axis=1), tf.int32)

  def by_coordinate() -> tf.Tensor:
    # In blocks, since one bit a coordinate takes a byte.
    initial = tf.ensure_shape(tf.zeros(tf.shape(updates)[:1], tf.int32), updates.shape[:1])
    return tf.equal(column_blocks.total(count_spoiled, updates, initial=initial), 0)

  # A sum that is finite has finite terms. (Large finite terms can have a sum that is not.)
  finite_sums = tf.math.is_finite(tf.reduce_sum(updates, axis=1))
  return tf.cond(tf.reduce_all(finite_sums), lambda: finite_sums, by_coordinate)
