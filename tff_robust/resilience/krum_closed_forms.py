"""Closed forms for when Krum selects inner product manipulation.

Two models of the honest messages of a round. Isotropic: row i is the gradient plus
noise of energy D (the trace of its covariance) spread over many coordinates, so that
noises are nearly orthogonal to each other and to the gradient. Heteroscedastic: the
same with a different energy for each row. Then every squared distance is close to its
expectation, and b colluders at squared distance A from the honest rows are selected
if and only if A < 2 rho D. With k = n - f - 2 neighbours, rho = k / (k - b + 1) for b <= f + 1,
since their score counts b - 1 zeros. Beyond that, k - h + 1 = b - f - 1 neighbours of each honest
row are attackers too, and rho = (h - 1) / (h - b) for the h = n - b honest ones.

R, the signal-to-noise ratio, is the squared norm of the gradient divided by D. Real
gradients are anisotropic, so the exact certificate of `krum_breaking_point` is what
holds in a given round; these forms say why, and what would change it. All of them are
derived here.
"""

import math
from typing import Any

import numpy as np

from tff_robust import checks
from tff_robust.attacks import knowledge as knowledge_modes
from tff_robust.resilience import finite_rows

KNOWLEDGE = knowledge_modes.ALL


def neighbor_ratio(*, num_clients: int, num_byzantine: int, max_byzantine: int) -> float:
  """Returns rho: how much further than honest rows attackers may be, in squared distance.

  An honest row's honest neighbours, when it has as few attackers among them as can be, over how
  many more honest neighbours an attacker then counts than an honest row attackers. Infinity if
  that is none: attackers as many as the honest rows, or more, are always selected.

  Raises:
    ValueError: If Krum is not defined for n and f, or num_byzantine is not in [1, n).
  """
  checks.enough_clients('krum', num_clients, max_byzantine, 2 * max_byzantine + 3)
  if not 1 <= num_byzantine < num_clients:
    raise ValueError(
      f'num_byzantine={num_byzantine} must be at least 1 and less than the {num_clients} clients'
      ' of the round.'
    )
  neighbors = num_clients - max_byzantine - 2
  # An honest row has n - b - 1 honest ones to choose from.
  attackers_among = max(0, neighbors - (num_clients - num_byzantine - 1))
  more = neighbors - num_byzantine + 1 - attackers_among
  return (neighbors - attackers_among) / more if more > 0 else math.inf


def isotropic_breaking_epsilon(
  *, num_clients: int, num_byzantine: int, max_byzantine: int, signal_to_noise_ratio: float
) -> float:
  """Returns the epsilon below which Krum selects the attackers, in the isotropic model.

  (1 + epsilon)^2 (R + 1/h) = 2 rho - 1 + 1/h. Zero when no epsilon is selected. With
  n = 25 and R = 0.1: 1.71 against one attacker, 7.04 against eleven.

  Args:
    num_clients: n.
    num_byzantine: b; h = n - b.
    max_byzantine: f, as Krum is told.
    signal_to_noise_ratio: R, at least 0.

  Raises:
    ValueError: If R is negative or not finite, Krum is not defined for n and f, or
      num_byzantine is not in [1, n).
  """
  return knowledge_breaking_epsilon(
    'honest_messages',
    num_clients=num_clients,
    num_byzantine=num_byzantine,
    max_byzantine=max_byzantine,
    signal=signal_to_noise_ratio,
    sampling_noise=1.0,
    dp_noise=0.0,
  )


def critical_signal_to_noise_ratio(
  *, num_clients: int, num_byzantine: int, max_byzantine: int, epsilon: float
) -> float:
  """Returns the R above which Krum rejects `epsilon`, in the isotropic model.

  (2 rho - 1 + 1/h) / (1 + epsilon)^2 - 1/h. Negative if `epsilon` is never selected.
  An attack with a given epsilon raises the loss, and with it the gradient, until R is
  near this value: there Krum alternates between attackers and honest clients.

  Raises:
    ValueError: If epsilon is negative or not finite, Krum is not defined for n and f, or
      num_byzantine is not in [1, n).
  """
  checks.nonnegative('epsilon', epsilon)
  rho = neighbor_ratio(
    num_clients=num_clients, num_byzantine=num_byzantine, max_byzantine=max_byzantine
  )
  inverse = 1 / (num_clients - num_byzantine)
  return (2 * rho - 1 + inverse) / (1 + epsilon) ** 2 - inverse


def knowledge_breaking_epsilon(
  knowledge: str,
  *,
  num_clients: int,
  num_byzantine: int,
  max_byzantine: int,
  signal: float,
  sampling_noise: float,
  dp_noise: float,
) -> float:
  """Returns the breaking epsilon for what the attackers know, in the isotropic model.

  Messages carry sampling noise of energy D and differential-privacy noise of energy N.
  Attackers send -epsilon times a mean: of the h honest messages as sent, of the same
  before the noise N, of their own b messages, or of their own before the noise.

  Args:
    knowledge: One of `KNOWLEDGE`.
    num_clients: n.
    num_byzantine: b; h = n - b.
    max_byzantine: f, as Krum is told.
    signal: Squared norm of the gradient.
    sampling_noise: D, the energy of a message's sampling noise.
    dp_noise: N, the energy of a message's privacy noise: d * (noise standard
      deviation of a coordinate)^2.

  Returns:
    A nonnegative number; zero when no epsilon is selected, infinity when all are.

  Raises:
    ValueError: If the knowledge is not known, an energy is negative or not finite, Krum is not
      defined for n and f, or num_byzantine is not in [1, n).
  """
  checks.known_name('knowledge', knowledge, KNOWLEDGE)
  checks.nonnegative('signal', signal)
  checks.nonnegative('sampling_noise', sampling_noise)
  checks.nonnegative('dp_noise', dp_noise)
  rho = neighbor_ratio(
    num_clients=num_clients, num_byzantine=num_byzantine, max_byzantine=max_byzantine
  )
  total = sampling_noise + dp_noise
  averaged = sampling_noise if knowledge.endswith('_clean') else total
  # Squared distance to an honest row: base + 2 epsilon cross + epsilon^2 square.
  if knowledge.startswith('honest_'):
    # Each honest row shares 1/h of its noise with the mean that is sent.
    mean_noise = averaged / (num_clients - num_byzantine)
    cross = square = signal + mean_noise
  else:
    # The attackers' own noise is in no honest row: it lengthens their message only.
    mean_noise = averaged / num_byzantine
    cross, square = signal, signal + mean_noise
  base = total + signal
  room = 2 * rho * total - base
  if not room > 0:
    return 0.0
  if math.isinf(room) or square == 0:
    return math.inf
  return (math.sqrt(cross**2 + square * room) - cross) / square


def noise_dominated_breaking_epsilon(
  knowledge: str, *, num_clients: int, num_byzantine: int, max_byzantine: int
) -> float:
  """Returns the limit of the breaking epsilon as privacy noise drowns the gradients.

  sqrt(h (2 rho - 1) + 1) - 1 with knowledge `honest_messages` (11.45 for n = 25 and
  f = 11, whatever the data), sqrt(b (2 rho - 1)) with `own_messages`, and infinity
  for an attacker that sees messages before their noise.

  Raises:
    ValueError: If the knowledge is not known, Krum is not defined for n and f, or
      num_byzantine is not in [1, n).
  """
  checks.known_name('knowledge', knowledge, KNOWLEDGE)
  rho = neighbor_ratio(
    num_clients=num_clients, num_byzantine=num_byzantine, max_byzantine=max_byzantine
  )
  if knowledge.endswith('_clean'):
    return math.inf
  if knowledge == 'honest_messages':
    return math.sqrt((num_clients - num_byzantine) * (2 * rho - 1) + 1) - 1
  return math.sqrt(num_byzantine * (2 * rho - 1))


def heteroscedastic_breaking_epsilon(
  honest: Any, *, num_byzantine: int, max_byzantine: int
) -> float:
  """Returns the breaking epsilon when honest rows have different noise energies.

  With the energies D_(1) <= ... <= D_(h), each estimated as h / (h - 1) times the
  squared distance of a row to the honest mean V, k = n - f - 2 and j = k - b + 1, the
  attackers beat the quietest honest row if, for every m < j of its neighbours that may
  be attackers (m <= b),
  (j - m) (1 + epsilon)^2 |V|^2 < (k - m / h) D_(1) + (D_(2) + ... + D_(k-m+1))
  - (1 - 1/h) (D_(1) + ... + D_(j)).
  Quiet honest rows have small scores, so this is below the isotropic value, to which
  m = 0 reduces when all energies are equal.

  Args:
    honest: [h, d], the honest messages as sent. Rows that are not finite count for n alone.
    num_byzantine: b.
    max_byzantine: f, as Krum is told, at least b.

  Returns:
    A nonnegative number; zero when no epsilon is selected, as with more than f rows that are not
    finite, for which Krum has no answer.

  Raises:
    ValueError: If Krum is not defined for n and f, or num_byzantine is not between 1 and f.
  """
  rows = finite_rows.of(honest)
  num_honest = len(rows)
  num_clients = len(honest) + num_byzantine
  neighbor_ratio(num_clients=num_clients, num_byzantine=num_byzantine, max_byzantine=max_byzantine)
  checks.at_least('max_byzantine', max_byzantine, num_byzantine)
  if num_clients - num_byzantine - num_honest > max_byzantine:
    return 0.0
  center = rows.mean(axis=0)
  energies = np.sort(((rows - center) ** 2).sum(axis=1)) * num_honest / (num_honest - 1)
  total = np.concatenate([[0.0], np.cumsum(energies)])
  k = num_clients - max_byzantine - 2
  shared = k - num_byzantine + 1
  entered = np.arange(max(0, k + 1 - num_honest), min(num_byzantine, shared - 1) + 1)
  if not len(entered):  # The attackers are nearer to each other than honest rows to anyone.
    return math.inf
  rooms = (
    (k - entered / num_honest) * energies[0]
    + (total[k - entered + 1] - energies[0])
    - (1 - 1 / num_honest) * total[shared]
  )
  room = float((rooms / (shared - entered)).min())
  squared_center = float(center @ center)
  if not room > 0:
    return 0.0
  if squared_center == 0:
    return math.inf
  return max(0.0, math.sqrt(room / squared_center) - 1)
