"""The facts about TensorFlow 2.14 that its public interface does not offer, in one place.

Calling a concrete function canonicalizes its arguments each time, which takes longer
than a small function itself, and the call cannot be cancelled from another thread. Here
functions are called by name, with a handle to cancel them.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import cancellation, context, execute


class Cancellation:
  """Ends the calls of functions that run, from another thread."""

  def __init__(self) -> None:
    self._is_cancelled = False
    # One a call: TensorFlow also cancels the manager of a call that fails.
    self._managers: set[Any] = set()

  @property
  def is_cancelled(self) -> bool:
    """Whether `cancel` was called."""
    return self._is_cancelled

  def cancel(self) -> None:
    """Ends the calls that run; callers check `is_cancelled` before they make more."""
    self._is_cancelled = True
    for manager in list(self._managers):
      manager.start_cancel()

  def begin(self) -> Any:
    """Returns TensorFlow's handle for one call.

    Raises:
      tf.errors.CancelledError: If `cancel` was called, while a function was traced for example.
    """
    manager = cancellation.CancellationManager()
    self._managers.add(manager)
    # Who cancels says so before it looks for managers: it finds this one, or is found here.
    if self._is_cancelled:
      self._managers.discard(manager)
      raise tf.errors.CancelledError(None, None, 'Cancelled before the call began.')
    return manager

  def end(self, manager: Any) -> None:
    """Forgets the handle of a call that has ended."""
    self._managers.discard(manager)


class FlatFunction:
  """A concrete function of tensors, called with little overhead."""

  def __init__(self, concrete: Any) -> None:
    """Prepares the calls.

    Args:
      concrete: A concrete function of a flat list of tensors.
    """
    self._concrete = concrete  # Keeps the function, which is called by name, in existence.
    self._name = concrete.name.decode()
    self._num_outputs = len(concrete.outputs)
    self._captured = list(concrete.captured_inputs)
    options = context.context().function_call_options.as_attrs()
    self._attributes = tuple(itertools.chain(*options.items()))

  def __call__(
    self, tensors: Sequence[tf.Tensor], cancellation: Cancellation
  ) -> Sequence[tf.Tensor]:
    """Returns the results of the function.

    Raises:
      tf.errors.OpError: As the function does, and CancelledError after a cancellation.
    """
    if not self._num_outputs:
      return []
    if not tf.executing_eagerly():
      return list(self._concrete(*tensors))
    manager = cancellation.begin()
    try:
      return execute.execute_with_cancellation(
        self._name,
        num_outputs=self._num_outputs,
        inputs=[*tensors, *self._captured],
        attrs=self._attributes,
        ctx=context.context(),
        cancellation_manager=manager,
      )
    finally:
      cancellation.end(manager)
