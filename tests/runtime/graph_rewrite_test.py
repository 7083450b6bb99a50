"""Graphs of TensorFlow 1 sessions become graphs that one function call can run."""

import tensorflow as tf

from tff_robust.runtime import graph_rewrite, resident


def _graph(build):
  with tf.Graph().as_default() as graph:
    build()
  return graph.as_graph_def()


def _names(graph_def):
  return {node.name for node in graph_def.node}


def test_prunes_what_no_output_needs():
  def build():
    used = tf.constant(1.0, name='used')
    tf.constant(2.0, name='unused')
    tf.identity(used, name='output')

  graph_def = _graph(build)
  graph_rewrite.prune(graph_def, ['output'])
  assert _names(graph_def) == {'used', 'output'}


def test_prunes_colocations_with_what_is_gone():
  def build():
    away = tf.constant(2.0, name='away')
    with tf.compat.v1.colocate_with(away):
      tf.constant(1.0, name='output')

  graph_def = _graph(build)
  assert '_class' in graph_def.node[-1].attr
  graph_rewrite.prune(graph_def, ['output'])
  assert '_class' not in graph_def.node[0].attr


def test_gives_variables_and_tables_to_each_execution_but_leaves_residents():
  def build():
    tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name='v', name='variable')
    tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name='t', name='table')
    tf.raw_ops.VarHandleOp(
      dtype=tf.float32,
      shape=[],
      shared_name='data',
      container=resident.CONTAINER,
      name='resident',
    )

  graph_def = _graph(build)
  assert graph_rewrite.own_resources(graph_def) == ['variable', 'table']
  nodes = {node.name: node for node in graph_def.node}
  assert nodes['variable'].attr['shared_name'].s != b'v'
  assert nodes['table'].op == 'AnonymousHashTable'
  assert nodes['resident'].attr['shared_name'].s == b'data'


def test_uses_wait_for_the_initializer_also_inside_loops():
  def build():
    handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name='v', name='variable')
    with tf.control_dependencies(
      [tf.raw_ops.AssignVariableOp(resource=handle, value=5.0, name='assign')]
    ):
      tf.no_op(name='initializer')
    tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32, name='read')

  graph_def = _graph(build)
  graph_rewrite.initialize_first(graph_def, 'initializer', ['variable'])
  nodes = {node.name: node for node in graph_def.node}
  assert nodes['read'].input[0] == 'variable/initialized'
  assert list(nodes['variable/initialized'].input) == ['variable', '^initializer']
  assert nodes['assign'].input[0] == 'variable'
  graph_rewrite.own_resources(graph_def)
  wrapped = tf.compat.v1.wrap_function(
    lambda: tf.graph_util.import_graph_def(graph_def, name=''), []
  )
  read = wrapped.prune([], [wrapped.graph.get_tensor_by_name('read:0')])
  assert [read()[0].numpy() for _ in range(2)] == [5.0, 5.0]


def test_functions_of_two_graphs_with_the_same_names_do_not_meet():
  def graph_of(factor):
    @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
    def scale(x):
      return x * factor

    concrete = scale.get_concrete_function()
    graph_def = _graph(lambda: tf.identity(concrete(tf.constant(2.0)), name='output'))
    (function,) = [f for f in graph_def.library.function if 'scale' in f.signature.name]
    for node in graph_def.node:
      if node.op.endswith('PartitionedCall'):
        node.attr['f'].func.name = 'same_name'
    function.signature.name = 'same_name'
    return graph_def

  results = []
  for factor in (3.0, 5.0):
    graph_def = graph_of(factor)
    graph_rewrite.rename_functions(graph_def)
    wrapped = tf.compat.v1.wrap_function(
      lambda g=graph_def: tf.graph_util.import_graph_def(g, name=''), []
    )
    call = wrapped.prune([], [wrapped.graph.get_tensor_by_name('output:0')])
    results.append((call, call()[0].numpy()))
  assert [value for _, value in results] == [6.0, 10.0]
  assert results[0][0]()[0].numpy() == 6.0


def test_calls_are_optimized_again():
  @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
  def inner(x):
    return 2 * x

  @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
  def outer(x):
    return inner(x) + 1

  graph_def = _graph(lambda: outer(tf.constant(1.0)))
  in_functions = [node for function in graph_def.library.function for node in function.node_def]
  nodes = [*graph_def.node, *in_functions]
  for node in nodes:
    node.attr['config_proto'].s = b'anything'
  before = [(node.op, list(node.input), set(node.attr)) for node in nodes]
  graph_rewrite.optimize_calls(graph_def)

  for node, (op, inputs, attributes) in zip(nodes, before, strict=True):
    lost = {'config_proto'} if op.endswith('PartitionedCall') else set()
    assert (node.op, list(node.input), set(node.attr)) == (op, inputs, attributes - lost)
  for place in (graph_def.node, in_functions):
    assert any(node.op.endswith('PartitionedCall') for node in place)
