"""The facts about TFF 0.87 that its public interface does not state, in one place.

Everything else in this package uses `tff.framework`, `tff.types`, `tff.structure` and
`tff.tensorflow` only. If TFF changes, this is the file to adapt:

* the abstract classes of executors and their values, which TFF checks for;
* the pass that writes federated means, sums, minima and maxima in terms of
  `federated_aggregate`, the first half of TFF's native compiler;
* the message in which TFF stores a TensorFlow computation.
"""

from collections.abc import Iterator
from typing import Any

import tensorflow_federated as tff
from tensorflow_federated.python.core.environments.tensorflow_backend import (
  tensorflow_tree_transformations,
)
from tensorflow_federated.python.core.impl.executors import executor_base, executor_value_base

Executor = executor_base.Executor
ExecutorValue = executor_value_base.ExecutorValue


def compile_computation(comp: Any) -> Any:
  """Returns a computation as TFF's native compiler lowers it.

  The two passes of `tff.backends.native.desugar_and_transform_to_native` that change
  what is computed where: intrinsics with a body are replaced by it, and the rest is put
  in call-dominant form. Its static Grappler pass is left out: it lowers loops to a form
  that a `tf.function` cannot hold, and TensorFlow runs Grappler itself when a function
  is first called.

  Args:
    comp: A `tff.framework.ConcreteComputation`.

  Returns:
    A `tff.framework.ComputationBuildingBlock`.
  """
  block, _ = tensorflow_tree_transformations.replace_intrinsics_with_bodies(
    comp.to_building_block()
  )
  try:
    return tff.framework.to_call_dominant(block)
  except ValueError:
    return block  # As TFF's compiler: run it as it is.


def tensor_names(binding: Any) -> Iterator[str]:
  """Yields the graph tensors of a parameter or a result, depth first."""
  kind = binding.WhichOneof('binding')
  if kind == 'tensor':
    yield binding.tensor.tensor_name
  elif kind == 'sequence':
    yield binding.sequence.variant_tensor_name
  elif kind == 'struct':
    for element in binding.struct.element:
      yield from tensor_names(element)
