"""The data of a run: dealt to clients, held by the server, kept for validation and test."""

import dataclasses
from typing import Any

import numpy as np

from tff_robust import config, seeds
from tff_robust.data import client_data, load, partition


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FederatedData:
  """Who holds what.

  Attributes:
    clients: The training examples, dealt to clients.
    validation: Images and labels that the server holds out of the training set.
    test: Images and labels of the test set.
    num_classes: Number of classes.
    channel_mean: float32 [C] of the training images.
    channel_std: float32 [C] of the training images.
    root: Images and labels of the server's root set, or None for a rule that looks at none. No
      client holds any of them, and none is evaluated.
  """

  clients: client_data.FederatedDataset
  validation: tuple[np.ndarray, np.ndarray]
  test: tuple[np.ndarray, np.ndarray]
  num_classes: int
  channel_mean: np.ndarray
  channel_std: np.ndarray
  root: tuple[np.ndarray, np.ndarray] | None = None


def deal(dataset: load.Dataset, data: config.DataConfig, *, seed: int) -> FederatedData:
  """Holds out validation examples and a root set, and deals the others to clients.

  Args:
    dataset: The whole data set.
    data: How to deal it.
    seed: The seed of the run.

  Raises:
    ValueError: When there are too few examples for the root set or the clients.
  """
  training, held_out = partition.hold_out(
    len(dataset.train_y),
    fraction=data.validation_fraction,
    generator=seeds.host_generator(seed, seeds.Purpose.VALIDATION_SPLIT),
  )
  root = None
  if data.root_size is not None:
    dealt, rooted = partition.set_aside(
      len(training),
      count=data.root_size,
      generator=seeds.host_generator(seed, seeds.Purpose.ROOT_SET),
    )
    root = dataset.train_x[training[rooted]], dataset.train_y[training[rooted]]
    training = training[dealt]
  x, y = dataset.train_x[training], dataset.train_y[training]
  mean, std = load.channel_statistics(x)
  return FederatedData(
    clients=client_data.FederatedDataset(x, y, _partition(y, data, seed)),
    validation=(dataset.train_x[held_out], dataset.train_y[held_out]),
    test=(dataset.test_x, dataset.test_y),
    num_classes=dataset.num_classes,
    channel_mean=mean,
    channel_std=std,
    root=root,
  )


def _partition(labels: np.ndarray, data: config.DataConfig, seed: int) -> list[np.ndarray]:
  generator = seeds.host_generator(seed, seeds.Purpose.PARTITION)
  shared: dict[str, Any] = {'num_clients': data.num_clients, 'generator': generator}
  if data.dirichlet_alpha is not None:
    return partition.dirichlet(labels, alpha=data.dirichlet_alpha, **shared)
  if data.shards_per_client is not None:
    return partition.label_shards(labels, shards_per_client=data.shards_per_client, **shared)
  return partition.iid(labels, **shared)
