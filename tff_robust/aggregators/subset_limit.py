"""How many subsets of clients a rule may search. Free of TensorFlow."""

import math

MAX_SUBSETS = 200_000


def check(rule: str, *, num_clients: int, max_byzantine: int) -> None:
  """Raises ValueError when there are more subsets of n - f clients than may be searched."""
  num_subsets = math.comb(num_clients, max_byzantine)
  if num_subsets > MAX_SUBSETS:
    raise ValueError(
      f'aggregator {rule!r} with max_byzantine={max_byzantine} of {num_clients} clients would'
      f' search {num_subsets:,} subsets, more than {MAX_SUBSETS:,}; use caf, or lower'
      ' max_byzantine.'
    )
