"""A synchronous TFF context whose calls stop at Ctrl-C.

TFF's `SyncExecutionContext` waits for an event loop in another thread; an interrupt
ends the waiting but not the work. This context cancels the work as well.
"""

import asyncio
import concurrent.futures
import contextvars
import threading
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow_federated as tff

from tff_robust.runtime import errors

# Set when the caller of what runs in this context of Python has given it up.
_given_up: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar(
  'given_up', default=None
)


def check_goes_on() -> None:
  """Raises CallInterruptedError if the caller of what runs here has given it up.

  To be called by an executor factory once `on_interrupt` would reach the executor that it has
  made: an interrupt may come before that, while TFF compiles or prepares the argument, and there is
  nothing to interrupt then.
  """
  event = _given_up.get()
  if event is not None and event.is_set():
    raise errors.CallInterruptedError('The computation was interrupted.')


def _run(loop: asyncio.AbstractEventLoop) -> None:
  asyncio.set_event_loop(loop)
  loop.run_forever()
  loop.close()


# How long calls that are cancelled may take to end before their context is gone.
_CANCEL_SECONDS = 5.0


async def _end_calls() -> None:
  calls = asyncio.all_tasks() - {asyncio.current_task()}
  for call in calls:
    call.cancel()
  if calls:
    await asyncio.wait(calls, timeout=_CANCEL_SECONDS)
  asyncio.get_running_loop().stop()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
  """Ends a loop; whoever waits for a call in it is told that it was cancelled."""
  if not loop.is_closed():
    asyncio.run_coroutine_threadsafe(_end_calls(), loop)


class InterruptibleContext(tff.framework.SyncContext):
  """Runs the calls of TFF's `AsyncExecutionContext`, one event loop behind, interruptibly."""

  def __init__(
    self,
    context: tff.framework.AsyncContext,
    *,
    on_begin: Callable[[], None],
    on_interrupt: Callable[[], None],
    on_close: Callable[[], None],
  ) -> None:
    """Wraps an asynchronous context.

    Args:
      context: The context that does the work.
      on_begin: Called before each call.
      on_interrupt: Called when an exception (Ctrl-C, for example) ends the waiting for a
        call that still runs; makes that call end soon.
      on_close: Called once, to release what the context holds.
    """
    self._context = context
    self._on_begin = on_begin
    self._on_interrupt = on_interrupt
    self._on_close: Callable[[], None] | None = on_close
    self._calls: weakref.WeakSet[threading.Event] = weakref.WeakSet()
    self._loop = asyncio.new_event_loop()
    threading.Thread(target=_run, args=(self._loop,), daemon=True, name='tff-context').start()
    # Not at exit: the interpreter is about to end the daemon thread anyway.
    self._end = weakref.finalize(self, _stop, self._loop)
    self._end.atexit = False

  @property
  def executor_factory(self) -> tff.framework.ExecutorFactory:
    """The factory of the executors behind this context."""
    return self._context.executor_factory

  def invoke(self, comp: Any, arg: Any) -> Any:
    """Runs `comp` on `arg`; an interrupt ends the waiting and the work."""
    if self._on_close is None:
      raise RuntimeError('This TFF context is closed; set a context again.')
    self._on_begin()
    given_up = threading.Event()
    self._calls.add(given_up)

    async def run() -> Any:
      _given_up.set(given_up)  # For this call alone, and for what it begins.
      return await self._context.invoke(comp, arg)

    future = asyncio.run_coroutine_threadsafe(run(), self._loop)
    try:
      return future.result()
    except (concurrent.futures.CancelledError, asyncio.CancelledError) as error:
      raise RuntimeError(
        'This TFF context was closed while a computation ran in it; set a context again.'
      ) from error
    except BaseException:
      if not future.done():
        given_up.set()
        future.cancel()
        self._on_interrupt()
      raise

  def close(self) -> None:
    """Releases what the context holds, and ends what runs; closing twice is harmless."""
    on_close, self._on_close = self._on_close, None
    if on_close is not None:
      for given_up in list(self._calls):
        given_up.set()
      on_close()
      self._end()
