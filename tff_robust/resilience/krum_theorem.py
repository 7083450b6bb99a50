"""The resilience condition of Krum's own theorem."""

import math

from tff_robust import checks


def eta(*, num_clients: int, max_byzantine: int) -> float:
  """Returns the constant eta of Krum's theorem for n rows of which f are Byzantine.

  eta^2 = 2 (n - f + (f (n - f - 2) + f^2 (n - f - 1)) / (n - 2f - 2)). For n = 25,
  eta^2 is 52 with f = 1 and 3438 with f = 11.

  Peva Blanchard, El Mahdi El Mhamdi, Rachid Guerraoui, Julien Stainer, "Machine
  Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
  proposition 1, https://arxiv.org/abs/1703.02757.

  Args:
    num_clients: n.
    max_byzantine: f.

  Raises:
    ValueError: If 2f + 2 < n does not hold.
  """
  checks.enough_clients('krum', num_clients, max_byzantine, 2 * max_byzantine + 3)
  n, f = num_clients, max_byzantine
  return math.sqrt(2 * (n - f + (f * (n - f - 2) + f * f * (n - f - 1)) / (n - 2 * f - 2)))


def required_signal_to_noise_ratio(*, num_clients: int, max_byzantine: int) -> float:
  """Returns eta^2: Krum's theorem speaks only of rounds in which R is above it.

  R is the squared norm of the gradient divided by the trace of the covariance of an
  honest row; the theorem demands eta * sqrt(trace) < norm.

  Raises:
    ValueError: If 2f + 2 < n does not hold.
  """
  return eta(num_clients=num_clients, max_byzantine=max_byzantine) ** 2


def sine_of_resilience_angle(
  *, num_clients: int, max_byzantine: int, signal_to_noise_ratio: float
) -> float | None:
  """Returns sin(alpha) for which Krum is (alpha, f)-Byzantine resilient.

  The expected output then has an inner product of at least
  (1 - sin alpha) |gradient|^2 with the gradient, whatever the attack.

  Args:
    num_clients: n.
    max_byzantine: f.
    signal_to_noise_ratio: R. An estimate of at most 0 counts as no signal.

  Returns:
    eta / sqrt(R), or None where the theorem's condition fails and it promises nothing.

  Raises:
    ValueError: If 2f + 2 < n does not hold.
  """
  threshold = eta(num_clients=num_clients, max_byzantine=max_byzantine)
  if not signal_to_noise_ratio > threshold**2:
    return None
  return threshold / math.sqrt(signal_to_noise_ratio)


def sufficient_num_neighbours_for_ipm(*, epsilon: float) -> float:
  """Returns the number that n - b - 2 must exceed in the published failure condition.

  2 (epsilon + 2)^2 / epsilon^2: where Krum is told f = b, a row is scored by more
  neighbours than that, and honest rows are no further from their mean than its norm,
  inner product manipulation is guaranteed to capture Krum. It is sufficient, far from
  necessary: at epsilon = 0.1 it asks for more than 882 neighbours, while Krum is captured
  in practice with the 12 that n = 25 and f = 11 leave.

  Cong Xie, Oluwasanmi Koyejo, Indranil Gupta, "Fall of Empires: Breaking
  Byzantine-tolerant SGD by Inner Product Manipulation", UAI 2019, theorem on Krum,
  https://arxiv.org/abs/1903.03936.

  Args:
    epsilon: The attack's factor, positive.

  Raises:
    ValueError: If epsilon is not a finite number above 0.
  """
  checks.positive('epsilon', epsilon)
  return 2 * (epsilon + 2) ** 2 / epsilon**2
