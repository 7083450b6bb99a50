"""Rewrites of a TensorFlow 1 graph so that one `tf.function` call can run it.

TFF stores TensorFlow code as a graph for a TensorFlow 1 session: an initializer that
runs first, variables and tables shared by name. Many clients run at the same time here,
so each call gets its own variables and tables, initialized within the call.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from tff_robust.runtime import resident

# The shared name at which VarHandleOp makes a fresh variable each time it is executed
# (tensorflow::ResourceHandle::ANONYMOUS_NAME).
_ANONYMOUS_NAME = b'cd2c89b7-88b7-44c8-ad83-06c2a9158347'
_ANONYMOUS_TABLES = {
  'HashTableV2': 'AnonymousHashTable',
  'MutableHashTableV2': 'AnonymousMutableHashTable',
  'MutableHashTableOfTensorsV2': 'AnonymousMutableHashTableOfTensors',
  'MutableDenseHashTableV2': 'AnonymousMutableDenseHashTable',
}
_SHARING_ATTRIBUTES = ('container', 'shared_name', 'use_node_name_sharing')
_function_ids = itertools.count()


def _ancestors(graph_def: Any, names: Iterable[str]) -> set[str]:
  """Returns the named nodes and all nodes that they need."""
  inputs = {node.name: [i.lstrip('^').split(':')[0] for i in node.input] for node in graph_def.node}
  needed: set[str] = set()
  pending = list(names)
  while pending:
    name = pending.pop()
    if name not in needed:
      needed.add(name)
      pending += inputs[name]
  return needed


def prune(graph_def: Any, outputs: Iterable[str]) -> None:
  """Keeps what the named nodes need, as a session does; changes the graph in place."""
  needed = _ancestors(graph_def, outputs)
  kept = [node for node in graph_def.node if node.name in needed]
  for node in kept:
    colocations = node.attr['_class'].list.s if '_class' in node.attr else []
    if any(place.decode().removeprefix('loc:@') not in needed for place in colocations):
      del node.attr['_class']
  del graph_def.node[:]
  graph_def.node.extend(kept)


def draws_with_a_seed(graph_def: Any) -> bool:
  """Tells whether an operation of a graph or its library draws numbers from a seed it holds.

  Such an operation goes on from call to call; a copy of it starts from the seed.
  """
  library = [node for function in graph_def.library.function for node in function.node_def]
  return any(
    node.attr['seed'].i or node.attr['seed2'].i
    for node in [*graph_def.node, *library]
    if 'seed' in node.attr and 'seed2' in node.attr
  )


def own_resources(graph_def: Any) -> list[str]:
  """Gives each execution its own variables and tables; returns the nodes that make them.

  Resident arrays (`tff_robust.runtime.resident`) stay shared.
  """
  names = []
  for node in graph_def.node:
    if node.op == 'VarHandleOp' and node.attr['container'].s != resident.CONTAINER.encode():
      node.attr['shared_name'].s = _ANONYMOUS_NAME
      node.attr['container'].s = b''
    elif node.op in _ANONYMOUS_TABLES:
      node.op = _ANONYMOUS_TABLES[node.op]
      for attribute in _SHARING_ATTRIBUTES:
        node.attr.pop(attribute, None)
    else:
      continue
    names.append(node.name)
  return names


def initialize_first(graph_def: Any, initializer: str, resources: list[str]) -> None:
  """Makes every use of a resource outside the initializer wait for the initializer.

  The handle goes through an Identity that depends on the initializer. (A control edge to
  each use would not do: it is not allowed to lead into a loop.)

  Args:
    graph_def: The graph; changed in place.
    initializer: Name of the node that initializes all resources.
    resources: Names of the nodes that make them.
  """
  needed = _ancestors(graph_def, [initializer])
  users = [node for node in graph_def.node if node.name not in needed]
  initialized = {name: f'{name}/initialized' for name in resources}
  for name, late in initialized.items():
    node = graph_def.node.add(name=late, op='Identity', input=[name, f'^{initializer}'])
    node.attr['T'].type = tf.resource.as_datatype_enum
  for node in users:
    for index, tensor in enumerate(node.input):
      if tensor.split(':')[0] in initialized:
        node.input[index] = initialized[tensor.split(':')[0]]


def optimize_calls(graph_def: Any) -> None:
  """Lets TensorFlow optimize inside the functions that the graph calls.

  TFF's compiler switches that off for the sessions of its C++ worker.
  """
  for nodes in [graph_def.node, *[function.node_def for function in graph_def.library.function]]:
    for node in nodes:
      if node.op in ('PartitionedCall', 'StatefulPartitionedCall'):
        node.attr.pop('config_proto', None)


def rename_functions(graph_def: Any) -> None:
  """Makes the names of library functions unique: they are global to the process."""
  suffix = f'_tff{next(_function_ids)}'
  library = graph_def.library
  names = {f.signature.name: f.signature.name + suffix for f in library.function}

  def rename_in(nodes: Any) -> None:
    for node in nodes:
      node.op = names.get(node.op, node.op)
      for attribute in node.attr.values():
        functions = [attribute.func] if attribute.HasField('func') else attribute.list.func
        for function in functions:
          function.name = names.get(function.name, function.name)

  rename_in(graph_def.node)
  for function in library.function:
    function.signature.name = names[function.signature.name]
    rename_in(function.node_def)
  for gradient in library.gradient:
    gradient.function_name = names.get(gradient.function_name, gradient.function_name)
    gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)
