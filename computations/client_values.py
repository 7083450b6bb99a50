"""What a client brings to a round: its examples and who it is.

A client's value is `<examples=D*, identity=I*>`: a sequence of single examples and a sequence of
exactly one identity `<client_id=int64, is_byzantine=bool>`. Where examples already are where the
computation runs, it is one sequence of exactly one `<indices=int64[n_k], client_id, is_byzantine>`.
The role is a fact of the simulation; only the attack wrapper and the observer read it.
"""

import collections
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

_IDENTITY = (('client_id', np.int64), ('is_byzantine', np.bool_))


class Client(NamedTuple):
  """One client as tensors.

  Attributes:
    x: [n_k, ...] features, in the dtype in which the client stores them.
    y: int32 [n_k] labels.
    client_id: int64 [].
    is_byzantine: bool [].
  """

  x: tf.Tensor
  y: tf.Tensor
  client_id: tf.Tensor
  is_byzantine: tf.Tensor


class ExampleSource(Protocol):
  """Where a client's examples are, and how its computation gets at them."""

  @property
  def value_type(self) -> tff.Type:
    """TFF type of what a client brings."""

  def read(self, value: Any) -> Client:
    """Returns the client behind a value; n_k may be 0.

    Running it fails if the value does not hold exactly one identity.
    """


class SequenceSource:
  """Every client brings its examples themselves, `<x, y>` one by one."""

  def __init__(self, model: tff.learning.models.FunctionalModel) -> None:
    """Takes the type of an example from the batches that `model` reads."""
    specs = model.input_spec
    example_type = tff.StructWithPythonType(
      [
        (name, tff.TensorType(specs[name].dtype.as_numpy_dtype, specs[name].shape[1:]))
        for name in ('x', 'y')
      ],
      collections.OrderedDict,
    )
    identity_type = tff.StructWithPythonType(_IDENTITY, collections.OrderedDict)
    self.value_type = tff.StructWithPythonType(
      [
        ('examples', tff.SequenceType(example_type)),
        ('identity', tff.SequenceType(identity_type)),
      ],
      collections.OrderedDict,
    )

  def read(self, value: Any) -> Client:
    """Returns the client behind `<examples=D*, identity=I*>`; n_k may be 0."""
    batch = _collect(value['examples'])
    return Client(batch['x'], batch['y'], **value['identity'].get_single_element())


class Gatherable(Protocol):
  """An array of all clients' rows that a client's computation can gather from."""

  def gather(self, indices: tf.Tensor) -> tf.Tensor:
    """Returns the rows at `indices` (int64 [m]), [m, ...]."""


class IndexSource:
  """All examples are in one place; every client brings the indices of its own.

  They come as one vector, together with who the client is: TensorFlow takes a while to get an
  element out of a data set, of which there is one.
  """

  value_type = tff.SequenceType(
    tff.StructWithPythonType(
      [('indices', tff.TensorType(np.int64, [None])), *_IDENTITY], collections.OrderedDict
    )
  )

  def __init__(self, x: Gatherable, y: Gatherable) -> None:
    """Gathers features from `x` and labels from `y`."""
    self._x = x
    self._y = y

  def read(self, value: tf.data.Dataset) -> Client:
    """Returns the client behind `<indices=int64[n_k], client_id, is_byzantine>*`; n_k may be 0."""
    own = value.get_single_element()
    x = self._x.gather(own['indices'])
    y = tf.cast(self._y.gather(own['indices']), tf.int32)
    return Client(x, y, own['client_id'], own['is_byzantine'])


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
