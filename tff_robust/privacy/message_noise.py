"""What the protocol makes public about an honest message: its noise, and a bound on the rest.

A client that clips and noises its gradients sends x = a + b + N with

- N, Gaussian with a standard deviation that everybody knows;
- a, the part of the signal that is computed before any of this noise is drawn;
- b, the part that later steps compute from weights that already hold noise.

`fed_sgd` takes one step: x = g + N, so that b = 0. `fed_avg` with learning rate eta takes
T steps and sends the sum of eta * (g_t + N_t). The N_t are independent of each other and of
everything before them, so their sum is exactly Gaussian with sqrt(T) times the deviation of
one; g_1 does not depend on it, the other g_t do. All that is known of those is their norm.

With C the clip norm and `gain` the factor of `mechanisms.Mechanism`, one step's signal is no
longer than gain * C when a minibatch mean is clipped, and gain * C * m when m examples are.
Batches that are cut from shuffled examples hold at most B. A Poisson batch of a client with
n_k examples is binomial (n_k trials with probability min(1, B / n_k)); the bound then holds
but for a stated probability. Rounding is left out: float32 weights that take the steps of
`fed_avg` lose noise that is not large against a ten-millionth of them.

Free of TensorFlow.
"""

import dataclasses
import math
from collections.abc import Sequence

from tff_robust import checks
from tff_robust.privacy import mechanisms

ALGORITHMS = ('fed_sgd', 'fed_avg')


@dataclasses.dataclass(frozen=True, kw_only=True)
class MessageNoise:
  """An honest message is a + b + N, see the module.

  Attributes:
    noise_stddev: Standard deviation of every coordinate of N, above 0.
    independent_bound: Bound on the norm of a, which is independent of N.
    dependent_bound: Bound on the norm of b, which may depend on N in any way.
  """

  noise_stddev: float
  independent_bound: float
  dependent_bound: float = 0.0

  def __post_init__(self) -> None:
    checks.positive('noise_stddev', self.noise_stddev)
    checks.nonnegative('independent_bound', self.independent_bound)
    checks.nonnegative('dependent_bound', self.dependent_bound)


def honest_messages(
  mechanism: mechanisms.Mechanism,
  *,
  algorithm: str,
  client_sizes: Sequence[int],
  batch_sampling: str = 'shuffle',
  local_epochs: int = 1,
  learning_rate: float = 1.0,
  tail_probability: float = 1e-6,
) -> tuple[MessageNoise, ...]:
  """Returns what honest messages of a population can be, one entry a number of local steps.

  Args:
    mechanism: What clips and noises the gradient of one step; its noise must not be 0.
    algorithm: 'fed_sgd', or 'fed_avg' with ceil(n_k / B) steps a local epoch.
    client_sizes: Examples of each client, n_k.
    batch_sampling: 'shuffle' or 'poisson'.
    local_epochs: For 'fed_avg'.
    learning_rate: Of local SGD, for 'fed_avg'.
    tail_probability: With Poisson batches whose examples are clipped, the probability that
      the signal of a message exceeds its bounds. It is 0 in all other cases.

  Returns:
    One description for each number of steps that occurs, fewest steps first; it holds for
    every client that takes so many.

  Raises:
    ValueError: If the mechanism adds no noise, or on an impossible value.
  """
  checks.known_name('algorithm', algorithm, ALGORITHMS)
  checks.known_name('batch_sampling', batch_sampling, ('shuffle', 'poisson'))
  checks.positive('noise_multiplier', mechanism.noise_multiplier)
  checks.at_least('smallest client size', min(client_sizes), 1)
  checks.in_open_unit_interval('tail_probability', tail_probability)
  rate = learning_rate if algorithm == 'fed_avg' else 1.0
  unit = rate * mechanism.gain * mechanism.l2_norm_clip
  batch_size = mechanism.expected_batch_size
  found: dict[int, MessageNoise] = {}
  for size in sorted(set(client_sizes)):
    steps = local_epochs * math.ceil(size / batch_size) if algorithm == 'fed_avg' else 1
    first, later = 1.0, float(steps - 1)
    if mechanism.clip_unit == 'example':
      first, later = _most_examples(size, batch_size, steps, batch_sampling, tail_probability)
    known = found.get(steps)
    found[steps] = MessageNoise(
      noise_stddev=rate * math.sqrt(steps) * mechanism.noise_stddev,
      independent_bound=max(unit * first, known.independent_bound if known else 0.0),
      dependent_bound=max(unit * later, known.dependent_bound if known else 0.0),
    )
  return tuple(found[steps] for steps in sorted(found))


def _most_examples(
  size: int, batch_size: float, steps: int, batch_sampling: str, tail_probability: float
) -> tuple[float, float]:
  """Returns bounds on the examples of a client's first batch, and of all later ones together."""
  if batch_sampling == 'shuffle':
    return min(size, batch_size), (steps - 1) * min(size, batch_size)
  # Not at the top: SciPy's distributions would delay every --help by a second.
  from scipy import stats

  share = min(1.0, batch_size / size)
  first, later = (
    float(stats.binom.isf(tail_probability / 2, trials * size, share)) if trials else 0.0
    for trials in (1, steps - 1)
  )
  return first, later
