"""What a client brings to a round: its examples and who it is.

A client's value is `<examples=D*, identity=I*>`: a sequence of single examples and a
sequence of exactly one identity `<client_id=int64, is_byzantine=bool>`. The role is a
fact of the simulation; only the attack wrapper and the observer read it.
"""

import collections
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

IDENTITY_TYPE = tff.StructWithPythonType(
  [('client_id', np.int64), ('is_byzantine', np.bool_)], collections.OrderedDict
)


class Examples(NamedTuple):
  """All examples of one client as tensors.

  Attributes:
    x: [n_k, ...] features, in the dtype in which the client stores them.
    y: int32 [n_k] labels.
  """

  x: tf.Tensor
  y: tf.Tensor


def example_type(model: tff.learning.models.FunctionalModel) -> tff.Type:
  """Returns the TFF type of one example of `model`: its batch type without the batch axis."""
  specs = model.input_spec
  return tff.StructWithPythonType(
    [
      (name, tff.TensorType(specs[name].dtype.as_numpy_dtype, specs[name].shape[1:]))
      for name in ('x', 'y')
    ],
    collections.OrderedDict,
  )


def client_value_type(model: tff.learning.models.FunctionalModel) -> tff.Type:
  """Returns `<examples=D*, identity=I*>` for clients that train `model`."""
  return tff.StructWithPythonType(
    [
      ('examples', tff.SequenceType(example_type(model))),
      ('identity', tff.SequenceType(IDENTITY_TYPE)),
    ],
    collections.OrderedDict,
  )


def collect_examples(examples: tf.data.Dataset) -> Examples:
  """Returns every example of a client at once; a client without examples gives n_k = 0.

  Args:
    examples: Data set of `<x, y>` single examples with static shapes.
  """
  spec = examples.element_spec
  # A data set without elements makes no batch, so one blank example goes in and out again.
  blank = tf.nest.map_structure(lambda leaf: tf.zeros(leaf.shape, leaf.dtype), spec)
  everything = examples.concatenate(tf.data.Dataset.from_tensors(blank)).batch(
    np.iinfo(np.int32).max
  )
  batch = everything.get_single_element()
  return Examples(batch['x'][:-1], batch['y'][:-1])


def read_identity(identity: tf.data.Dataset) -> Any:
  """Returns the one `<client_id, is_byzantine>` of a client; fails if there is not exactly one."""
  return identity.get_single_element()
