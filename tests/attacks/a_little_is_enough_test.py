import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tff_robust.attacks import a_little_is_enough, attack

alie = a_little_is_enough.a_little_is_enough


def _honest(rows=14, columns=6):
  return (np.random.default_rng(0).normal(size=(rows, columns)) + 2.0).astype(np.float32)


def test_sends_the_mean_minus_z_standard_deviations():
  honest = _honest()
  wide = honest.astype(np.float64)
  expected = wide.mean(axis=0) - 1.5 * wide.std(axis=0, ddof=0)
  sent = alie(honest, num_byzantine=3, num_deviations=1.5).numpy()
  np.testing.assert_allclose(sent, np.stack([expected] * 3), rtol=1e-6)


@pytest.mark.parametrize(
  ('num_byzantine', 'expected'),
  [(1, 0), (2, 0.054), (5, 0.253), (8, 0.541), (10, 0.842), (11, 1.068)],
)
def test_gives_the_published_z_for_twenty_five_clients(num_byzantine, expected):
  found = float(a_little_is_enough.supported_deviations(25, num_byzantine))
  assert found == pytest.approx(expected, abs=0.001)
  supporters = 25 // 2 + 1 - num_byzantine
  quantile = stats.norm.ppf((25 - num_byzantine - supporters) / (25 - num_byzantine))
  assert found == pytest.approx(quantile, abs=1e-9)


def test_stays_finite_when_attackers_are_the_majority():
  assert np.isfinite(a_little_is_enough.supported_deviations(25, 20))
  assert np.isfinite(a_little_is_enough.supported_deviations(25, 24))


def test_takes_the_published_z_from_the_round_by_default():
  built = a_little_is_enough.build_a_little_is_enough()
  assert built.knowledge_modes == ('honest_messages', 'honest_clean')
  honest = _honest()
  view = attack.View(tf.constant(honest), tf.zeros([11, 6]), tf.constant(0, tf.int64))
  _, sent = built.apply((), view, tf.constant([0, 0], tf.int64))
  expected = honest.mean(axis=0) - 1.0676 * honest.std(axis=0)
  np.testing.assert_allclose(sent[5], expected, rtol=1e-4)


def test_takes_any_knowledge_when_z_is_given():
  built = a_little_is_enough.build_a_little_is_enough(num_deviations=1.0)
  assert built.knowledge_modes == attack.KNOWLEDGE


def test_harms_the_mean_while_staying_inside_the_honest_range():
  honest = _honest(rows=200)
  sent = alie(honest, num_byzantine=100, num_deviations=1.0).numpy()
  center = honest.mean(axis=0)
  attacked = np.concatenate([honest, sent]).mean(axis=0)
  assert attacked @ center < 0.9 * (center @ center)
  assert np.all(sent[0] > honest.min(axis=0))
  unharmed = np.concatenate([honest, alie(honest, num_byzantine=100, num_deviations=0.0)])
  np.testing.assert_allclose(unharmed.mean(axis=0), center, rtol=1e-5)


def test_refuses_a_z_that_is_not_finite():
  with pytest.raises(ValueError, match='attack_deviations=nan'):
    a_little_is_enough.build_a_little_is_enough(num_deviations=float('nan'))
