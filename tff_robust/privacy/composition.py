"""Composition of dp_accounting events into one epsilon. Free of TensorFlow.

Accountants:
  'pld': Privacy loss distributions, discretised pessimistically; the tightest. Where their
    figure would say nothing (above 1e6, or none at a delta that their cut tails exceed) it is
    that of 'rdp', a bound as well.
  'rdp': Renyi differential privacy (Mironov, "Renyi Differential Privacy", CSF 2017,
    https://arxiv.org/abs/1702.07476), converted to (epsilon, delta) by Proposition 12 of
    Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", NeurIPS
    2020 (https://arxiv.org/abs/2004.00010).
  'rdp_classic': The same curve, converted by Proposition 3 of Mironov 2017. Looser; it
    reproduces figures published before 2020, such as those of TF Privacy's tutorials.
"""

import functools
import math

import dp_accounting
import numpy as np

ACCOUNTANTS = ('pld', 'rdp', 'rdp_classic')
RDP_ORDERS = (
  *(order / 10 for order in range(11, 110)),
  *range(11, 128),
  *(128, 256, 512, 1024, 2048),
)


class _RdpAccountant(dp_accounting.rdp.RdpAccountant):
  """RDP, leaving out orders whose divergence came out negative.

  Next to the smallest divergences rounding errors are larger than the value; the bound
  holds order by order, so such an order is not needed.
  """

  @property
  def rdp(self) -> np.ndarray:
    """Renyi divergence at each order, infinite where it is unknown."""
    return np.where(self._rdp < 0, np.inf, self._rdp)

  def get_epsilon(self, target_delta: float) -> float:
    """Returns the least epsilon over all orders."""
    return float(dp_accounting.rdp.compute_epsilon(self.orders, self.rdp, target_delta)[0])


class _ClassicRdpAccountant(_RdpAccountant):
  """RDP with the conversion of Mironov 2017, Proposition 3."""

  def get_epsilon(self, target_delta: float) -> float:
    """Returns the least epsilon over all orders."""
    return float(np.min(self.rdp + math.log(1.0 / target_delta) / (self.orders - 1.0)))


# Above this epsilon the grid of a privacy loss distribution would overflow.
_LARGEST_PLD_EPSILON = 1e6
# Renyi bounds of 20 and more are larger than those of privacy loss distributions by less than this.
_RENYI_OVER_PLD = 1.5


def discretisation(epsilon: float) -> float:
  """Returns the grid interval of privacy loss distributions around an epsilon.

  Distributions stay upper bounds on any grid; a fixed interval would need memory in
  proportion to epsilon.
  """
  if epsilon <= 30.0:
    return 1e-3
  return max(1e-2, 1e-5 * epsilon)


def fresh_accountant(
  accountant: str,
  neighboring_relation: dp_accounting.NeighboringRelation,
  value_discretization_interval: float = 1e-3,
) -> dp_accounting.PrivacyAccountant:
  """Returns an accountant that has composed nothing.

  Args:
    accountant: One of `ACCOUNTANTS`.
    neighboring_relation: The adjacency.
    value_discretization_interval: Grid interval; only 'pld' reads it.
  """
  if accountant == 'pld':
    return dp_accounting.pld.PLDAccountant(neighboring_relation, value_discretization_interval)
  kind = _RdpAccountant if accountant == 'rdp' else _ClassicRdpAccountant
  return kind(RDP_ORDERS, neighboring_relation)


def composed_epsilon(
  event: dp_accounting.DpEvent,
  *,
  count: int,
  delta: float,
  accountant: str,
  neighboring_relation: dp_accounting.NeighboringRelation,
) -> float:
  """Returns epsilon of `count` adaptive compositions of an event.

  Args:
    event: What is composed; must be supported by the accountant under the adjacency.
    count: At least 0; composing nothing costs nothing.
    delta: In (0, 1).
    accountant: One of `ACCOUNTANTS`.
    neighboring_relation: The adjacency.

  Returns:
    Epsilon, infinity where there is no noise.
  """
  if count == 0:
    return 0.0
  composed = dp_accounting.SelfComposedDpEvent(event, count)
  interval = 1e-3
  if accountant != 'pld':
    return float(_composed(accountant, neighboring_relation, interval, composed).get_epsilon(delta))
  renyi = float(_composed('rdp', neighboring_relation, interval, composed).get_epsilon(delta))
  if renyi > _LARGEST_PLD_EPSILON:
    return renyi
  # No coarser than the grid of whoever calibrates to the figure that comes out.
  interval = discretisation(renyi / _RENYI_OVER_PLD)
  found = float(_composed('pld', neighboring_relation, interval, composed).get_epsilon(delta))
  return found if math.isfinite(found) else renyi


@functools.lru_cache(maxsize=64)
def _composed(
  accountant: str,
  neighboring_relation: dp_accounting.NeighboringRelation,
  value_discretization_interval: float,
  event: dp_accounting.DpEvent,
) -> dp_accounting.PrivacyAccountant:
  """Returns an accountant that has composed an event; asking it for epsilon is cheap."""
  fresh = fresh_accountant(accountant, neighboring_relation, value_discretization_interval)
  return fresh.compose(event)
