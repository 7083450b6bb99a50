"""TFF's executor interface over TensorFlow in this process."""

import concurrent.futures
import threading
import weakref
from typing import Any

import tensorflow_federated as tff

from tff_robust.runtime import (
  federated_intrinsics,
  interpreter,
  interruptible,
  invocation,
  marshalling,
  tff_internals,
)


class Programs:
  """Compiled computations, kept as long as the computations themselves."""

  def __init__(self) -> None:
    self._lock = threading.Lock()
    self._programs: dict[int, tuple[weakref.ref[Any], interpreter.Program]] = {}

  def __len__(self) -> int:
    return len(self._programs)

  def get(self, comp: Any) -> interpreter.Program:
    """Returns the program of a `tff.framework.ConcreteComputation`."""
    key = id(comp)  # Hashing a computation serializes all of it.
    with self._lock:
      if key in self._programs and self._programs[key][0]() is comp:
        return self._programs[key][1]
      program = interpreter.Program(comp)
      programs = self._programs
      reference = weakref.ref(comp, lambda _: programs.pop(key, None))
      programs[key] = (reference, program)
      return program


class Value(tff_internals.ExecutorValue):
  """A value inside the executor, with its TFF type."""

  def __init__(self, reference: Any, type_signature: tff.Type) -> None:
    self._reference = reference
    self._type_signature = type_signature

  @property
  def reference(self) -> Any:
    """The value in the executor's form."""
    return self._reference

  @property
  def type_signature(self) -> tff.Type:
    """The TFF type."""
    return self._type_signature

  async def compute(self) -> Any:
    """Returns what TFF hands to Python."""
    return marshalling.export(self._reference, self._type_signature)


class AcceleratedExecutor(tff_internals.Executor):
  """Runs computations of one invocation in this process."""

  def __init__(
    self,
    call: invocation.Invocation,
    programs: Programs,
    value_class: type[Value] = Value,
  ) -> None:
    """Creates the executor of one invocation.

    Args:
      call: The invocation.
      programs: Where compiled computations are kept between invocations.
      value_class: What holds its values.
    """
    self._call = call
    self._programs = programs
    self._value_class = value_class

  def close(self) -> None:
    """Makes what still runs here end soon."""
    self._call.interrupt()

  async def create_value(self, value: Any, type_spec: tff.Type | None = None) -> Value:
    """Takes in an argument or a computation."""
    if isinstance(value, tff.framework.ConcreteComputation):
      program = self._programs.get(value)
      return self._value_class(program.bind(self._call), program.type_signature)
    return self._value_class(
      self._call.run(lambda v: marshalling.embed(v, type_spec), value), type_spec
    )

  async def create_call(self, comp: Value, arg: Value | None = None) -> Value:
    """Runs a computation."""
    result = comp.reference(None if arg is None else arg.reference)
    return self._value_class(result, comp.type_signature.result)

  async def create_struct(self, elements: Any) -> Value:
    """Puts values into a structure."""
    named = list(tff.structure.iter_elements(tff.structure.from_container(elements)))
    struct_type = tff.StructType(
      [(name, v.type_signature) if name else v.type_signature for name, v in named]
    )
    return self._value_class(tuple([v.reference for _, v in named]), struct_type)

  async def create_selection(self, source: Value, index: int) -> Value:
    """Takes one value out of a structure."""
    return self._value_class(source.reference[index], source.type_signature[index])


class AcceleratedExecutorFactory(tff.framework.ExecutorFactory):
  """Makes an executor for each invocation; cohorts of any size share everything else."""

  def __init__(self, *, client_threads: int, device: str | None, default_num_clients: int) -> None:
    """Creates the factory.

    Args:
      client_threads: Clients that run at the same time.
      device: See `invocation.Invocation`.
      default_num_clients: Number of clients where the arguments do not tell.
    """
    self._device = device
    self._client_threads = client_threads
    self._default_num_clients = default_num_clients
    self._pool = None
    if client_threads > 1:
      self._pool = concurrent.futures.ThreadPoolExecutor(client_threads, 'client')
    self._running: weakref.WeakSet[invocation.Invocation] = weakref.WeakSet()
    self.programs = Programs()

  def create_executor(self, cardinalities: tff.framework.CardinalitiesType) -> AcceleratedExecutor:
    """Returns the executor of one invocation."""
    call = invocation.Invocation(
      num_clients=cardinalities.get(tff.CLIENTS, self._default_num_clients),
      pool=self._pool,
      device=self._device,
      client_threads=self._client_threads,
      intrinsics=federated_intrinsics.INTRINSICS,
    )
    self._running.add(call)
    interruptible.check_goes_on()
    return AcceleratedExecutor(call, self.programs)

  def clean_up_executor(self, cardinalities: tff.framework.CardinalitiesType) -> None:
    """Does nothing: an executor ends with its invocation."""

  def interrupt(self) -> None:
    """Makes the invocations that still run end soon."""
    for call in list(self._running):
      call.interrupt()

  def close(self) -> None:
    """Ends the threads."""
    self.interrupt()
    if self._pool is not None:
      self._pool.shutdown(wait=False, cancel_futures=True)
