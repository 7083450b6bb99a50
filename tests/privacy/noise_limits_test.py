import numpy as np
import pytest
from scipy import stats

from tff_robust.privacy import message_noise, noise_limits

D, N = 400, 6


def limits_of(*messages, level=0.2, num_clients=N, dimension=D):
  return noise_limits.noise_limits(
    messages,
    dimension=dimension,
    num_clients=num_clients,
    false_rejection_probability=level,
  )


def kolmogorov(row, stddev):
  """Distance of the coordinates' distribution function to that of the noise, at any value."""
  return stats.kstest(row, stats.norm(scale=stddev).cdf).statistic


def failures(rows, limits):
  """Which of the three tests reject something in a round, by definition of the limits."""
  norms = np.linalg.norm(rows, axis=1)
  allowed = np.array([any(a <= norm <= b for a, b in limits.norm_intervals) for norm in norms])
  stddev = np.clip(norms / len(rows[0]) ** 0.5, *limits.noise_stddevs)
  distances = np.array([kolmogorov(row, s) for row, s in zip(rows, stddev, strict=True)])
  pairs = np.linalg.norm(rows[:, None] - rows[None], axis=2)[np.triu_indices(len(rows), 1)]
  return [
    not allowed.all(),
    bool((distances > limits.distribution_distance).any()),
    bool((pairs < limits.pair_distance).any()),
  ]


def signals(name, generator, norm, noise):
  """Signals that try to leave the limits, float64 [N, D]."""
  if name == 'none':
    return np.zeros([N, D])
  if name == 'common shift':
    return np.full([N, D], norm / D**0.5)
  if name == 'one coordinate':
    return norm * np.eye(1, D).repeat(N, axis=0)
  direction = generator.standard_normal([N, D])
  if name == 'against the noise':
    direction = -noise
  if name == 'gathers coordinates':
    # The coordinates nearest to a point move onto it.
    move = 0.8 * np.sort(np.abs(noise - 0.1), axis=1)[:, [120]]
    moved = np.where(np.abs(noise - 0.1) < move, 0.1 - noise, 0.0)
    return moved * np.minimum(1, norm / np.linalg.norm(moved, axis=1, keepdims=True))
  return norm * direction / np.linalg.norm(direction, axis=1, keepdims=True)


@pytest.mark.parametrize('name', ['none', 'common shift', 'one coordinate', 'random'])
def test_rounds_with_signal_that_noise_does_not_steer_fail_as_rarely_as_stated(name):
  generator = np.random.default_rng(3)
  message = message_noise.MessageNoise(noise_stddev=0.5, independent_bound=6.0)
  limits = limits_of(message)
  failed = []
  for _ in range(300):
    noise = 0.5 * generator.standard_normal([N, D])
    failed.append(failures(noise + signals(name, generator, 6.0, noise), limits))
  # Two standard deviations of a share of 300 rounds are 0.05.
  assert np.any(failed, axis=1).mean() < 0.2 + 0.05


@pytest.mark.parametrize('name', ['against the noise', 'gathers coordinates', 'common shift'])
def test_rounds_with_signal_that_knows_the_noise_fail_as_rarely_as_stated(name):
  generator = np.random.default_rng(4)
  message = message_noise.MessageNoise(noise_stddev=0.5, independent_bound=0.0, dependent_bound=3.0)
  limits = limits_of(message)
  failed = []
  for _ in range(150):
    noise = 0.5 * generator.standard_normal([N, D])
    failed.append(failures(noise + signals(name, generator, 3.0, noise), limits))
  assert np.any(failed, axis=1).mean() < 0.2 + 0.07
  # The limits for signals that know nothing would not do.
  if name == 'against the noise':
    unaware = limits_of(message_noise.MessageNoise(noise_stddev=0.5, independent_bound=3.0))
    noise = 0.5 * generator.standard_normal([N, D])
    assert failures(noise + signals(name, generator, 3.0, noise), unaware)[0]


def test_clients_with_different_numbers_of_steps_pass_together():
  generator = np.random.default_rng(5)
  steps = [message_noise.MessageNoise(noise_stddev=s, independent_bound=1.0) for s in (0.5, 1.5)]
  limits = limits_of(*steps)
  stddevs = np.repeat([0.5, 1.5], N // 2)[:, None]
  rounds = [stddevs * generator.standard_normal([N, D]) for _ in range(150)]
  assert np.mean([any(failures(rows, limits)) for rows in rounds]) < 0.2 + 0.07
  between = 0.9 * generator.standard_normal([N, D])
  assert failures(between, limits)[0]


def test_limits_are_close_to_quantiles_where_there_is_no_signal():
  limits = limits_of(message_noise.MessageNoise(noise_stddev=1.0, independent_bound=0.0), level=0.1)
  (interval,) = limits.norm_intervals
  tail = 0.1 / 4 / N / 2
  least, greatest = stats.chi(D).ppf([tail, 1 - tail])
  assert interval[0] == pytest.approx(least, rel=1e-4)
  assert greatest < interval[1] < 1.03 * greatest
  pair = 2**0.5 * stats.chi(D).ppf(0.1 / 4 / 15)
  assert limits.pair_distance == pytest.approx(pair, rel=1e-4)
  exact = stats.kstwo(D).isf(0.1 / 4 / N)
  assert exact < limits.distribution_distance < 1.6 * exact


def test_tests_end_where_signal_drowns_the_noise():
  limits = limits_of(
    message_noise.MessageNoise(noise_stddev=1.0, independent_bound=0.0, dependent_bound=50.0)
  )
  assert limits.norm_intervals[0][0] == 0
  assert limits.pair_distance == 0
  assert limits.distribution_distance >= 1
  assert limits.describe().endswith('any distribution, pairs at any distance')
  assert limits.describe().startswith('norm at most ')


def test_limits_are_told_in_words():
  limits = noise_limits.NoiseLimits(
    norm_intervals=((1.25, 2.0), (1.5, 2.5)),
    noise_stddevs=(0.5, 1.0),
    distribution_distance=0.125,
    pair_distance=1.75,
    false_rejection_probability=1e-3,
  )
  assert limits.describe() == (
    'norm 1.25 to 2.5, distribution within 0.125 of the noise, pairs at least 1.75 apart'
  )


def test_limits_exist_for_the_largest_models():
  message = message_noise.MessageNoise(noise_stddev=0.1, independent_bound=500.0)
  limits = limits_of(message, level=1e-3, num_clients=100, dimension=10_000_000)
  ((least, greatest),) = limits.norm_intervals
  root = 0.1 * 10_000_000**0.5
  assert 0.99 * root < least < root < (root**2 + 500**2) ** 0.5 < greatest < 1.01 * (root + 500)
