"""A function without placements as one TensorFlow call.

TFF leaves a client's work as several TensorFlow computations with structures and
selections between them. All of it is traced into one `tf.function`, so that a client
costs one call from Python, and TensorFlow optimizes and schedules it as a whole.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.aggregators import column_blocks
from tff_robust.runtime import (
  errors,
  flat_values,
  graph_rewrite,
  marshalling,
  row_accumulation,
  row_places,
  sequences,
  tensorflow_function,
  tensorflow_internals,
)

# Where TensorFlow's messages speak of nodes and functions that the user never saw.
_NODES = re.compile(
  r'\s*\[\[(?:\{\{[^}]*\}\})+\]\]|\{\{function_node [^}]*\}\}\s*|\s*\[Op:\w+\](?: name:\s*$)?'
)
_SEQUENCE_INTRINSICS = ('sequence_map', 'sequence_reduce', 'sequence_sum')
# Members that are accumulated by one call: as many as there are of the first number that fits.
_MEMBERS_PER_CALL = (16, 4)


def is_local(function: Any) -> bool:
  """Tells whether a block is a function of tensors that needs nothing from outside."""
  return (
    isinstance(function.type_signature, tff.FunctionType)
    and flat_values.has_tensors_only(function.type_signature.parameter)
    and flat_values.has_tensors_only(function.type_signature.result)
    and _is_closed(function, frozenset())
  )


def draws_with_a_seed(block: Any) -> bool:
  """Tells whether something in a computation draws numbers that go on from call to call."""
  if isinstance(block, tff.framework.CompiledComputation):
    kind = block.proto.WhichOneof('computation')
    graph_def = block.proto.tensorflow.graph_def.value
    return kind == 'tensorflow' and graph_rewrite.draws_with_a_seed(
      tf.compat.v1.GraphDef.FromString(graph_def)
    )
  return any(draws_with_a_seed(child) for child in block.children())


def only_rearranges(function: Any) -> bool:
  """Tells whether a function takes values apart and together, without computing any."""
  framework = tff.framework
  if isinstance(
    function, framework.Lambda | framework.Block | framework.Struct | framework.Selection
  ):
    return all(only_rearranges(child) for child in function.children())
  return isinstance(function, framework.Reference)


def _is_closed(block: Any, bound: frozenset[str]) -> bool:
  """Tells whether all references lead inside, and all that is called runs on tensors."""
  framework = tff.framework
  if isinstance(block, framework.CompiledComputation | framework.Literal):
    return True
  if isinstance(block, framework.Intrinsic):
    return block.uri in _SEQUENCE_INTRINSICS
  if isinstance(block, framework.Reference):
    return block.name in bound
  if isinstance(block, framework.Struct):
    return all(_is_closed(element, bound) for element in block)
  if isinstance(block, framework.Selection):
    return _is_closed(block.source, bound)
  if isinstance(block, framework.Lambda):
    return _is_closed(block.result, bound | {block.parameter_name})
  if isinstance(block, framework.Call):
    return _is_closed(block.function, bound) and (
      block.argument is None or _is_closed(block.argument, bound)
    )
  if isinstance(block, framework.Block):
    for name, value in block.locals:
      if not _is_closed(value, bound):
        return False
      bound = bound | {name}
    return _is_closed(block.result, bound)
  return False


class LocalFunction:
  """Callable of the executor's values, traced once at its first call.

  Attributes:
    type_signature: The TFF type of the function.
    name: The user's names of the TensorFlow functions inside, for messages.
  """

  def __init__(self, block: Any) -> None:
    """Prepares the function.

    Args:
      block: A building block for which `is_local` holds.
    """
    self.type_signature = block.type_signature
    self.name = ''
    self._block: Any = block
    self._leaves: dict[int, tensorflow_function.TensorFlowFunction] = {}
    self._lock = threading.Lock()
    self._traced: tensorflow_internals.FlatFunction | None = None
    self._traced_several: dict[int, tensorflow_internals.FlatFunction] = {}
    self._placing: dict[int, tensorflow_internals.FlatFunction] = {}
    self._appends = row_accumulation.appends(block)
    self._draws_with_a_seed: bool | None = None
    self._unflatten_result = flat_values.unflattener(block.type_signature.result)

  def __call__(self, argument: Any, cancellation: tensorflow_internals.Cancellation) -> Any:
    """Calls the function.

    Args:
      argument: A value of the parameter type, in the executor's form; None where it has none.
      cancellation: Ends the call.

    Raises:
      ComputationError: If TensorFlow refuses; the context stays usable.
      CallInterruptedError: If the call was cancelled.
    """
    tensors = [] if self.type_signature.parameter is None else flat_values.flatten(argument, [])
    with self.explained(cancellation):
      traced = self._traced or self._trace()
      return self._unflatten_result(traced(tensors, cancellation))

  def place_row(
    self,
    argument: Any,
    matrix: tf.Tensor,
    index: int,
    *,
    position: int,
    cancellation: tensorflow_internals.Cancellation,
  ) -> Any:
    """Calls the function, and writes a row of its result into a matrix, in one call.

    Args:
      argument: As for a call.
      matrix: float32 [n, d], changed in place.
      index: Which row of the matrix is this call's.
      position: Which tensor of the result is the row.
      cancellation: Ends the call.

    Returns:
      The result, with a `RowPlace` instead of the row.

    Raises:
      ComputationError: As for a call.
      CallInterruptedError: As for a call.
    """
    tensors = [matrix, tf.constant(index)]
    if self.type_signature.parameter is not None:
      flat_values.flatten(argument, tensors)
    with self.explained(cancellation):
      placing = self._placing.get(position) or self._trace_placing(position)
      results = list(placing(tensors, cancellation))
    results[position] = row_places.RowPlace(matrix, index)
    return self._unflatten_result(results)

  def accumulate(
    self, so_far: Any, pending: list[Any], cancellation: tensorflow_internals.Cancellation
  ) -> Any:
    """Calls the function as accumulation of as many members as one call can take.

    The results are those of one call a member, to the last bit.

    Args:
      so_far: What has been accumulated.
      pending: Members, the next one last; those that were accumulated are taken out.
      cancellation: Ends the call.

    Returns:
      What has been accumulated then.

    Raises:
      ComputationError: As for a call.
      CallInterruptedError: As for a call.
    """
    if self._appends:
      with self.explained(cancellation):
        so_far = row_accumulation.append_all(so_far, pending[::-1])
      pending.clear()
      return so_far
    fitting = [count for count in _MEMBERS_PER_CALL if count <= len(pending)]
    if not fitting or not tf.executing_eagerly() or self.goes_on():
      return self((so_far, pending.pop()), cancellation)
    tensors = flat_values.flatten(so_far, [])
    for _ in range(fitting[0]):
      flat_values.flatten(pending.pop(), tensors)
    with self.explained(cancellation):
      traced = self._traced_several.get(fitting[0]) or self._trace_several(fitting[0])
      return self._unflatten_result(traced(tensors, cancellation))

  def goes_on(self) -> bool:
    """Tells whether each call draws the numbers that follow those of the call before.

    Only one graph of the function does: another one starts again from its seeds.
    """
    with self._lock:
      if self._draws_with_a_seed is None:
        self._draws_with_a_seed = draws_with_a_seed(self._block)
      return self._draws_with_a_seed

  @contextlib.contextmanager
  def explained(
    self, cancellation: tensorflow_internals.Cancellation
  ) -> Generator[None, None, None]:
    """Says in a user's words why TensorFlow refuses."""
    try:
      yield
    except tf.errors.OpError as error:
      if cancellation.is_cancelled:
        raise errors.CallInterruptedError('The computation was interrupted.') from error
      message = _NODES.sub('', error.message or str(error))
      name = self.name or self._names()
      raise errors.ComputationError(f'{name} ({self.type_signature}): {message}') from error

  def _names(self) -> str:
    return ', '.join(dict.fromkeys(leaf.name for leaf in self._leaves.values())) or 'computation'

  def _trace(self) -> tensorflow_internals.FlatFunction:
    with self._lock:
      if self._traced is not None:
        return self._traced
      parameter_type = self.type_signature.parameter
      specs = () if parameter_type is None else flat_values.flat_specs(parameter_type)
      unflatten = None if parameter_type is None else flat_values.unflattener(parameter_type)

      def call(*tensors: tf.Tensor) -> list[tf.Tensor]:
        function = self._evaluate(self._block, {})
        return flat_values.flatten(function(unflatten(tensors) if unflatten else None), [])

      function = tf.function(
        call,
        autograph=False,
        input_signature=specs,
        # In a larger graph it stays what it is alone; see `whole_graph`.
        experimental_attributes={'_noinline': True} if self._can_stay_apart() else {},
      )
      concrete = function.get_concrete_function()
      self.name = self._names()
      self._traced = tensorflow_internals.FlatFunction(concrete)
      return self._traced

  def _can_stay_apart(self) -> bool:
    """Tells whether a larger graph may call the function, rather than take in what it does.

    A GPU has no memory for data sets: calls that take or return some are taken in there.
    """
    types = (self.type_signature.parameter, self.type_signature.result)
    specs = [spec for t in types if t is not None for spec in flat_values.flat_specs(t)]
    takes_datasets = any(spec.dtype == tf.variant for spec in specs)
    return not (takes_datasets and tf.config.get_visible_devices('GPU'))

  def _trace_placing(self, position: int) -> tensorflow_internals.FlatFunction:
    """Returns the function of (matrix, index, argument) that writes one of its results."""
    one = self._traced or self._trace()
    with self._lock:
      if position in self._placing:
        return self._placing[position]
      parameter_type = self.type_signature.parameter
      specs = () if parameter_type is None else flat_values.flat_specs(parameter_type)
      width = flat_values.flat_specs(self.type_signature.result)[position].shape[0]
      idle = tensorflow_internals.Cancellation()

      def call(matrix: tf.Tensor, index: tf.Tensor, *tensors: tf.Tensor) -> list[tf.Tensor]:
        results = list(one(tensors, idle))
        written = column_blocks.write_row(matrix, results[position], index)
        with tf.control_dependencies([written]):
          results[position] = tf.identity(index)
        return results

      function = tf.function(
        call,
        autograph=False,
        input_signature=[tf.TensorSpec([None, width]), tf.TensorSpec([], tf.int32), *specs],
      )
      placing = tensorflow_internals.FlatFunction(function.get_concrete_function())
      self._placing[position] = placing
      return placing

  def _trace_several(self, count: int) -> tensorflow_internals.FlatFunction:
    """Returns the accumulation of `count` members."""
    one = self._traced or self._trace()
    with self._lock:
      if count in self._traced_several:
        return self._traced_several[count]
      accumulator_type, member_type = self.type_signature.parameter
      accumulator_specs = flat_values.flat_specs(accumulator_type)
      member_specs = flat_values.flat_specs(member_type)
      idle = tensorflow_internals.Cancellation()

      def call(*tensors: tf.Tensor) -> Sequence[tf.Tensor]:
        so_far: Sequence[tf.Tensor] = tensors[: len(accumulator_specs)]
        members = tensors[len(accumulator_specs) :]
        for position in range(count):
          start = position * len(member_specs)
          so_far = one([*so_far, *members[start : start + len(member_specs)]], idle)
        return so_far

      specs = accumulator_specs + member_specs * count
      function = tf.function(call, autograph=False, input_signature=specs)
      traced = tensorflow_internals.FlatFunction(function.get_concrete_function())
      self._traced_several[count] = traced
      return traced

  def _evaluate(self, block: Any, scope: Mapping[str, Any]) -> Any:
    """Returns the value of a block on the tensors of the graph that is being traced."""
    framework = tff.framework
    if isinstance(block, framework.CompiledComputation):
      return self._leaf(block)
    if isinstance(block, framework.Literal):
      return marshalling.embed(block.value, block.type_signature)
    if isinstance(block, framework.Reference):
      return scope[block.name]
    if isinstance(block, framework.Struct):
      return tuple([self._evaluate(element, scope) for element in block])
    if isinstance(block, framework.Selection):
      return self._evaluate(block.source, scope)[block.as_index()]
    if isinstance(block, framework.Lambda):
      return lambda argument: self._evaluate(
        block.result, {**scope, block.parameter_name: argument}
      )
    if isinstance(block, framework.Block):
      scope = dict(scope)
      for name, value in block.locals:
        scope[name] = self._evaluate(value, scope)
      return self._evaluate(block.result, scope)
    if isinstance(block, framework.Call):
      argument = None if block.argument is None else self._evaluate(block.argument, scope)
      return self._evaluate(block.function, scope)(argument)
    return _sequence_intrinsic(block)

  def _leaf(self, block: Any) -> Callable[[Any], Any]:
    if id(block) not in self._leaves:
      self._leaves[id(block)] = tensorflow_function.TensorFlowFunction(block)
    leaf = self._leaves[id(block)]
    unflatten = flat_values.unflattener(block.type_signature.result)

    def call(argument: Any) -> Any:
      return unflatten(leaf([] if argument is None else flat_values.flatten(argument, [])))

    return call


def _sequence_intrinsic(block: tff.framework.Intrinsic) -> Callable[[Any], Any]:
  """Returns a sequence intrinsic as a function of its argument."""
  parameter_type = block.type_signature.parameter
  if block.uri == 'sequence_sum':
    return lambda sequence: sequences.sum_elements(sequence, parameter_type.element)
  if block.uri == 'sequence_map':
    return lambda argument: sequences.map_elements(argument[0], argument[1], parameter_type[0])
  return lambda argument: sequences.reduce_elements(
    argument[0], argument[1], argument[2], parameter_type[0].element, parameter_type[1]
  )
