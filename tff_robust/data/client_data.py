"""The training set as its clients hold it: `tf.data` sequences, one pair a client."""

import collections
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

ClientValue = collections.OrderedDict[str, tf.data.Dataset]


class FederatedDataset:
  """Examples dealt to clients 0 .. num_clients - 1.

  A client's value in a federated computation is
  `<examples: <x, y>*, identity: <client_id, is_byzantine>*>`, where `identity` has exactly
  one element. That a client is compromised is a property of the client that the server
  never sees. Each client's sequence holds that client's own rows and nothing else, so that
  only those are serialised when it is sent to an executor.
  """

  def __init__(self, x: np.ndarray, y: np.ndarray, partition: Sequence[np.ndarray]) -> None:
    """Deals arrays.

    Args:
      x: uint8 [N, H, W, C].
      y: int [N].
      partition: One int array of indices into `x` and `y` a client; may be empty for a
        client, and need not use every example.

    Raises:
      ValueError: If there is no client, lengths differ, an index is out of range, or an
        example is dealt twice.
    """
    if len(x) != len(y):
      raise ValueError(f'x has {len(x)} rows and y has {len(y)}; they must have the same number.')
    if not partition:
      raise ValueError('partition is empty; it must have one index array for at least one client.')
    dealt = np.concatenate([np.asarray(indices, np.int64) for indices in partition])
    if dealt.size and not (dealt.min() >= 0 and dealt.max() < len(x)):
      raise ValueError(
        f'partition has indices outside 0..{len(x) - 1}; take them from these arrays.'
      )
    if np.unique(dealt).size != dealt.size:
      raise ValueError('partition deals an example twice; the index arrays must be disjoint.')
    self._x = x
    self._y = y
    self._partition = [np.asarray(indices, np.int64) for indices in partition]
    self._examples: dict[int, tf.data.Dataset] = {}
    self._indices: dict[tuple[int, bool], tf.data.Dataset] = {}
    self._identities: dict[tuple[int, bool], tf.data.Dataset] = {}

  @property
  def num_clients(self) -> int:
    """Number of clients in the population."""
    return len(self._partition)

  @property
  def input_shape(self) -> tuple[int, ...]:
    """Shape of one input, without the batch dimension."""
    return tuple(self._x.shape[1:])

  @property
  def client_sizes(self) -> np.ndarray:
    """int64 [num_clients], the number of examples that each client holds."""
    return np.array([len(indices) for indices in self._partition], np.int64)

  @property
  def all_arrays(self) -> tuple[np.ndarray, np.ndarray]:
    """The arrays that were dealt, uint8 [N, H, W, C] and int32 [N], to index into."""
    return self._x, self._y.astype(np.int32)

  def client_arrays(self, client_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns copies of one client's rows: uint8 [m, H, W, C] and int32 [m]."""
    indices = self._partition[self._checked(client_id)]
    return self._x[indices], self._y[indices].astype(np.int32)

  def client_rows(self, client_id: int) -> np.ndarray:
    """Returns where one client's examples are in `all_arrays`, int64 [m]."""
    return self._partition[self._checked(client_id)].copy()

  def client_examples(self, client_id: int) -> tf.data.Dataset:
    """Returns one client's unbatched `<x=uint8[H,W,C],y=int32>` in a fixed order, cached."""
    if client_id not in self._examples:
      x, y = self.client_arrays(client_id)
      self._examples[client_id] = tf.data.Dataset.from_tensor_slices(
        collections.OrderedDict(x=x, y=y)
      )
    return self._examples[client_id]

  def identity(self, client_id: int, is_byzantine: bool) -> tf.data.Dataset:
    """Returns the one-element `<client_id=int64,is_byzantine=bool>` of a client, cached."""
    key = (self._checked(client_id), bool(is_byzantine))
    if key not in self._identities:
      self._identities[key] = tf.data.Dataset.from_tensors(
        collections.OrderedDict(
          client_id=tf.constant(key[0], tf.int64), is_byzantine=tf.constant(key[1])
        )
      )
    return self._identities[key]

  def client_value(self, client_id: int, is_byzantine: bool) -> ClientValue:
    """Returns what the client is in a federated computation: its examples and identity."""
    return collections.OrderedDict(
      examples=self.client_examples(client_id), identity=self.identity(client_id, is_byzantine)
    )

  def client_indices_value(self, client_id: int, is_byzantine: bool) -> tf.data.Dataset:
    """Returns what the client is where all examples already are at hand, cached.

    Its one element is `<indices=int64[m],client_id=int64,is_byzantine=bool>`: where its examples
    are in `all_arrays`, and who it is.
    """
    key = (self._checked(client_id), bool(is_byzantine))
    if key not in self._indices:
      self._indices[key] = tf.data.Dataset.from_tensors(
        collections.OrderedDict(
          indices=self._partition[key[0]],
          client_id=tf.constant(key[0], tf.int64),
          is_byzantine=tf.constant(key[1]),
        )
      )
    return self._indices[key]

  def _checked(self, client_id: int) -> int:
    if not 0 <= client_id < self.num_clients:
      raise ValueError(f'client_id={client_id} must be within 0..{self.num_clients - 1}.')
    return int(client_id)
