"""Runs a compiled TFF computation: blocks, references and calls around the intrinsics.

What has no placement runs in TensorFlow (`local_function`); what has one is up to the
intrinsics that an invocation brings along.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow_federated as tff

from tff_robust.runtime import (
  errors,
  gathered_rows,
  invocation,
  local_function,
  marshalling,
  row_places,
  tff_internals,
  whole_graph,
)


class Program:
  """A compiled computation with its TensorFlow functions, for any number of calls.

  Attributes:
    type_signature: The TFF type of the computation.
  """

  def __init__(self, comp: Any) -> None:
    """Compiles a computation.

    Args:
      comp: A `tff.framework.ConcreteComputation`.
    """
    self.type_signature = comp.type_signature
    self._block = tff_internals.compile_computation(comp)
    # Blocks live as long as this program, so that their identity is a key.
    self._functions: dict[int, local_function.LocalFunction | None] = {}
    self._last_uses: dict[int, Mapping[int, list[str]]] = {}
    self._graphs = whole_graph.WholeGraphs(comp.type_signature, self._block)
    self._row_results = gathered_rows.find(self._block)

  def bind(self, call: invocation.Invocation) -> Callable[[Any], Any]:
    """Returns the computation as a callable of its argument, for one invocation."""
    rows = self._row_results.values()
    # A graph would hold clients' rows and their matrix.
    is_wide = any(gathered_rows.is_large(row, call.num_clients) for row in rows)
    if call.may_be_one_graph and not is_wide:
      run: Callable[[Any], Any] = functools.partial(self._graphs.run, call, self._interpret)
    else:
      run = self._interpret(call)
    parameter = self.type_signature.parameter
    return lambda argument: run(marshalling.conform(argument, parameter, call.num_clients))

  def _interpret(self, call: invocation.Invocation) -> Callable[[Any], Any]:
    function = _Interpreter(call, self).evaluate(self._block, {})
    result = self.type_signature.result
    return lambda argument: marshalling.conform(function(argument), result, call.num_clients)

  def local_function(self, block: Any) -> local_function.LocalFunction | None:
    """Returns a block as a TensorFlow function; None where it is none, or has nothing to do."""
    if id(block) not in self._functions:
      computes = local_function.is_local(block) and not local_function.only_rearranges(block)
      function = local_function.LocalFunction(block) if computes else None
      self._functions.setdefault(id(block), function)
    return self._functions[id(block)]

  def row_result(self, block: Any) -> row_places.RowResult | None:
    """Returns where in the result of a client's function a row to be gathered is, if one is."""
    return self._row_results.get(id(block))

  def last_uses(self, block: tff.framework.Block) -> Mapping[int, list[str]]:
    """Returns which names each local of a block is the last to use, by its position."""
    if id(block) not in self._last_uses:
      kept = _names(block.result)
      uses: dict[int, list[str]] = {}
      for index, (_, value) in reversed(list(enumerate(block.locals))):
        names = _names(value)
        uses[index] = sorted(names - kept)
        kept |= names
      self._last_uses[id(block)] = uses
    return self._last_uses[id(block)]


def _names(block: Any) -> set[str]:
  """Returns all names that a block refers to."""
  if isinstance(block, tff.framework.Reference):
    return {block.name}
  return set().union(*[_names(child) for child in block.children()])


@dataclasses.dataclass(frozen=True)
class Function:
  """A function of a computation, callable in this process.

  Attributes:
    block: The building block that it comes from.
    call: Takes the argument (None where there is none) and returns the result.
    accumulate: Takes what has been accumulated and a list of members, the next one last;
      accumulates as many as it likes, takes them out and returns what has been accumulated.
    row_writer: Calls it for clients whose rows are gathered; None where it computes none.
  """

  block: Any
  call: Callable[[Any], Any]
  accumulate: Callable[[Any, list[Any]], Any]
  row_writer: gathered_rows.RowWriter | None = None

  def __call__(self, argument: Any) -> Any:
    """Returns the result for an argument."""
    return self.call(argument)


class _Interpreter:
  """Evaluates building blocks in one invocation."""

  def __init__(self, call: invocation.Invocation, program: Program) -> None:
    self._call = call
    self._program = program

  def evaluate(self, block: Any, scope: dict[str, Any]) -> Any:
    """Returns the value of a block in a scope; functions are Python callables."""
    framework = tff.framework
    if isinstance(block, framework.CompiledComputation | framework.Lambda | framework.Intrinsic):
      return self._function(block, scope)
    if isinstance(block, framework.Call):
      return self._apply(block.function, self._argument(block, scope), scope)
    if isinstance(block, framework.Reference):
      return scope[block.name]
    if isinstance(block, framework.Struct):
      return tuple([self.evaluate(element, scope) for element in block])
    if isinstance(block, framework.Selection):
      return self.evaluate(block.source, scope)[block.as_index()]
    if isinstance(block, framework.Block):
      return self._block(block, dict(scope))
    if isinstance(block, framework.Literal):
      return marshalling.embed(block.value, block.type_signature)
    raise errors.ComputationError(
      f'This TFF context does not run building blocks of kind {type(block).__name__}'
      f' ({block.type_signature}).'
    )

  def _block(self, block: Any, scope: dict[str, Any]) -> Any:
    """Evaluates the locals in order; lets go of each value with its last use."""
    last_uses = self._program.last_uses(block)
    for index, (name, value) in enumerate(block.locals):
      if isinstance(value, tff.framework.Call) and not _names(value.function):
        argument = self._argument(value, scope)
        for used in last_uses[index]:
          scope.pop(used, None)
        scope[name] = self._apply(value.function, argument, scope)
      else:
        scope[name] = self.evaluate(value, scope)
        for used in last_uses[index]:
          scope.pop(used, None)
    return self.evaluate(block.result, scope)

  def _argument(self, block: Any, scope: dict[str, Any]) -> list[Any]:
    """Returns a list that alone holds the argument of a call: who takes it can free it."""
    return [None if block.argument is None else self.evaluate(block.argument, scope)]

  def _apply(self, function: Any, argument: list[Any], scope: dict[str, Any]) -> Any:
    """Applies a function to an argument, which is taken out of its list."""
    if isinstance(function, tff.framework.Intrinsic):
      intrinsic = self._call.intrinsics.get(function.uri)
      if intrinsic is not None:
        return intrinsic(self._call, argument, function.type_signature)
    return self.evaluate(function, scope)(argument.pop())

  def _function(self, block: Any, scope: dict[str, Any]) -> Callable[[Any], Any]:
    local = self._program.local_function(block)
    if local is not None:
      cancellation = self._call.cancellation
      row = self._program.row_result(block)
      return Function(
        block,
        lambda argument: local(argument, cancellation),
        lambda so_far, pending: local.accumulate(so_far, pending, cancellation),
        None if row is None else gathered_rows.RowWriter(local, row, self._call),
      )
    if isinstance(block, tff.framework.Lambda):
      name, result, captured = block.parameter_name, block.result, dict(scope)

      def call(argument: Any) -> Any:
        return self.evaluate(result, {**captured, name: argument})

      return Function(block, call, lambda so_far, pending: call((so_far, pending.pop())))
    uri = block.uri  # An intrinsic: a computation of TensorFlow alone is always local.
    if uri in self._call.intrinsics:
      return lambda argument: self._apply(block, [argument], scope)
    secure = ' No TFF runtime on one machine has secure aggregation.' if 'secure' in uri else ''
    raise errors.ComputationError(f"This TFF context does not run '{uri}'.{secure}")
