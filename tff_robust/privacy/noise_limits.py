"""What honest noisy messages almost never do: thresholds with a stated false-rejection level.

Notation of `message_noise`: a message is x = a + b + N in d dimensions, N is Gaussian with
standard deviation s in every coordinate, a is independent of N with norm at most A, and b is
anything with norm at most D. The level alpha of a round of n clients is shared equally by
three tests (and by the bound on Poisson batches), and within a test by the messages or pairs
that it looks at (Bonferroni).

Norm. |a + N|^2 / s^2 is noncentral chi-square with d degrees of freedom and noncentrality
|a|^2 / s^2, which grows stochastically with the noncentrality. So |a + N| lies below s times
the root of a central lower quantile, or above s times the root of the upper quantile at
noncentrality (A / s)^2, no more often than the quantiles say. b moves a norm by D at most.

Distance of two messages. a_i + N_i - a_j - N_j is Gaussian with variance s_i^2 + s_j^2 and
independent of its mean, so its norm is stochastically smallest when the mean is zero: a
central chi-square lower quantile again, less the D_i + D_j by which b_i and b_j move it.

Distribution of the coordinates. F is the empirical distribution function of the coordinates
of x, Phi that of a standard normal. F is compared with Phi(t / s) at the `NUM_CELLS - 1` values
of t that cut the normal distribution into cells of equal probability.

1. Without b, F(t) is a mean of d independent indicators with expectations
   Phi((t - a_k) / s). By Hoeffding's inequality (JASA 1963) it is further than lambda from its
   own expectation with probability 2 exp(-2 d lambda^2) at most, at each of those t. The
   indicators have different expectations, so that Kolmogorov's distribution is not theirs.
2. |Phi((t - a_k) / s) - Phi(t / s)| <= 2 Phi(|a_k| / (2 s)) - 1, which is concave in |a_k|. By
   Jensen's inequality the mean over k is at most 2 Phi(r / 2) - 1 with r = A / (s sqrt(d)).
3. b moves at most D^2 / h^2 coordinates by more than h, for every h > 0, so that F(t) with b
   lies between F(t - h) - D^2 / (d h^2) and F(t + h) + D^2 / (d h^2) without. Phi(t / s) and
   its shifted mean change by at most h / (s sqrt(2 pi)) over h. The sum of both is smallest at
   h^3 = 2 sqrt(2 pi) s D^2 / d. Since t + h is not among the values of t, the deviation in 1
   is asked for at the shifted values: twice as many inequalities again.

Clients with different numbers of steps have different s. A message must then pass the norm
test of one of them, and its coordinates are compared with the deviation that its own norm
suggests, s' = |x| / sqrt(d), kept within the range of s. A message that passes its own norm
test has s' / s in a known interval, and |Phi(t / s') - Phi(t / s)| <= |log(s' / s)| phi(1).

Free of TensorFlow.
"""

import dataclasses
import math
from collections.abc import Sequence

from tff_robust import checks
from tff_robust.privacy import message_noise

FALSE_REJECTION_PROBABILITY = 1e-3
NUM_CELLS = 512
# Messages are float32: their norms and distances are wrong in the sixth digit at most.
_ROUNDING = 1e-5
_NUM_TESTS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseLimits:
  """Thresholds for honest messages of a round, see the module.

  Attributes:
    norm_intervals: (least, greatest) norm, one pair for each number of local steps.
    noise_stddevs: (least, greatest) standard deviation of a coordinate's noise.
    distribution_distance: Greatest distance of the distribution function of the coordinates
      to that of the noise; at 1 or more the test never rejects.
    pair_distance: Least distance of two messages; at 0 the test never rejects.
    false_rejection_probability: Of a round of honest messages: that any one is rejected.
  """

  norm_intervals: tuple[tuple[float, float], ...]
  noise_stddevs: tuple[float, float]
  distribution_distance: float
  pair_distance: float
  false_rejection_probability: float

  def describe(self) -> str:
    """Returns the thresholds in words, those that reject nothing included."""
    least = min(interval[0] for interval in self.norm_intervals)
    greatest = max(interval[1] for interval in self.norm_intervals)
    norms = f'norm {least:.3g} to {greatest:.3g}' if least else f'norm at most {greatest:.3g}'
    distribution = f'distribution within {self.distribution_distance:.3g} of the noise'
    pairs = f'pairs at least {self.pair_distance:.3g} apart'
    return ', '.join(
      [
        norms,
        distribution if self.distribution_distance < 1 else 'any distribution',
        pairs if self.pair_distance else 'pairs at any distance',
      ]
    )


def message_tail_probability(
  num_clients: int, *, false_rejection_probability: float = FALSE_REJECTION_PROBABILITY
) -> float:
  """Returns the share of the level that one message has in one of the tests.

  It is also the `tail_probability` that `message_noise.honest_messages` is to be given.
  """
  return false_rejection_probability / (_NUM_TESTS * num_clients)


def noise_limits(
  messages: Sequence[message_noise.MessageNoise],
  *,
  dimension: int,
  num_clients: int,
  false_rejection_probability: float = FALSE_REJECTION_PROBABILITY,
) -> NoiseLimits:
  """Returns the thresholds for a round.

  Args:
    messages: What honest messages can be, one entry a number of local steps.
    dimension: Coordinates of a message, d.
    num_clients: Greatest number of messages of a round, n.
    false_rejection_probability: Greatest probability that a round rejects an honest message,
      as far as this depends on honest messages alone.

  Raises:
    ValueError: On an impossible value.
  """
  checks.at_least('dimension', dimension, 1)
  checks.at_least('num_clients', num_clients, 1)
  checks.in_open_unit_interval('false_rejection_probability', false_rejection_probability)
  # Not at the top: SciPy's distributions would delay every --help by a second.
  from scipy import stats

  tail = message_tail_probability(
    num_clients, false_rejection_probability=false_rejection_probability
  )
  intervals = [_norm_interval(message, dimension, tail / 2) for message in messages]
  num_pairs = max(1, num_clients * (num_clients - 1) // 2)
  pair_tail = false_rejection_probability / (_NUM_TESTS * num_pairs)
  shortest = math.sqrt(float(stats.chi2.ppf(pair_tail, dimension)))
  pair_distance = min(
    math.hypot(one.noise_stddev, other.noise_stddev) * shortest * (1 - _ROUNDING)
    - (one.dependent_bound + other.dependent_bound)
    for one in messages
    for other in messages
  )
  stddevs = [message.noise_stddev for message in messages]
  distances = [
    _distribution_distance(message, dimension, tail)
    + _scale_allowance(message.noise_stddev, interval, stddevs, dimension)
    for message, interval in zip(messages, intervals, strict=True)
  ]
  return NoiseLimits(
    norm_intervals=tuple(intervals),
    noise_stddevs=(min(stddevs), max(stddevs)),
    distribution_distance=max(distances) + _ROUNDING,
    pair_distance=max(0.0, pair_distance),
    false_rejection_probability=false_rejection_probability,
  )


def _norm_interval(
  message: message_noise.MessageNoise, dimension: int, tail: float
) -> tuple[float, float]:
  from scipy import stats

  deviation, moved = message.noise_stddev, message.dependent_bound
  noncentrality = (message.independent_bound / deviation) ** 2
  least = deviation * math.sqrt(float(stats.chi2.ppf(tail, dimension)))
  greatest = deviation * math.sqrt(_noncentral_upper(tail, dimension, noncentrality))
  return max(0.0, least * (1 - _ROUNDING) - moved), greatest * (1 + _ROUNDING) + moved


def _noncentral_upper(tail: float, dimension: int, noncentrality: float) -> float:
  """Returns an upper bound on the upper quantile of a noncentral chi-square distribution.

  Lucien Birge, "An alternative point of view on Lepski's method", 2001, Lemma 8.1: the
  variable exceeds d + c + 2 sqrt((d + 2 c) u) + 2 u with probability exp(-u) at most. It
  holds everywhere; numerical quantiles fail at large d and c.
  """
  exponent = -math.log(tail)
  spread = 2 * math.sqrt((dimension + 2 * noncentrality) * exponent)
  return dimension + noncentrality + spread + 2 * exponent


def _distribution_distance(
  message: message_noise.MessageNoise, dimension: int, tail: float
) -> float:
  """Returns the sum of the three allowances in the module's text."""
  scale = message.noise_stddev * math.sqrt(dimension)
  relative, moved = message.independent_bound / scale, message.dependent_bound / scale
  # Shifted to both sides by b; one value serves both where nothing is shifted.
  num_values = (2 if moved else 1) * (NUM_CELLS - 1)
  deviation = math.sqrt(math.log(2 * num_values / tail) / (2 * dimension))
  shift = math.erf(relative / (2 * math.sqrt(2)))
  step = (2 * math.sqrt(2 * math.pi) * moved**2) ** (1 / 3)
  return deviation + shift + 1.5 * step / math.sqrt(2 * math.pi)


def _scale_allowance(
  deviation: float, interval: tuple[float, float], stddevs: Sequence[float], dimension: int
) -> float:
  """Returns what comparing with s' in place of s can add."""
  unit = deviation * math.sqrt(dimension)
  below = math.log(deviation / min(stddevs))
  above = math.log(max(stddevs) / deviation)
  if interval[0] > 0:
    below = min(below, max(0.0, math.log(unit / interval[0])))
  above = min(above, max(0.0, math.log(interval[1] / unit)))
  return max(below, above) * math.exp(-0.5) / math.sqrt(2 * math.pi)
