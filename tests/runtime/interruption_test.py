"""Calls in this process end at Ctrl-C and with their context; the next call works."""

import asyncio
import os
import signal
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import accelerated, local_function

INTS = tff.FederatedType(np.int32, tff.CLIENTS)


@pytest.fixture
def context():
  with accelerated.accelerated_context(client_threads=4) as context:
    yield context


@tff.tensorflow.computation(np.int32)
def add_one(x):
  return x + 1


def test_interrupt_ends_the_call_and_keeps_the_context_usable(context, spin):
  computation = tff.federated_computation(lambda x: tff.federated_map(spin, x), INTS)
  computation([1, 1])
  interrupt = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
  interrupt.start()
  start = time.monotonic()
  with pytest.raises(KeyboardInterrupt):
    computation([30_000] * 10_000)
  assert time.monotonic() - start < 30.0
  assert computation([1]) == [1.0]


def test_interrupt_ends_one_long_client(context, spin):
  assert spin(1) == 1.0
  interrupt = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
  interrupt.start()
  start = time.monotonic()
  with pytest.raises(KeyboardInterrupt):
    spin(2**30)
  # The next call waits until the one that was given up has ended.
  assert spin(1) == 1.0
  assert time.monotonic() - start < 10.0


def test_interrupt_before_anything_runs_ends_the_call(context, interrupt_while_it_is_prepared):
  interrupt_while_it_is_prepared(context)


def test_interrupt_while_a_function_is_traced_ends_it_too(context, monkeypatch):
  original = local_function.LocalFunction._trace

  def slowly(self):
    time.sleep(1.5)
    return original(self)

  monkeypatch.setattr(local_function.LocalFunction, '_trace', slowly)

  @tff.tensorflow.computation(np.int32)
  @tf.function
  def spin_anew(steps):
    return tf.while_loop(lambda i: i < steps, lambda i: i + 1, [0])[0]

  interrupt = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
  interrupt.start()
  with pytest.raises(KeyboardInterrupt):
    spin_anew(2**30)
  monkeypatch.undo()
  start = time.monotonic()
  # The next call waits until the one that was given up has ended: not for the loop.
  assert spin_anew(1) == 1
  assert time.monotonic() - start < 10.0


def test_caller_with_many_clients_is_told_when_its_context_is_closed(spin):
  closing = accelerated.AcceleratedContext(client_threads=2)
  computation = tff.federated_computation(lambda x: tff.federated_map(spin, x), INTS)
  caught = []

  def call():
    try:
      with tff.framework.get_context_stack().install(closing):
        computation([2**30] * 25)
    except RuntimeError as error:
      caught.append(str(error))

  caller = threading.Thread(target=call, daemon=True)
  caller.start()
  running = closing.executor_factory._running
  deadline = time.monotonic() + 20.0
  while not running and time.monotonic() < deadline:
    time.sleep(0.05)
  time.sleep(0.5)  # Two clients have begun; the others wait for a thread.
  closing.close()
  caller.join(20.0)
  assert not caller.is_alive()
  (told,) = caught
  assert 'closed while a computation ran' in told or 'interrupted' in told


def test_caller_is_told_when_its_context_is_closed(monkeypatch):
  closing = accelerated.AcceleratedContext(client_threads=1)
  began, go_on = threading.Event(), asyncio.Event()
  caught = []

  async def never(*_):
    began.set()
    await go_on.wait()

  monkeypatch.setattr(closing._context, 'invoke', never)

  def call():
    try:
      closing.invoke(add_one, 1)
    except RuntimeError as error:
      caught.append(str(error))

  caller = threading.Thread(target=call)
  caller.start()
  assert began.wait(20.0)
  closing.close()
  caller.join(20.0)
  assert not caller.is_alive()
  assert 'closed while a computation ran' in caught[0]
