"""Ways to deal a labelled training set to clients.

Each returns one int64 array of example indices a client, disjoint and sorted. The
generator alone decides the outcome: the same seed deals the same examples.
"""

import numpy as np

from tff_robust import checks

_MAX_DRAWS = 1000


def hold_out(
  num_examples: int, *, fraction: float = 0.1, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Splits examples at random into those to train on and those the server validates on.

  Args:
    num_examples: How many examples there are.
    fraction: Share held out, rounded to a whole number of examples.
    generator: Source of randomness.

  Returns:
    Two sorted int64 arrays that cover every index once: training and validation.

  Raises:
    ValueError: If either part would be empty.
  """
  checks.in_open_unit_interval('validation_fraction', fraction)
  held_out = round(fraction * num_examples)
  if not 0 < held_out < num_examples:
    raise ValueError(
      f'validation_fraction={fraction} of {num_examples} training examples holds out {held_out};'
      f' at least one must be held out and one be left: {"lower" if held_out else "raise"} it.'
    )
  order = generator.permutation(num_examples)
  return np.sort(order[held_out:]), np.sort(order[:held_out])


def set_aside(
  num_examples: int, *, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Splits examples at random into those that clients share and the server's root set.

  Args:
    num_examples: How many examples there are.
    count: How many the root set gets.
    generator: Source of randomness.

  Returns:
    Two sorted int64 arrays that cover every index once: the clients' and the server's.

  Raises:
    ValueError: If nothing would be left for the clients.
  """
  checks.at_least('root_size', count, 1)
  if count >= num_examples:
    raise ValueError(
      f'root_size={count} leaves none of {num_examples} training examples to the clients; lower it.'
    )
  order = generator.permutation(num_examples)
  return np.sort(order[count:]), np.sort(order[:count])


def iid(
  labels: np.ndarray, *, num_clients: int, generator: np.random.Generator
) -> list[np.ndarray]:
  """Deals examples at random, the same number to every client.

  The remainder of `len(labels) / num_clients`, fewer than `num_clients` examples chosen at
  random, is left out so that sizes are exactly equal and weighted and unweighted means
  agree.

  Args:
    labels: int [N]; only its length matters.
    num_clients: How many clients share the examples.
    generator: Source of randomness.

  Raises:
    ValueError: If there are more clients than examples.
  """
  _check_sizes(labels, num_clients, 1)
  size = len(labels) // num_clients
  order = generator.permutation(len(labels))[: size * num_clients]
  return [np.sort(row) for row in order.reshape(num_clients, size)]


def dirichlet(
  labels: np.ndarray,
  *,
  num_clients: int,
  alpha: float,
  generator: np.random.Generator,
  min_examples: int = 1,
) -> list[np.ndarray]:
  """Deals each class to clients in proportions drawn from a symmetric Dirichlet.

  Small `alpha` gives a class to few clients, large `alpha` approaches equal shares; sizes
  differ between clients. Every example is used exactly once. A draw that leaves a client
  with fewer than `min_examples` is thrown away whole and drawn again.

  M. Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks",
  ICML 2019, section 4, https://arxiv.org/abs/1905.12022. T.-M. H. Hsu, H. Qi and M. Brown,
  2019, https://arxiv.org/abs/1909.06335, draw each client's mixture of classes instead;
  that leaves examples unused or used twice.

  Args:
    labels: int [N].
    num_clients: How many clients share the examples.
    alpha: Concentration.
    generator: Source of randomness.
    min_examples: The least a client may hold; 0 allows clients without data.

  Raises:
    ValueError: If the demands cannot be met, or were not met in 1,000 draws.
  """
  checks.positive('dirichlet_alpha', alpha)
  checks.nonnegative('min_examples', min_examples)
  _check_sizes(labels, num_clients, min_examples)
  members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
  sizes = np.array([len(indices) for indices in members])
  for _ in range(_MAX_DRAWS):
    shares = _dirichlet_shares(alpha, (len(members), num_clients), generator)
    # Rounding the cumulative share, not each share, uses every example exactly once.
    ends = np.round(np.cumsum(shares, axis=1) * sizes[:, np.newaxis])
    ends[:, -1] = sizes
    counts = np.diff(ends, axis=1, prepend=0)
    if np.isfinite(shares).all() and counts.sum(axis=0).min() >= min_examples:
      break
  else:
    raise ValueError(
      f'dirichlet_alpha={alpha} left some of num_clients={num_clients} clients with fewer than'
      f' {min_examples} examples in each of {_MAX_DRAWS} draws; raise dirichlet_alpha or lower'
      ' num_clients.'
    )
  cuts = ends[:, :-1].astype(np.int64)
  dealt = [
    np.split(generator.permutation(indices), cut)
    for indices, cut in zip(members, cuts, strict=True)
  ]
  return [np.sort(np.concatenate(parts)) for parts in zip(*dealt, strict=True)]


def label_shards(
  labels: np.ndarray, *, num_clients: int, shards_per_client: int, generator: np.random.Generator
) -> list[np.ndarray]:
  """Sorts examples by label, cuts them into shards and deals shards at random.

  H. B. McMahan et al., "Communication-Efficient Learning of Deep Networks from
  Decentralized Data", AISTATS 2017, section 3, https://arxiv.org/abs/1602.05629, with 200
  shards of 300 for 100 clients. A client sees few labels: at most `shards_per_client`
  where no shard crosses from one label to the next, and at most twice as many where no
  shard is longer than the rarest class. Every example is used exactly once; where the
  number of shards does not divide that of examples, shards differ by one.

  Args:
    labels: int [N].
    num_clients: How many clients share the examples.
    shards_per_client: Shards that each client gets.
    generator: Source of randomness.

  Raises:
    ValueError: If there are more shards than examples.
  """
  checks.at_least('shards_per_client', shards_per_client, 1)
  _check_sizes(labels, num_clients, shards_per_client)
  order = generator.permutation(len(labels))
  by_label = order[np.argsort(labels[order], kind='stable')]
  num_shards = num_clients * shards_per_client
  shards = np.array_split(by_label, num_shards)
  hands = generator.permutation(num_shards).reshape(num_clients, shards_per_client)
  return [np.sort(np.concatenate([shards[shard] for shard in hand])) for hand in hands]


def _dirichlet_shares(
  alpha: float, shape: tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
  """float64 `shape`: symmetric Dirichlet rows, for any alpha.

  NumPy's sampler becomes slow below 1e-5 and does not return near 1e-300, hence logarithms:
  a gamma variable of shape alpha is one of shape alpha + 1 times U^(1/alpha).
  """
  uniform = 1.0 - generator.random(shape)  # In (0, 1], so that its logarithm is finite.
  logs = np.log(generator.standard_gamma(alpha + 1.0, shape)) + np.log(uniform) / alpha
  shares = np.exp(logs - logs.max(axis=1, keepdims=True))
  return shares / shares.sum(axis=1, keepdims=True)


def _check_sizes(labels: np.ndarray, num_clients: int, per_client: int) -> None:
  if labels.ndim != 1:
    raise ValueError(f'labels has shape {list(labels.shape)}; it must be [examples].')
  checks.at_least('num_clients', num_clients, 1)
  if not len(labels) or num_clients * per_client > len(labels):
    raise ValueError(
      f'num_clients={num_clients} with at least {per_client} examples each cannot share'
      f' {len(labels)} examples; lower the number of clients.'
    )
