"""Brings the updates of a round together at the server, as the rows of one matrix.

Federated aggregation hands the server one update at a time. Appending each to a growing
matrix would copy O(n**2 d) numbers, so the accumulator is a binary counter: a list of
stacks, of which the i-th is empty or holds 2**i rows. A new row goes into the first
empty stack, together with all rows of the stacks before it, so each row is copied
O(log n) times. Stacks later in the list are older, hence reading them from the last to
the first gives the rows in the order of arrival. Our own runtimes append all rows that
they have at once, into the last stack (`runtime.row_accumulation`).
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.factories import flat
from tff_robust.runtime import row_accumulation

# Enough for 65,535 rows; more would still be right, only slower.
_NUM_STACKS = 16

_TAG_DTYPES: Mapping[str, Any] = collections.OrderedDict(
  weight=np.float32, client_id=np.int64, is_byzantine=np.bool_
)


def _no_rows(width: int) -> tf.Tensor:
  """Returns no rows, as a matrix whose number of rows is not part of its type."""
  return tf.compat.v1.placeholder_with_default(tf.zeros([0, width]), [None, width])


def _no_tags(dtype: Any) -> tf.Tensor:
  return tf.compat.v1.placeholder_with_default(tf.zeros([0], dtype), [None])


def _push(stacks: Sequence[tf.Tensor], carry: tf.Tensor) -> list[tf.Tensor]:
  """Adds rows to a binary counter of stacks."""
  youngest, older = stacks[0], list(stacks[1:])
  if not older:
    return [tf.concat([youngest, carry], axis=0)]
  width = youngest.shape[1]
  outcome = tf.cond(
    tf.equal(tf.shape(youngest)[0], 0),
    lambda: [carry, *older],
    lambda: [_no_rows(width), *_push(older, tf.concat([youngest, carry], axis=0))],
  )
  return [tf.ensure_shape(stack, [None, width]) for stack in outcome]


def _rows_in_order_of_arrival(stacks: Sequence[tf.Tensor], num_rows: tf.Tensor) -> tf.Tensor:
  """Returns all rows, `num_rows` in number; without a copy if they are in the last stack."""
  last = stacks[-1]
  return tf.cond(
    tf.equal(tf.shape(last)[0], num_rows),
    lambda: last,
    lambda: tf.concat(list(stacks)[::-1], axis=0),
  )


def _sorted_by_client(
  rows: tf.Tensor, tags: Mapping[str, tf.Tensor]
) -> tuple[tf.Tensor, Mapping[str, tf.Tensor]]:
  """Returns rows and tags in the order of client ids; without a copy if they are in it."""
  ids = tags['client_id']
  order = tf.argsort(ids, stable=True)
  in_order = tf.reduce_all(ids[:-1] <= ids[1:])
  ordered = tf.cond(in_order, lambda: rows, lambda: tf.gather(rows, order))
  return ordered, {name: tf.gather(tag, order) for name, tag in tags.items()}


class Accumulation(NamedTuple):
  """The parts of a `tff.federated_aggregate` that gathers rows.

  Attributes:
    as_row: On clients: what is sent to `<row=float32[d],tags=<...>>`.
    zero: The empty accumulator.
    accumulate: `(accumulator, row) -> accumulator`.
    merge: `(accumulator, accumulator) -> accumulator`, the rows of the first before
      those of the second.
    report: The accumulator to what is gathered.
  """

  as_row: tff.Computation
  zero: tff.Computation
  accumulate: tff.Computation
  merge: tff.Computation
  report: tff.Computation


def build_accumulation(value_type: tff.Type, *, tag_names: Sequence[str]) -> Accumulation:
  """Builds the parts that gather updates and their tags.

  Args:
    value_type: Type of one client's update.
    tag_names: `weight`, and possibly `client_id` and `is_byzantine`; with ids, the
      report sorts by them.

  Raises:
    TypeError: If `value_type` is not a structure of floating-point tensors of known shape.
  """
  width = flat.dimension(value_type)
  tag_types = collections.OrderedDict((name, _TAG_DTYPES[name]) for name in tag_names)
  sent_type = tff.types.to_type(collections.OrderedDict(update=value_type, **tag_types))
  row_type = tff.types.to_type(
    collections.OrderedDict(row=(np.float32, [width]), tags=collections.OrderedDict(tag_types))
  )
  gathered_type = tff.types.to_type(
    collections.OrderedDict(
      stacks=[(np.float32, [None, width])] * _NUM_STACKS,
      tags=collections.OrderedDict((name, (dtype, [None])) for name, dtype in tag_types.items()),
    )
  )

  @tff.tensorflow.computation(value_type)
  def flatten(update: Any) -> Any:
    return flat.flatten(update)

  @tff.federated_computation(sent_type)
  def as_row(sent: Any) -> Any:
    # What is one row already takes no TensorFlow, which would cost a call for each client.
    row = sent.update if sent_type.update == row_type.row else flatten(sent.update)
    tags = collections.OrderedDict((name, sent[name]) for name in tag_names)
    return collections.OrderedDict(row=row, tags=tags)

  @tff.tensorflow.computation
  def zero() -> Any:
    tags = collections.OrderedDict((name, _no_tags(dtype)) for name, dtype in tag_types.items())
    return collections.OrderedDict(stacks=[_no_rows(width) for _ in range(_NUM_STACKS)], tags=tags)

  @tff.tensorflow.computation(gathered_type, row_type)
  def accumulate(gathered: Any, sent: Any) -> Any:
    tags = collections.OrderedDict(
      (name, tf.concat([gathered['tags'][name], sent['tags'][name][tf.newaxis]], axis=0))
      for name in tag_names
    )
    row = row_accumulation.marked(sent['row'])
    stacks = _push(gathered['stacks'], row[tf.newaxis])
    return collections.OrderedDict(stacks=stacks, tags=tags)

  @tff.tensorflow.computation(gathered_type, gathered_type)
  def merge(left: Any, right: Any) -> Any:
    # The last stack takes any number of rows, and new rows go before it.
    rows = tf.concat([*list(left['stacks'])[::-1], *list(right['stacks'])[::-1]], axis=0)
    tags = collections.OrderedDict(
      (name, tf.concat([left['tags'][name], right['tags'][name]], axis=0)) for name in tag_names
    )
    stacks = [_no_rows(width) for _ in range(_NUM_STACKS - 1)] + [rows]
    return collections.OrderedDict(stacks=stacks, tags=tags)

  @tff.tensorflow.computation(gathered_type)
  def report(gathered: Any) -> Any:
    tags: Mapping[str, tf.Tensor] = gathered['tags']
    rows = _rows_in_order_of_arrival(gathered['stacks'], tf.shape(tags['weight'])[0])
    if 'client_id' in tags:
      rows, tags = _sorted_by_client(rows, tags)
    outcome = collections.OrderedDict(updates=rows, weights=tags['weight'])
    if 'client_id' in tags:
      outcome.update(client_ids=tags['client_id'], is_byzantine=tags['is_byzantine'])
    return outcome

  return Accumulation(as_row, zero, accumulate, merge, report)


def _gather(accumulation: Accumulation) -> tff.Computation:
  sent_type = accumulation.as_row.type_signature.parameter

  @tff.federated_computation(tff.FederatedType(sent_type, tff.CLIENTS))
  def gather(sent: Any) -> Any:
    rows = tff.federated_map(accumulation.as_row, sent)
    return tff.federated_aggregate(
      rows,
      accumulation.zero(),
      accumulation.accumulate,
      accumulation.merge,
      accumulation.report,
    )

  return gather


def build_gather(value_type: tff.Type) -> tff.Computation:
  """Builds the computation that brings identified updates together, sorted by client.

  Sorting by client id makes the result independent of the order in which clients
  answer and of how they are spread over workers, ties in a rule included. Rows of one
  client id keep their order of arrival.

  Args:
    value_type: Type of one client's update, a structure of floating-point tensors.

  Returns:
    A federated computation from
    `{<update=U,weight=float32,client_id=int64,is_byzantine=bool>}@CLIENTS` to
    `<updates=float32[?,d],weights=float32[?],client_ids=int64[?],is_byzantine=bool[?]>@SERVER`.
    `is_byzantine` is what a simulation knows; it is for reports, not for rules.

  Raises:
    TypeError: If `value_type` is not a structure of floating-point tensors of known shape.
  """
  return _gather(build_accumulation(value_type, tag_names=list(_TAG_DTYPES)))


def build_anonymous_gather(value_type: tff.Type) -> tff.Computation:
  """Builds the computation that brings updates together in order of arrival.

  For the interface of `tff.aggregators`, which carries no client ids: which of several
  equally good rows a rule picks then depends on the order in which clients answer.

  Args:
    value_type: Type of one client's update, a structure of floating-point tensors.

  Returns:
    A federated computation from `{<update=U,weight=float32>}@CLIENTS` to
    `<updates=float32[?,d],weights=float32[?]>@SERVER`.

  Raises:
    TypeError: If `value_type` is not a structure of floating-point tensors of known shape.
  """
  return _gather(build_accumulation(value_type, tag_names=['weight']))
