"""The six gradient mechanisms in numbers: what is returned, how noisy, how sensitive.

A mechanism turns the gradients of one minibatch into one noised gradient. Two names
pick it: `clip_unit` says what is clipped to norm C = `l2_norm_clip`, `noise_scale` says
where the noise with multiplier z = `noise_multiplier` enters. With B the expected batch
size, g_i the gradient of example i and clip(v) = v * min(1, C / |v|):

| clip_unit | noise_scale | returned | noise std | sensitivity | effective z |
| --- | --- | --- | --- | --- | --- |
| example | sum_then_divide | sum clip(g_i) / B | z C / B | C / B | z |
| example | on_mean | sum clip(g_i) / B | z C | C / B | z B |
| example | per_example_sum | sum clip(g_i) | sqrt(B) z C | C | z sqrt(B) |
| minibatch_mean | sum_then_divide | clip(sum g_i / B) | z C / B | 2 C | z / (2 B) |
| minibatch_mean | on_mean | clip(sum g_i / B) | z C | 2 C | z / 2 |
| minibatch_mean | per_example_sum | B clip(sum g_i / B) | sqrt(B) z C | 2 B C | z / (2 sqrt(B)) |

Derivation. Adjacent data sets differ by one example, added or removed (its gradient
counts as zero when it is absent). With `clip_unit='example'` it contributes one vector of
norm at most C to a sum, so the returned vector moves by at most C times whatever
multiplies the sum. With `clip_unit='minibatch_mean'` gradients of single examples are
unbounded: one example can turn the clipped mean from any vector of norm C to its
negative, a move of 2 C that does not shrink with B. The effective noise multiplier is the
noise's standard deviation over that sensitivity, so that the mechanism is exactly a
Gaussian mechanism with this multiplier.

example + sum_then_divide is Algorithm 1 of Abadi et al., "Deep Learning with Differential
Privacy", CCS 2016 (https://arxiv.org/abs/1607.00133), with the expected batch size as
divisor. minibatch_mean + on_mean and minibatch_mean + per_example_sum are two literal
readings of Algorithm 3 of Tingxin Yang, "Robust Federated Learning with Differential
Privacy", internship report, July 2024, whose line 12 sums one noise draw for each
example: the sum of B independent draws has standard deviation sqrt(B) z C and is drawn
here as one.

Free of TensorFlow.
"""

import dataclasses
import math

from tff_robust import checks

CLIP_UNITS = ('example', 'minibatch_mean')
NOISE_SCALES = ('sum_then_divide', 'on_mean', 'per_example_sum')
# Squares of what is clipped must neither vanish nor overflow in float32.
LEAST_CLIP, MOST_CLIP = 1e-15, 1e15
# What float32 noise and the accountants can work with.
LEAST_NOISE, MOST_NOISE = 1e-6, 1e6
# Draws reach 5.7 standard deviations, and float32 ends at 3.4e38.
_MOST_STDDEV = 1e37


def check_l2_norm_clip(l2_norm_clip: float) -> None:
  """Raises ValueError unless gradients can be clipped to this norm in float32."""
  checks.positive('l2_norm_clip', l2_norm_clip)
  if not LEAST_CLIP <= l2_norm_clip <= MOST_CLIP:
    raise ValueError(
      f'l2_norm_clip={l2_norm_clip} must lie between {LEAST_CLIP:g} and {MOST_CLIP:g}, so that'
      ' float32 can hold the squares of what is clipped.'
    )


def check_noise_multiplier(noise_multiplier: float) -> None:
  """Raises ValueError unless it is 0 or in a range in which noise can be drawn and accounted."""
  checks.nonnegative('noise_multiplier', noise_multiplier)
  if noise_multiplier and not LEAST_NOISE <= noise_multiplier <= MOST_NOISE:
    raise ValueError(
      f'noise_multiplier={noise_multiplier} must be 0 or lie between {LEAST_NOISE:g} and'
      f' {MOST_NOISE:g}.'
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mechanism:
  """One gradient mechanism as plain values; the module's table defines the properties.

  Attributes:
    l2_norm_clip: Norm to which gradients are clipped, from `LEAST_CLIP` to `MOST_CLIP`.
    noise_multiplier: Standard deviation of the noise in units of `l2_norm_clip`, before
      `noise_scale` is applied, from `LEAST_NOISE` to `MOST_NOISE`; 0 clips without noise and
      gives no privacy.
    expected_batch_size: The divisor of sums. A public constant, never the size of the
      batch at hand, which is private under Poisson sampling.
    clip_unit: One of `CLIP_UNITS`.
    noise_scale: One of `NOISE_SCALES`.

  Raises:
    ValueError: On a value outside of what is said above, or if float32 cannot hold the noise.
  """

  l2_norm_clip: float
  noise_multiplier: float
  expected_batch_size: float
  clip_unit: str = 'example'
  noise_scale: str = 'sum_then_divide'

  def __post_init__(self) -> None:
    check_l2_norm_clip(self.l2_norm_clip)
    check_noise_multiplier(self.noise_multiplier)
    checks.positive('expected_batch_size', self.expected_batch_size)
    checks.known_name('clip_unit', self.clip_unit, CLIP_UNITS)
    checks.known_name('noise_scale', self.noise_scale, NOISE_SCALES)
    # Noise is drawn on a sum, which is multiplied by the gain afterwards.
    largest = max(self.noise_stddev, self.noise_stddev / self.gain)
    if largest > _MOST_STDDEV:
      raise ValueError(
        f'noise_multiplier={self.noise_multiplier} with l2_norm_clip={self.l2_norm_clip} and'
        f' expected_batch_size={self.expected_batch_size} makes noise of standard deviation'
        f' {largest:g}, more than the {_MOST_STDDEV:g} that float32 can hold; change one of the'
        ' three.'
      )

  @property
  def gain(self) -> float:
    """What multiplies the sum of clipped vectors (one vector for 'minibatch_mean')."""
    if self.noise_scale == 'per_example_sum':
      return 1.0 if self.clip_unit == 'example' else float(self.expected_batch_size)
    return 1.0 / self.expected_batch_size if self.clip_unit == 'example' else 1.0

  @property
  def noise_stddev(self) -> float:
    """Standard deviation of the noise in each coordinate of what is returned."""
    on_mean = self.noise_multiplier * self.l2_norm_clip
    if self.noise_scale == 'sum_then_divide':
      return on_mean / self.expected_batch_size
    if self.noise_scale == 'per_example_sum':
      return on_mean * math.sqrt(self.expected_batch_size)
    return on_mean

  @property
  def sensitivity(self) -> float:
    """Largest move of what is returned when one example is added, removed or zeroed."""
    return self.gain * self.l2_norm_clip * (1.0 if self.clip_unit == 'example' else 2.0)

  @property
  def effective_noise_multiplier(self) -> float:
    """`noise_stddev` over `sensitivity`: the Gaussian mechanism that this is, by example."""
    return self.noise_stddev / self.sensitivity

  @property
  def replacement_noise_multiplier(self) -> float:
    """The same when one example is replaced by another in a batch of fixed size.

    Replacing moves a sum of clipped vectors by 2 C, twice what adding does. A clipped mean
    moves by 2 C at most in either case.
    """
    factor = 0.5 if self.clip_unit == 'example' else 1.0
    return factor * self.effective_noise_multiplier

  def client_noise_multiplier(self, *, max_batch_size: float) -> float:
    """The same when a client's whole data set is replaced by another of the same size.

    Every example of the batch may change then. A sum of m clipped vectors moves by 2 m C:
    the mechanism that clips examples protects a client m times less than an example. A
    clipped mean moves by 2 C as before.

    Args:
      max_batch_size: Bound m on the size of the batch. Not read for 'minibatch_mean'.
    """
    if self.clip_unit == 'minibatch_mean':
      return self.effective_noise_multiplier
    return self.effective_noise_multiplier / (2.0 * max_batch_size)
