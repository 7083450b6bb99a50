"""What a client brings to a round: its examples and who it is.

A client's value is `<examples=D*, identity=I*>`: a sequence of single examples (or of one
vector, the indices of examples that already are where the computation runs) and a sequence of
exactly one identity `<client_id=int64, is_byzantine=bool>`. The role is a
fact of the simulation; only the attack wrapper and the observer read it.
"""

import collections
from typing import Any, NamedTuple, Protocol

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


class ExampleSource(Protocol):
  """Where a client's examples are, and how its computation gets at them."""

  @property
  def element_type(self) -> tff.Type:
    """TFF type of one element of the client's `examples` sequence."""

  def collect(self, examples: tf.data.Dataset) -> Examples:
    """Returns every example of a client at once; n_k is 0 for an empty sequence."""


class SequenceSource:
  """Every client brings its examples themselves, `<x, y>` one by one."""

  def __init__(self, model: tff.learning.models.FunctionalModel) -> None:
    """Takes the type of an example from the batches that `model` reads."""
    specs = model.input_spec
    self.element_type = tff.StructWithPythonType(
      [
        (name, tff.TensorType(specs[name].dtype.as_numpy_dtype, specs[name].shape[1:]))
        for name in ('x', 'y')
      ],
      collections.OrderedDict,
    )

  def collect(self, examples: tf.data.Dataset) -> Examples:
    """Returns every example of a client at once; n_k is 0 for an empty sequence."""
    batch = _collect(examples)
    return Examples(batch['x'], batch['y'])


class Gatherable(Protocol):
  """An array of all clients' rows that a client's computation can gather from."""

  def gather(self, indices: tf.Tensor) -> tf.Tensor:
    """Returns the rows at `indices` (int64 [m]), [m, ...]."""


class IndexSource:
  """All examples are in one place; every client brings the indices of its own.

  They come as one int64 vector, of which a client's sequence is made: elements one by one would
  have to be put together again.
  """

  element_type = tff.TensorType(np.int64, [None])

  def __init__(self, x: Gatherable, y: Gatherable) -> None:
    """Gathers features from `x` and labels from `y`."""
    self._x = x
    self._y = y

  def collect(self, examples: tf.data.Dataset) -> Examples:
    """Returns every example of a client at once; n_k is 0 for an empty vector.

    Running it fails if the sequence does not hold exactly one vector.
    """
    indices = examples.get_single_element()
    return Examples(self._x.gather(indices), tf.cast(self._y.gather(indices), tf.int32))


def client_value_type(source: ExampleSource) -> tff.Type:
  """Returns `<examples=D*, identity=I*>` for clients that bring what `source` needs."""
  return tff.StructWithPythonType(
    [
      ('examples', tff.SequenceType(source.element_type)),
      ('identity', tff.SequenceType(IDENTITY_TYPE)),
    ],
    collections.OrderedDict,
  )


def _collect(elements: tf.data.Dataset) -> Any:
  """Returns all elements of a data set stacked; fixed shapes, any number of elements."""
  # A data set without elements makes no batch, so a blank one goes in and out again.
  blank = tf.nest.map_structure(
    lambda leaf: tf.zeros(leaf.shape, leaf.dtype), elements.element_spec
  )
  everything = elements.concatenate(tf.data.Dataset.from_tensors(blank)).batch(
    np.iinfo(np.int32).max
  )
  return tf.nest.map_structure(lambda leaf: leaf[:-1], everything.get_single_element())


def read_identity(identity: tf.data.Dataset) -> Any:
  """Returns the one `<client_id, is_byzantine>` of a client; fails if there is not exactly one."""
  return identity.get_single_element()
