"""The options with which rules are measured. No TensorFlow."""

import math
from typing import Any

from tff_robust import registry

_MOST_SUBSETS = 100_000


def _example(option: str) -> Any:
  known = registry.OPTIONS.get(option)
  return known and known.example


def choose(entry: registry.Entry, *, num_clients: int, dimension: int) -> dict[str, Any]:
  """Returns a value for every option that a rule or pre-aggregator reads.

  That is the option's own example where nothing better is known here.

  `max_byzantine` is a tenth of the clients, or the most that the rule allows and, where it
  searches subsets of clients, can do in seconds. Rows have norm sqrt(d), of which clippings
  leave half.

  Raises:
    ValueError: If the entry needs an option for which there is no value here.
  """
  values: dict[str, Any] = {
    **{option: example for option in entry.reads if (example := _example(option)) is not None},
    'clip_radius': math.sqrt(dimension) / 2,
    'max_norm': math.sqrt(dimension) / 2,
    'bucket_size': 2,
    **entry.defaults,
  }
  for max_byzantine in range(num_clients // 10, -1, -1):
    values |= {'max_byzantine': max_byzantine, 'num_selected': num_clients - max_byzantine}
    num_subsets = math.comb(num_clients, max_byzantine) if entry.searches_subsets else 1
    if entry.required_clients(values) <= num_clients and num_subsets <= _MOST_SUBSETS:
      break
  missing = [option for option in entry.reads if option not in values]
  if missing:
    raise ValueError(f'the benchmark has no value for {", ".join(missing)}')
  return {option: values[option] for option in entry.reads}
