"""Programs keep values that are still needed, and know those that are not."""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.runtime import federated_intrinsics, interpreter, invocation

INTS = tff.FederatedType(np.int32, tff.CLIENTS)


def _run(block, argument, num_clients):
  computation = tff.framework.ConcreteComputation(
    computation_proto=block.proto, context_stack=tff.framework.get_context_stack()
  )
  call = invocation.Invocation(
    num_clients=num_clients,
    pool=None,
    device=None,
    intrinsics=federated_intrinsics.INTRINSICS,
  )
  return interpreter.Program(computation).bind(call)(argument)


def _compiled(function, *types):
  return tff.tensorflow.computation(function, *types).to_compiled_building_block()


def test_function_keeps_what_it_took_from_outside():
  # A mapped function that refers to a local, which no later local uses.
  framework = tff.framework
  add = _compiled(lambda x, y: x + y, np.int32, np.int32)
  number = tff.types.to_type(np.int32)
  both = framework.Struct([framework.Reference('a', number), framework.Reference('y', number)])
  mapped = framework.Lambda('y', number, framework.Call(add, both))
  clients = framework.Reference('x', INTS)
  federated_map = framework.Intrinsic(
    'federated_map', tff.FunctionType([mapped.type_signature, INTS], INTS)
  )
  block = framework.Lambda(
    'x',
    INTS,
    framework.Block(
      [
        ('a', framework.Call(_compiled(lambda: 10))),
        ('r', framework.Call(federated_map, framework.Struct([mapped, clients]))),
      ],
      framework.Reference('r', INTS),
    ),
  )
  argument = federated_intrinsics.Federated([tf.constant(1), tf.constant(2)], False)
  assert [int(x) for x in _run(block, argument, 2).values] == [11, 12]


def test_last_use_of_each_local():
  framework = tff.framework
  number = tff.types.to_type(np.int32)
  constant = framework.Call(_compiled(lambda: 1))
  add_one = _compiled(lambda x: x + 1, np.int32)

  def add_one_to(name):
    return framework.Call(add_one, framework.Reference(name, number))

  block = framework.Block(
    [
      ('a', constant),
      ('b', add_one_to('a')),
      ('c', add_one_to('a')),
      ('d', add_one_to('c')),
    ],
    framework.Struct([framework.Reference('b', number), framework.Reference('d', number)]),
  )
  program = interpreter.Program(tff.tensorflow.computation(lambda: 1))
  assert program.last_uses(block) == {0: [], 1: [], 2: ['a'], 3: ['c']}
