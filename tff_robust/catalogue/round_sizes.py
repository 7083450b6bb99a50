"""The smallest round for which a rule is defined, as a function of its options."""

import math
from collections.abc import Callable, Mapping
from typing import Any


def at_least(num_clients: int) -> Callable[[Mapping[str, Any]], int]:
  """Demands so many clients, whatever the options are."""
  return lambda options: num_clients


def at_least_per_byzantine(factor: int, constant: int) -> Callable[[Mapping[str, Any]], int]:
  """Demands factor * f + constant clients."""
  return lambda options: factor * int(options['max_byzantine']) + constant


def more_than_it_drops(options: Mapping[str, Any]) -> int:
  """Demands a majority, and one client more than a filter drops."""
  max_byzantine = int(options['max_byzantine'])
  return max(2 * max_byzantine, math.floor(options['filter_factor'] * max_byzantine + 1e-9)) + 1


any_number = at_least(1)
majority = at_least_per_byzantine(2, 1)
krum = at_least_per_byzantine(2, 3)
