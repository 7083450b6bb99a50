import numpy as np
import pytest

from tff_robust.data import client_data, poisoning

X = np.arange(10 * 4, dtype=np.uint8).reshape(10, 2, 2, 1)
Y = np.arange(10, dtype=np.int64) % 3
PARTITION = [np.array([7, 2]), np.array([5]), np.array([0, 9, 4]), np.array([], np.int64)]


@pytest.fixture
def pair():
  clients = client_data.FederatedDataset(X, Y, PARTITION)
  return poisoning.poison(clients, [0, 2, 3], lambda x, y: (x + 100, y + 10))


def test_only_compromised_clients_hold_poisoned_copies_while_the_attack_is_on(pair):
  honest, attacking = pair
  for client_id, rows in enumerate(PARTITION):
    x, y = honest.client_arrays(client_id)
    np.testing.assert_array_equal(x, X[rows])
    np.testing.assert_array_equal(y, Y[rows])
    x, y = attacking.client_arrays(client_id)
    compromised = client_id != 1
    np.testing.assert_array_equal(x, X[rows] + 100 * compromised)
    np.testing.assert_array_equal(y, Y[rows] + 10 * compromised)
  assert X[7, 0, 0, 0] == 28


def test_indices_lead_to_the_same_examples_in_arrays_that_both_share(pair):
  honest, attacking = pair
  np.testing.assert_array_equal(honest.all_arrays[0], attacking.all_arrays[0])
  x, y = honest.all_arrays
  for held in pair:
    for client_id in range(4):
      indices = held.client_indices_value(client_id, False).get_single_element()['indices']
      np.testing.assert_array_equal(x[indices], held.client_arrays(client_id)[0])
      np.testing.assert_array_equal(y[indices], held.client_arrays(client_id)[1])
  assert len(y) == 10 + 5
