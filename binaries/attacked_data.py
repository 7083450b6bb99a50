"""What clients bring to a round, poisoned where an attack by data is on, alone or with another."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from binaries import federated_data
from tff_robust import config, registry
from tff_robust.data import client_data, poisoning
from tff_robust.program import cohorts


class Holders(NamedTuple):
  """Who holds what in rounds without and with the attack; the same arrays for both.

  Attributes:
    honest: The clients as they are.
    attacking: The clients while the attack is on.
  """

  honest: client_data.FederatedDataset
  attacking: client_data.FederatedDataset

  def value_of(self, *, by_index: bool) -> Callable[[int, bool, bool], Any]:
    """Returns a function from a client's id and role, and whether the attack is on, to its value.

    Args:
      by_index: Whether clients bring indices into the arrays, instead of examples.
    """

    def value(client_id: int, is_byzantine: bool, attack_is_on: bool) -> Any:
      held = self.attacking if is_byzantine and attack_is_on else self.honest
      return (held.client_indices_value if by_index else held.client_value)(client_id, is_byzantine)

    return value


def build_holders(
  experiment: config.ExperimentConfig,
  data: federated_data.FederatedData,
  sampler: cohorts.CohortSampler,
) -> Holders:
  """Returns who holds what; with an attack by data, compromised clients hold poisoned copies.

  Raises:
    ValueError: When an option of the attack does not fit the classes of the data.
  """
  attack = experiment.attack.data_attack
  if attack is None:
    return Holders(data.clients, data.clients)
  options = {name: experiment.attack.options[name] for name in registry.ATTACKS[attack].reads}
  if 'attack_trigger_value' in options:
    options['attack_trigger_value'] = _trigger_value(experiment, data)
  transform = registry.build(registry.ATTACKS, attack, options, num_classes=data.num_classes)
  compromised = sampler.byzantine_clients().tolist()
  return Holders(*poisoning.poison(data.clients, compromised, transform))


def triggered_test(
  experiment: config.ExperimentConfig, data: federated_data.FederatedData
) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns test images of other classes with a backdoor's trigger, and its target for each.

  The accuracy of a model on these is the attack success rate.

  Returns:
    None without a backdoor.
  """
  if experiment.attack.data_attack != 'backdoor':
    return None
  from tff_robust.attacks import backdoor

  options = experiment.attack.options
  target = int(options['attack_target_class'] or 0)
  x, y = backdoor.triggered_examples(
    *data.test,
    target_class=target,
    trigger_size=int(options['attack_trigger_size'] or 0),
    trigger_value=_trigger_value(experiment, data),
  )
  return x.numpy(), np.full(y.shape, target, np.int32)


def _trigger_value(
  experiment: config.ExperimentConfig, data: federated_data.FederatedData
) -> float:
  """Returns the value of a trigger's pixels: what was asked for, or the brightest there is."""
  given = experiment.attack.options['attack_trigger_value']
  return float(data.clients.all_arrays[0].max() if given is None else given)
