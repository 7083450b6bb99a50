import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tff_robust.aggregators import krum
from tff_robust.attacks import attack, noise_matched_ipm

SEED = tf.constant([1, 2], tf.int64)


def _noised(seed=0, rows=20, columns=20_000, stddev=0.5):
  """Honest messages under differential privacy: almost only noise."""
  generator = np.random.default_rng(seed)
  return (stddev * generator.normal(size=(rows, columns)) + 0.01).astype(np.float32)


def _send(honest, num_byzantine, shared_noise, epsilon=0.1, noise_stddev=0.5, seed=SEED):
  return noise_matched_ipm.noise_matched_ipm(
    honest,
    seed,
    num_byzantine=num_byzantine,
    epsilon=epsilon,
    shared_noise=shared_noise,
    noise_stddev=noise_stddev,
  ).numpy()


@pytest.mark.parametrize('shared_noise', [0.0, 0.5, 1.0])
def test_passes_tests_of_norm_and_distribution_that_plain_manipulation_fails(shared_noise):
  honest = _noised()
  sent = _send(honest, 2, shared_noise)
  expected = 0.5 * np.sqrt(20_000)
  for row in sent:
    assert np.linalg.norm(row) == pytest.approx(expected, rel=0.02)
    assert stats.kstest(row, 'norm', args=(0, 0.5)).pvalue > 1e-3
  plain = -0.1 * honest.mean(axis=0)
  assert np.linalg.norm(plain) < 0.05 * expected
  assert stats.kstest(plain, 'norm', args=(0, 0.5)).pvalue < 1e-9


@pytest.mark.parametrize('shared_noise', [0.0, 0.3, 1.0])
def test_colluders_share_the_stated_part_of_their_noise(shared_noise):
  sent = _send(_noised(), 3, shared_noise, epsilon=0.0)
  assert np.corrcoef(sent[0], sent[2])[0, 1] == pytest.approx(shared_noise, abs=0.03)
  distance = np.linalg.norm(sent[0] - sent[1])
  independent = np.sqrt(2 * 20_000) * 0.5
  assert distance == pytest.approx(np.sqrt(1 - shared_noise) * independent, rel=0.03)


def test_moves_against_the_honest_mean():
  honest = _noised(stddev=0.001)
  center = honest.mean(axis=0)
  sent = _send(honest, 4, 0.5, epsilon=3.0, noise_stddev=1e-6)
  np.testing.assert_allclose(sent @ center / (center @ center), np.full(4, -3.0), rtol=1e-3)


@pytest.mark.parametrize(('shared_noise', 'low', 'high'), [(0.0, 0.0, 0.6), (0.5, 1.0, 1.0)])
def test_krum_selects_colluders_that_share_half_of_their_noise(shared_noise, low, high):
  selected = []
  for seed in range(20):
    honest = _noised(seed, columns=2000)
    sent = _send(honest, 5, shared_noise, seed=tf.constant([seed, 3], tf.int64))
    chosen = krum.krum(np.concatenate([honest, sent]), max_byzantine=5).numpy()
    selected.append((chosen == sent).all(axis=1).any())
  assert low <= np.mean(selected) <= high


def test_estimates_the_noise_from_what_it_sees():
  found = float(noise_matched_ipm.estimated_noise_stddev(_noised()))
  assert found == pytest.approx(0.5, rel=0.005)
  assert float(noise_matched_ipm.estimated_noise_stddev(_noised(rows=1))) == 0.0


def test_must_see_noise_or_be_told_of_it():
  unaware = noise_matched_ipm.build_noise_matched_ipm(epsilon=0.1)
  told = noise_matched_ipm.build_noise_matched_ipm(epsilon=0.1, noise_stddev=0.5)
  assert unaware.knowledge_modes == ('honest_messages', 'own_messages')
  assert told.knowledge_modes == attack.KNOWLEDGE


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'epsilon': -1.0}, 'attack_epsilon'),
    ({'epsilon': 0.1, 'shared_noise': 1.5}, 'attack_shared_noise'),
    ({'epsilon': 0.1, 'noise_stddev': -1.0}, 'attack_noise_stddev'),
  ],
)
def test_refuses_options_out_of_range(options, message):
  with pytest.raises(ValueError, match=message):
    noise_matched_ipm.build_noise_matched_ipm(**options)
