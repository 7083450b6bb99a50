"""A reduction over a dataset is the same as a loop over its elements, and prepared once."""

import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import dataset_loops, graph_rewrite, tensorflow_function

PAIRS = tff.SequenceType((np.int32, tff.TensorType(np.float32, [None])))


def _graph(computation):
  proto = computation.to_building_block().proto.tensorflow
  return tf.compat.v1.GraphDef.FromString(proto.graph_def.value), proto


def _operations(graph_def):
  nodes = [graph_def.node, *[function.node_def for function in graph_def.library.function]]
  return [node.op for part in nodes for node in part]


def _run(graph_def, proto, dataset):
  graph_rewrite.rename_functions(graph_def)  # As the traced loops are gone by now.
  feed = proto.parameter.sequence.variant_tensor_name
  fetches = [element.tensor.tensor_name for element in proto.result.struct.element]

  wrapped = tf.compat.v1.wrap_function(
    lambda: tf.graph_util.import_graph_def(graph_def, name=''), []
  )
  tensor = wrapped.graph.get_tensor_by_name
  call = wrapped.prune([tensor(feed)], [tensor(fetch) for fetch in fetches])
  return [x.numpy() for x in call(tf.data.experimental.to_variant(dataset))]


def _reduce(sequence):
  return sequence.reduce(
    (tf.constant(100), tf.zeros([])),
    lambda state, pair: (state[0] + pair[0], state[1] + tf.reduce_sum(pair[1])),
  )


@pytest.mark.parametrize('wrap', [lambda f: f, tf.function], ids=['in the graph', 'in a function'])
@pytest.mark.parametrize('num_batches', [0, 1, 3])
def test_loop_gives_what_the_reduction_gives(wrap, num_batches):
  graph_def, proto = _graph(tff.tensorflow.computation(wrap(_reduce), PAIRS))
  assert _operations(graph_def).count('ReduceDataset') == 1
  dataset_loops.rewrite_reductions(graph_def)
  assert 'ReduceDataset' not in _operations(graph_def)
  dataset = tf.data.Dataset.from_tensor_slices(
    (tf.range(num_batches), tf.ones([num_batches, 4]))
  )  # fmt: skip
  count, total = _run(graph_def, proto, dataset)
  assert count == 100 + sum(range(num_batches))
  assert total == 4.0 * num_batches


def test_functions_of_another_process_are_not_taken_for_those_of_the_loop():
  """TensorFlow numbers them in each process anew, so names meet."""
  message = tff.tensorflow.computation(_reduce, PAIRS).to_building_block().proto
  graph_def, _ = _graph(tff.tensorflow.computation(_reduce, PAIRS))
  dataset_loops.rewrite_reductions(graph_def)
  names = [function.signature.name for function in graph_def.library.function]
  traced = [re.match(r'(.*while.*_)(\d+)$', name) for name in names]
  kinds = {match[1] for match in traced if match}
  last = max(int(match[2]) for match in traced if match)

  graph_def = tf.compat.v1.GraphDef.FromString(message.tensorflow.graph_def.value)
  for number in range(last, last + 500):
    for kind in kinds:
      # Without nodes and results: who takes it for a part of the loop gives nothing, or crashes.
      graph_def.library.function.add().signature.name = f'{kind}{number}'
  message.tensorflow.graph_def.value = graph_def.SerializeToString()
  function = tensorflow_function.TensorFlowFunction(tff.framework.CompiledComputation(message))
  dataset = tf.data.Dataset.from_tensor_slices((tf.range(3), tf.ones([3, 4])))
  count, total = tf.function(lambda x: function([x]))(tf.data.experimental.to_variant(dataset))
  assert (int(count), float(total)) == (103, 12.0)


def test_step_stays_a_graph_of_its_own():
  graph_def, _ = _graph(tff.tensorflow.computation(_reduce, PAIRS))
  (reduction,) = [node for node in graph_def.node if node.op == 'ReduceDataset']
  step = reduction.attr['f'].func.name
  dataset_loops.rewrite_reductions(graph_def)
  kept = [f.signature.name for f in graph_def.library.function if f.attr['_noinline'].b]
  assert kept == [step]


def test_nested_reductions_are_rewritten():
  def nested(sequence):
    return sequence.reduce(
      (tf.constant(0), tf.zeros([])),
      lambda state, pair: (
        state[0] + tf.data.Dataset.range(3).reduce(pair[0], lambda x, _: x + 1),
        state[1] + tf.reduce_sum(pair[1]),
      ),
    )

  graph_def, proto = _graph(tff.tensorflow.computation(nested, PAIRS))
  assert _operations(graph_def).count('ReduceDataset') == 2
  dataset_loops.rewrite_reductions(graph_def)
  assert 'ReduceDataset' not in _operations(graph_def)
  dataset = tf.data.Dataset.from_tensor_slices((tf.constant([10, 20]), tf.ones([2, 1])))
  assert _run(graph_def, proto, dataset) == [36, 2.0]


def test_graph_without_reductions_is_left_alone():
  graph_def, _ = _graph(tff.tensorflow.computation(lambda x: x + 1, np.int32))
  before = graph_def.SerializeToString(deterministic=True)
  dataset_loops.rewrite_reductions(graph_def)
  assert graph_def.SerializeToString(deterministic=True) == before
