import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import fang_trimmed_mean

SEED = tf.constant([3, 4], tf.int64)


def _honest(rows=12, columns=300):
  generator = np.random.default_rng(0)
  return (generator.normal(size=(rows, columns)) + 1.2 * generator.normal(size=columns)).astype(
    np.float32
  )


def _limits(honest, factor):
  limits = []
  for column in honest.T:
    if column.mean() > 0:
      low = column.min()
      limits.append((low / factor if low > 0 else low * factor, low))
    else:
      high = column.max()
      limits.append((high, high * factor if high > 0 else high / factor))
  return np.array(limits).T


@pytest.mark.parametrize('factor', [2.0, 5.0])
def test_draws_uniformly_between_the_honest_extreme_and_beyond(factor):
  honest = _honest()
  sent = fang_trimmed_mean.fang_trimmed_mean(honest, SEED, num_byzantine=40, factor=factor).numpy()
  low, high = _limits(honest, factor)
  assert np.all(sent >= low - 1e-5)
  assert np.all(sent <= high + 1e-5)
  shares = (sent - low) / (high - low)
  assert shares.mean() == pytest.approx(0.5, abs=0.02)
  assert shares.std() == pytest.approx(12**-0.5, abs=0.02)
  assert not np.array_equal(sent[0], sent[1])


def test_partial_knowledge_draws_three_to_four_deviations_away():
  own = _honest(rows=5)
  sent = fang_trimmed_mean.fang_trimmed_mean_partial(own, SEED, num_byzantine=5).numpy()
  center, deviation = own.mean(axis=0), own.std(axis=0)
  steps = (sent - center) / deviation * -np.sign(center)
  assert steps.min() >= 3 - 1e-3
  assert steps.max() <= 4 + 1e-3
  assert steps.mean() == pytest.approx(3.5, abs=0.02)


@pytest.mark.parametrize('f', [2, 4])
def test_harms_the_trimmed_mean_more_than_silence_does(f):
  honest = _honest()
  center = honest.mean(axis=0)

  def trimmed(rows):
    return np.sort(rows, axis=0)[f : len(rows) - f].mean(axis=0)

  sent = fang_trimmed_mean.fang_trimmed_mean(honest, SEED, num_byzantine=f).numpy()
  attacked = trimmed(np.concatenate([honest, sent])) @ center / (center @ center)
  control = trimmed(np.concatenate([honest, honest[:f]])) @ center / (center @ center)
  assert attacked < control - 0.05


def test_draws_anew_for_another_seed():
  honest = _honest()
  first = fang_trimmed_mean.fang_trimmed_mean(honest, SEED, num_byzantine=2)
  second = fang_trimmed_mean.fang_trimmed_mean(honest, SEED + 1, num_byzantine=2)
  assert not np.array_equal(first, second)


def test_each_version_names_its_knowledge():
  full = fang_trimmed_mean.build_fang_trimmed_mean()
  partial = fang_trimmed_mean.build_fang_trimmed_mean_partial()
  assert full.knowledge_modes == ('honest_messages', 'honest_clean')
  assert partial.knowledge_modes == ('own_messages', 'own_clean')
  with pytest.raises(ValueError, match=r'attack_factor=0\.5'):
    fang_trimmed_mean.build_fang_trimmed_mean(factor=0.5)
