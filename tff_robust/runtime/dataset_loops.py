"""Rewrites reductions over datasets into loops over iterators.

TensorFlow's ReduceDataset prepares (and optimizes) its function anew at every call,
which costs more than a client's whole work, and it always computes on the CPU. The
same loop as a While over an iterator is prepared once, and its body goes where
TensorFlow places it. `tff.learning` uses ReduceDataset unless told otherwise.
"""

import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def rewrite_reductions(graph_def: Any) -> None:
  """Replaces each ReduceDataset of a graph and its library; changes the graph in place.

  Names of the library must be unlike those that TensorFlow gives in this process: what has
  the name of a traced function is taken for it.
  """
  library = graph_def.library
  for function in list(library.function):
    rewritten = _rewrite_nodes(function.node_def, library)
    if rewritten:
      # In a function, an output is named after the operation's own word for it.
      output = re.compile(f'^({"|".join(map(re.escape, rewritten))}):components:')
      for node in function.node_def:
        for index, tensor in enumerate(node.input):
          node.input[index] = output.sub(r'\1:output:', tensor)
      for key, tensor in list(function.ret.items()):
        function.ret[key] = output.sub(r'\1:output:', tensor)
  _rewrite_nodes(graph_def.node, library)


def _rewrite_nodes(nodes: Any, library: Any) -> list[str]:
  """Replaces each ReduceDataset among some nodes; returns their names."""
  reductions = [node for node in nodes if node.op == 'ReduceDataset']
  for node in reductions:
    _rewrite(node, library)
  return [node.name for node in reductions]


def _rewrite(node: Any, library: Any) -> None:
  """Turns one ReduceDataset node into a call of a loop, which is added to the library."""
  state_types = list(node.attr['Tstate'].list.type)
  argument_types = list(node.attr['Targuments'].list.type)
  step_name = node.attr['f'].func.name
  step = next(f for f in library.function if f.signature.name == step_name)
  # A graph of its own, as it is in ReduceDataset. Where it is part of the loop, whose edges go
  # round, TensorFlow gives gradients of poolings to oneDNN or not, as it happens.
  step.attr['_noinline'].b = True
  inputs = [tf.as_dtype(argument.type) for argument in step.signature.input_arg]
  element_types = inputs[len(state_types) : len(inputs) - len(argument_types)]
  state_shapes = [tf.TensorShape(shape) for shape in node.attr['output_shapes'].list.shape]
  loop = _trace_loop(
    tf.compat.v1.NameAttrList(name=step_name),
    [tf.TensorSpec(s, tf.as_dtype(t)) for s, t in zip(state_shapes, state_types, strict=True)],
    element_types,
    [tf.as_dtype(t) for t in argument_types],
  )
  present = {function.signature.name for function in library.function}
  traced = [*loop.graph.as_graph_def().library.function, loop.function_def]
  library.function.extend([f for f in traced if f.signature.name not in present])
  for name in list(node.attr):
    del node.attr[name]
  node.op = 'StatefulPartitionedCall'
  node.attr['Tin'].list.type.extend([tf.variant.as_datatype_enum, *state_types, *argument_types])
  node.attr['Tout'].list.type.extend(state_types)
  node.attr['f'].func.name = loop.function_def.signature.name


def _trace_loop(
  step: Any,
  state_specs: list[tf.TensorSpec],
  element_types: list[tf.DType],
  argument_types: list[tf.DType],
) -> Any:
  """Returns `(dataset, *state, *arguments) -> state` as a concrete function.

  Args:
    step: Name of the function `(*state, *element, *arguments) -> state`.
    state_specs: What a state consists of.
    element_types: What an element consists of.
    argument_types: What the step needs besides.
  """
  num_state = len(state_specs)
  state_types = [spec.dtype for spec in state_specs]
  element_spec = tuple([tf.TensorSpec(None, dtype) for dtype in element_types])

  def loop(dataset: tf.Tensor, *rest: tf.Tensor) -> Any:
    state, arguments = rest[:num_state], rest[num_state:]
    # AutoGraph's loop over an iterator keeps the iterator and what it yields on the host,
    # and places the step on the device.
    for element in iter(tf.data.experimental.from_variant(dataset, element_spec)):
      result = tf.raw_ops.StatefulPartitionedCall(
        args=[*state, *element, *arguments], Tout=state_types, f=step
      )
      state = _with_shapes(result, state_specs)
    return state

  signature = [
    tf.TensorSpec([], tf.variant),
    *state_specs,
    *[tf.TensorSpec(None, dtype) for dtype in argument_types],
  ]
  return tf.function(loop, input_signature=signature).get_concrete_function()


def _with_shapes(tensors: Sequence[tf.Tensor], specs: Sequence[tf.TensorSpec]) -> Any:
  pairs = zip(tensors, specs, strict=True)
  return tuple([tf.ensure_shape(tensor, spec.shape) for tensor, spec in pairs])
