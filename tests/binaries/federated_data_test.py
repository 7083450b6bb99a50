import numpy as np
import pytest

from binaries import federated_data
from tff_robust import config
from tff_robust.data import load


def deal(root_size=None, seed=3):
  """Deals 200 images, each of one value of its own, so that an image tells which it is."""
  numbers = np.arange(200, dtype=np.uint8)
  x = np.tile(numbers[:, np.newaxis, np.newaxis, np.newaxis], [1, 2, 2, 1])
  y = numbers.astype(np.int32) % 4
  dataset = load.Dataset(
    name='toy',
    train_x=x,
    train_y=y,
    test_x=x[:5].copy(),
    test_y=y[:5].copy(),
    num_classes=4,
    source='Numbers.',
  )
  chosen = config.DataConfig(num_clients=4, validation_fraction=0.1, root_size=root_size)
  return federated_data.deal(dataset, chosen, seed=seed)


def numbers_of(x):
  return set(x[:, 0, 0, 0].tolist())


def dealt(data):
  return [numbers_of(data.clients.client_arrays(client)[0]) for client in range(4)]


def test_nobody_else_holds_an_example_of_the_root_set():
  data = deal(root_size=28)
  root, validation = numbers_of(data.root[0]), numbers_of(data.validation[0])
  clients = set().union(*dealt(data))
  assert (len(root), len(validation), len(clients)) == (28, 20, 152)
  assert root | validation | clients == set(range(200))
  np.testing.assert_array_equal(data.root[1], data.root[0][:, 0, 0, 0] % 4)
  assert not root & numbers_of(data.clients.all_arrays[0])


def test_root_set_is_drawn_from_the_seed_and_leaves_the_validation_set_alone():
  data, again, other = deal(root_size=28), deal(root_size=28), deal(root_size=28, seed=4)
  assert numbers_of(data.root[0]) == numbers_of(again.root[0])
  assert dealt(data) == dealt(again)
  assert numbers_of(data.root[0]) != numbers_of(other.root[0])
  without = deal()
  assert without.root is None
  assert numbers_of(without.validation[0]) == numbers_of(data.validation[0])


def test_root_set_that_leaves_too_little_is_refused():
  with pytest.raises(ValueError, match='root_size=180 leaves none of 180'):
    deal(root_size=180)
  with pytest.raises(ValueError, match='num_clients=4'):
    deal(root_size=178)
