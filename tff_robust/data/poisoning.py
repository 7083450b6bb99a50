"""Compromised clients whose data somebody changed."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tff_robust.data import client_data

Transform = Callable[[Any, Any], tuple[Any, Any]]


def poison(
  clients: client_data.FederatedDataset, compromised: Iterable[int], transform: Transform
) -> tuple[client_data.FederatedDataset, client_data.FederatedDataset]:
  """Returns the clients as they are, and as they are while the attack is on.

  Both share the same arrays, the honest examples followed by a poisoned copy of those of each
  compromised client, so that indices into one are indices into the other.

  Args:
    clients: Who holds what.
    compromised: Ids of the clients whose examples are poisoned.
    transform: From images and labels of a client to poisoned ones of the same shapes.
  """
  honest_x, honest_y = clients.all_arrays
  x, y = [honest_x], [honest_y]
  partition = [clients.client_rows(client_id) for client_id in range(clients.num_clients)]
  poisoned = list(partition)
  size = len(honest_y)
  for client_id in compromised:
    client_x, client_y = clients.client_arrays(client_id)
    changed_x, changed_y = transform(client_x, client_y)
    x.append(np.asarray(changed_x, honest_x.dtype))
    y.append(np.asarray(changed_y, honest_y.dtype))
    poisoned[client_id] = np.arange(size, size + len(client_y))
    size += len(client_y)
  arrays = np.concatenate(x), np.concatenate(y)
  return (
    client_data.FederatedDataset(*arrays, partition),
    client_data.FederatedDataset(*arrays, poisoned),
  )
