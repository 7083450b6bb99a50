"""When inner product manipulation reverses rules other than Krum.

Closed forms for h honest rows with signal-to-noise ratio R in the isotropic model
(see `krum_closed_forms`) and b colluders that send -epsilon times the honest mean.
Each function returns the epsilon at which the rule's behaviour changes. "Reversed"
means a negative inner product of the aggregate with the honest mean. Derived here.
"""

import math
from typing import Any

import numpy as np
from scipy import stats

from tff_robust import checks
from tff_robust.resilience import finite_rows


def mean_reversal_epsilon(*, num_honest: int, num_byzantine: int) -> float:
  """Returns h / b, above which the mean is reversed. Exact, for any honest rows.

  The mean is (h - b epsilon) / (h + b) times the honest mean. At n = 25: 24 with one
  attacker, 1.27 with eleven: at small epsilon plain averaging survives where rules
  that prefer central rows do not.

  Raises:
    ValueError: If h or b is less than 1.
  """
  _check(num_honest, num_byzantine)
  return num_honest / num_byzantine


def multi_krum_reversal_epsilon(*, num_selected: int, num_byzantine: int) -> float:
  """Returns (m - b) / b, above which Multi-Krum is reversed once all b are selected.

  In that regime the aggregate averages m - b honest rows and b attackers:
  (m - b - b epsilon) / m times the honest mean in expectation. Where attackers are
  not selected Multi-Krum is unharmed: above Krum's breaking epsilon if honest rows have
  equal energy, but later where they do not. Zero if the attackers fill the selection.

  Raises:
    ValueError: If m or b is less than 1.
  """
  checks.at_least('num_selected', num_selected, 1)
  checks.at_least('num_byzantine', num_byzantine, 1)
  return max(num_selected - num_byzantine, 0) / num_byzantine


def coordinate_median_capture_probability(
  *, num_honest: int, num_byzantine: int, epsilon: float, signal_to_noise: float
) -> float:
  """Returns the probability that a coordinate of the median is exactly the attackers'.

  For odd n = h + b and r = (n + 1) / 2: the number of honest values below the
  attackers' is Binomial(h, Phi(-(1 + epsilon) g / s)), and the median is theirs when
  it lies in [r - b, r - 1]. At n = 25, b = 11 and g = 0 it is .998.

  Args:
    num_honest: h.
    num_byzantine: b.
    epsilon: The attack's factor, at least 0.
    signal_to_noise: g / s, the coordinate's gradient over its standard deviation.

  Raises:
    ValueError: If n is even, since the median is then the mean of two values, h or b is less
      than 1, or epsilon is negative or not finite.
  """
  _check(num_honest, num_byzantine)
  checks.nonnegative('epsilon', epsilon)
  num_clients = num_honest + num_byzantine
  if num_clients % 2 == 0:
    raise ValueError(
      f'num_honest + num_byzantine = {num_clients} must be odd, since the median of an even'
      ' number of values is none of them; change one of the two by 1.'
    )
  rank = (num_clients + 1) // 2
  below = stats.binom(num_honest, stats.norm.cdf(-(1 + epsilon) * signal_to_noise))
  return float(below.cdf(rank - 1) - below.cdf(rank - num_byzantine - 1))


def geometric_median_capture_epsilon(
  *, num_honest: int, num_byzantine: int, signal_to_noise_ratio: float
) -> float:
  """Returns the epsilon up to which the geometric median is the attackers' row itself.

  (1 + epsilon)^2 (R + 1/h) <= b^2 (1 - 1/h) / (h^2 - b^2): the b equal rows outweigh
  the pull of the honest ones. Zero if it never is. At n = 25 and R = 0: 3.6 with
  eleven attackers, 1.1 with eight, never with four.

  Raises:
    ValueError: If h or b is less than 1, or R is negative or not finite.
  """
  _check(num_honest, num_byzantine)
  checks.nonnegative('signal_to_noise_ratio', signal_to_noise_ratio)
  h, b = num_honest, num_byzantine
  if b >= h:
    return math.inf
  ratio = b * b * (1 - 1 / h) / ((h * h - b * b) * (signal_to_noise_ratio + 1 / h))
  return max(0.0, math.sqrt(ratio) - 1)


def geometric_median_is_attacker(honest: Any, *, num_byzantine: int, epsilon: float) -> bool:
  """Returns whether the geometric median of the round is the attackers' row. Exact.

  A row repeated b times is a geometric median if and only if the unit vectors from it
  to the other rows sum to a vector no longer than b.

  Args:
    honest: [h, d], the honest messages as sent; rows that are not finite are left out.
    num_byzantine: b.
    epsilon: The attack's factor.
  """
  rows = finite_rows.of(honest)
  offsets = rows + epsilon * rows.mean(axis=0)
  lengths = np.linalg.norm(offsets, axis=1)
  coincident = lengths == 0
  pull = np.linalg.norm((offsets[~coincident] / lengths[~coincident, None]).sum(axis=0))
  return bool(pull <= num_byzantine + coincident.sum())


def nearest_neighbor_mixing_entry_epsilon(
  *, num_honest: int, signal_to_noise_ratio: float
) -> float:
  """Returns the epsilon below which attackers enter honest neighbourhoods in mixing.

  (1 + epsilon)^2 (R + 1/h) < 1 + 1/h: an honest row is then nearer to the attackers
  than to other honest rows. Above it, and with b <= f, honest rows mix with honest rows alone. With
  b = f, all of them become the same mean, which Krum, medians and trimmed means then return; the
  plain mean still moves with the attackers' mixed rows. Zero if attackers never enter.

  Raises:
    ValueError: If h is less than 2, or R is negative or not finite.
  """
  checks.at_least('num_honest', num_honest, 2)
  checks.nonnegative('signal_to_noise_ratio', signal_to_noise_ratio)
  inverse = 1 / num_honest
  return max(0.0, math.sqrt((1 + inverse) / (signal_to_noise_ratio + inverse)) - 1)


def _check(num_honest: int, num_byzantine: int) -> None:
  checks.at_least('num_honest', num_honest, 1)
  checks.at_least('num_byzantine', num_byzantine, 1)
