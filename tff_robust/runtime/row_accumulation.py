"""Accumulations of rows that say of themselves that they may be done all at once.

`federated_aggregate` accumulates one member after the other, which costs a call each and, where
rows are gathered, copies. Where all members are in this process, an accumulation that does
nothing but append may put all rows into one stack instead: each row is copied once.

Such an accumulation carries a mark, a node of its graph with a name of its own, which survives
TFF's compiler and goes to workers too. Runtimes that do not know the mark run the computation
as it is. An accumulator is `<stacks=<float32[?,d],...>,tags=<t[?],...>>`, whose rows, in the
order of arrival, are those of the last stack up to those of the first; what arrives is
`<row=float32[d],tags=<t,...>>`.
"""

from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import row_places

# Where a row is in what arrives.
ROW_INDEX = 0
_MARK = 'tff_robust_appends_one_row'


def marked(row: tf.Tensor) -> tf.Tensor:
  """Returns a row, float32 [d]; says that the graph around it appends it and its tags."""
  return tf.identity(row, name=_MARK)


def appends(function: Any) -> bool:
  """Tells whether a building block is a marked accumulation."""
  leaf = _only_leaf(function)
  if leaf is None or leaf.proto.WhichOneof('computation') != 'tensorflow':
    return False
  if not _has_form(function.type_signature):
    return False
  graph_def = tf.compat.v1.GraphDef.FromString(leaf.proto.tensorflow.graph_def.value)
  return any(node.name == _MARK and node.op == 'Identity' for node in graph_def.node)


def append_all(so_far: Any, members: list[Any]) -> Any:
  """Returns what accumulating all members in order gives, with all rows in the last stack.

  Args:
    so_far: The accumulator, in the executor's form.
    members: What arrives, in the executor's form; at least one. Rows may be `RowPlace`s.
  """
  stacks, tags = so_far
  arrived = [row for row, _ in members]
  new = row_places.stack(arrived)
  if all(stack.shape[0] == 0 for stack in stacks):
    rows = new
  else:
    # In a graph, how many rows there are is not known while it is made.
    no_others = tf.equal(tf.add_n([tf.shape(stack)[0] for stack in stacks]), 0)
    rows = tf.cond(no_others, lambda: new, lambda: tf.concat([*stacks[::-1], new], axis=0))
  columns = [
    tf.concat([tag, tf.stack([row_places.read(own[position]) for _, own in members])], axis=0)
    for position, tag in enumerate(tags)
  ]
  nothing = stacks[0][:0]
  return (*[nothing for _ in stacks[1:]], rows), tuple(columns)


def _only_leaf(function: Any) -> Any:
  """Returns the computation that a function does nothing but call; None where it does more."""
  framework = tff.framework
  if isinstance(function, framework.CompiledComputation):
    return function
  if not isinstance(function, framework.Lambda):
    return None
  result = function.result
  if isinstance(result, framework.Block) and len(result.locals) == 1:
    name, value = result.locals[0]
    if isinstance(result.result, framework.Reference) and result.result.name == name:
      result = value
  is_call = (
    isinstance(result, framework.Call)
    and isinstance(result.function, framework.CompiledComputation)
    and isinstance(result.argument, framework.Reference)
    and result.argument.name == function.parameter_name
  )
  return result.function if is_call else None


def _has_form(function_type: tff.FunctionType) -> bool:
  """Tells whether a type is that of an accumulation as the module describes it."""
  parameter = function_type.parameter
  if not isinstance(parameter, tff.StructType) or len(parameter) != 2:
    return False
  accumulator, member = parameter[0], parameter[1]
  if function_type.result != accumulator or _names(accumulator) != ['stacks', 'tags']:
    return False
  return _names(member) == ['row', 'tags'] and _names(member.tags) == _names(accumulator.tags)


def _names(value_type: tff.Type) -> list[str | None]:
  if not isinstance(value_type, tff.StructType):
    return []
  return [name for name, _ in tff.structure.iter_elements(value_type)]
