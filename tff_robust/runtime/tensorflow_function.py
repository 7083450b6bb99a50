"""One TensorFlow computation of TFF as something that a `tf.function` can call."""

import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import dataset_loops, errors, graph_rewrite, tff_internals

_TRACED_NAME = re.compile(r'^__(?:inference|forward|backward)_(.+?)_\d+(?:_tff\d+)*$')


def _node(tensor_name: str) -> str:
  return tensor_name.split(':')[0]


class TensorFlowFunction:
  """The graph of a `tff.tensorflow.computation`, imported for calls from a traced function.

  A call keeps the meaning that the graph has in a TensorFlow 1 session: only what the
  results need is computed, and variables exist for one call. It may be made several
  times, also at the same time.

  Attributes:
    name: Name of the Python function that the user decorated with `tf.function`, if the
      graph tells, else 'tensorflow computation'.
  """

  def __init__(self, block: tff.framework.CompiledComputation) -> None:
    """Imports the graph.

    Args:
      block: The computation.

    Raises:
      ComputationError: If the computation is not a TensorFlow graph.
    """
    kind = block.proto.WhichOneof('computation')
    if kind != 'tensorflow':
      raise errors.ComputationError(
        f'The accelerated context runs TensorFlow computations, not computations of kind {kind!r}'
        f' ({block.type_signature}).'
      )
    message = block.proto.tensorflow
    graph_def = tf.compat.v1.GraphDef.FromString(message.graph_def.value)
    self.name = _python_name(graph_def)
    parameter = message.parameter if message.HasField('parameter') else None
    feeds = list(tff_internals.tensor_names(parameter)) if parameter is not None else []
    fetches = list(tff_internals.tensor_names(message.result))
    initializers = [message.initialize_op] if message.initialize_op else []
    graph_rewrite.prune(graph_def, [*map(_node, fetches), *initializers])
    # First too: what is traced for a loop has names that another process may have used as well.
    graph_rewrite.rename_functions(graph_def)
    dataset_loops.rewrite_reductions(graph_def)
    graph_rewrite.optimize_calls(graph_def)
    graph_rewrite.rename_functions(graph_def)
    resources = graph_rewrite.own_resources(graph_def)
    for initializer in initializers:
      graph_rewrite.initialize_first(graph_def, initializer, resources)
    names = {node.name for node in graph_def.node}
    # Arguments that no result depends on have been pruned.
    self._used = [index for index, feed in enumerate(feeds) if _node(feed) in names]
    self._call: Any = None
    if not fetches:
      return
    token = message.session_token_tensor_name
    tokens = [token] if token and _node(token) in names else []
    self._token = [''] * len(tokens)
    wrapped = tf.compat.v1.wrap_function(
      lambda: tf.graph_util.import_graph_def(graph_def, name=''), []
    )
    tensor = wrapped.graph.get_tensor_by_name
    self._call = wrapped.prune(
      [tensor(name) for name in [*[feeds[i] for i in self._used], *tokens]],
      [tensor(name) for name in fetches],
    )

  def __call__(self, arguments: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Adds a call to the graph that is being traced.

    Args:
      arguments: The tensors of the argument, depth first.

    Returns:
      The tensors of the result, depth first.
    """
    if self._call is None:
      return []
    tokens = [tf.constant(token) for token in self._token]
    return list(self._call(*[arguments[index] for index in self._used], *tokens))


def _python_name(graph_def: Any) -> str:
  """Returns the name of the first traced Python function that the graph calls."""
  for node in graph_def.node:
    if node.op in ('PartitionedCall', 'StatefulPartitionedCall'):
      match = _TRACED_NAME.match(node.attr['f'].func.name)
      if match:
        return match.group(1)
  return 'tensorflow computation'
