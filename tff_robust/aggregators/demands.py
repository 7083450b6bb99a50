"""What every rule demands of a round before it looks at the updates."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import column_blocks


def _as_numbers(argument: str, values: Any, dtype: tf.DType = tf.float32) -> tf.Tensor:
  """Returns `values` as a tensor of `dtype`, if they are numbers of another one."""
  if not tf.is_tensor(values):
    return tf.convert_to_tensor(values, dtype)
  values = tf.convert_to_tensor(values)
  if not (values.dtype.is_floating or values.dtype.is_integer):
    raise ValueError(
      f'{argument} has dtype {values.dtype.name}; it must hold real numbers: cast it to'
      f' {dtype.name}.'
    )
  return tf.cast(values, dtype)


def as_updates(updates: signatures.Updates) -> tf.Tensor:
  """Returns `updates` as a float32 matrix tensor.

  Raises:
    ValueError: If it is known not to be a matrix, or does not hold real numbers.
  """
  updates = _as_numbers('updates', updates)
  checks.rank_two('updates', updates.shape)
  return updates


def one_each_row(
  argument: str, values: Any, updates: tf.Tensor, dtype: tf.DType = tf.float32
) -> tf.Tensor:
  """Returns `values` as a tensor that is not known to be other than [n].

  Args:
    argument: Name of the values, for messages.
    values: What each row has, [n].
    updates: float32 [n, d].
    dtype: Of the tensor.

  Raises:
    ValueError: If there is known not to be one real number for each row.
  """
  values = _as_numbers(argument, values, dtype)
  checks.vector(argument, values.shape, updates.shape[0], 'row of updates')
  return values


def one_each_coordinate(argument: str, values: Any, updates: tf.Tensor) -> tf.Tensor:
  """Returns `values` as a float32 tensor that is not known to be other than [d].

  Raises:
    ValueError: If there is known not to be one real number for each coordinate.
  """
  values = _as_numbers(argument, values)
  checks.vector(argument, values.shape, updates.shape[1], 'coordinate of updates')
  return values


def enough_clients(
  updates: signatures.Updates,
  *,
  rule: str,
  max_byzantine: int,
  required: int | Callable[[int], int],
  kind: str = 'aggregator',
) -> tf.Tensor:
  """Returns `updates` as a tensor that exists only if the round is large enough.

  Args:
    updates: float32 [n, d].
    rule: Registry name of the rule.
    max_byzantine: Declared Byzantine clients, f.
    required: The smallest n for which the rule is defined at this f, or the function of f that
      says it, which is given whole numbers only.
    kind: What `rule` is, in words.

  Raises:
    ValueError: If n is known while tracing and too small, or f is negative or no whole number.
    tf.errors.InvalidArgumentError: If n becomes known at run time and is too small.
  """
  checks.whole_number('max_byzantine', max_byzantine)
  updates = as_updates(updates)
  if callable(required):
    required = required(max_byzantine)
  num_clients = updates.shape[0]
  if num_clients is not None:
    checks.enough_clients(rule, num_clients, max_byzantine, required, kind=kind)
    return updates
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  num_clients = tf.shape(updates)[0]
  told = f' with max_byzantine={max_byzantine}' if max_byzantine else ''
  message = (
    f'{kind} {rule}{told} needs at least {required} clients a round;'
    f' {"lower max_byzantine or " if told else ""}raise clients_per_round. Clients of this round'
    ' (rows, after pre-aggregation):'
  )
  enough = tf.debugging.Assert(num_clients >= required, [message, num_clients])
  with tf.control_dependencies([enough]):
    return tf.identity(updates)


def usable_weights(weights: signatures.Weights) -> tf.Tensor:
  """Returns bool [n]: which weights are finite and at least zero."""
  return tf.math.is_finite(weights) & (weights >= 0)


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
