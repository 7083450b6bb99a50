import numpy as np
import pytest

from tff_robust.attacks import attack, model_replacement


def _rows(count, seed):
  return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


@pytest.mark.parametrize('num_byzantine', [1, 3])
def test_replaces_the_mean_when_honest_updates_vanish(num_byzantine):
  own = _rows(num_byzantine, 0)
  num_clients = 20
  sent = model_replacement.model_replacement(own, scale=num_clients).numpy()
  honest = 1e-4 * _rows(num_clients - num_byzantine, 1)
  attacked = np.concatenate([honest, sent]).mean(axis=0)
  np.testing.assert_allclose(attacked, own.mean(axis=0), atol=2e-4)
  unscaled = np.concatenate([honest, own]).mean(axis=0)
  assert np.linalg.norm(unscaled) < 0.2 * np.linalg.norm(own.mean(axis=0))


def test_scales_only_as_far_as_the_bound_allows():
  own = _rows(2, 0) * np.array([[0.001], [1.0]], np.float32)
  sent = model_replacement.model_replacement(own, scale=20.0, l2_norm_bound=0.5).numpy()
  np.testing.assert_allclose(sent[0], 10 * own[0], rtol=1e-5)
  assert np.linalg.norm(sent[1]) == pytest.approx(0.5, rel=1e-5)
  np.testing.assert_allclose(
    sent[1] / np.linalg.norm(sent[1]), own[1] / np.linalg.norm(own[1]), rtol=1e-5
  )


def test_sends_zeros_for_a_message_that_is_zero_or_not_finite():
  own = _rows(3, 0)
  own[0], own[1, 2] = 0.0, np.nan
  sent = model_replacement.model_replacement(own, scale=3.0, l2_norm_bound=1e9).numpy()
  np.testing.assert_array_equal(sent[:2], np.zeros((2, 8)))
  np.testing.assert_allclose(sent[2], own[2], rtol=1e-6)


def test_reads_only_the_attackers_own_messages():
  built = model_replacement.build_model_replacement(scale=5.0)
  assert built.knowledge_modes == attack.OWN_KNOWLEDGE


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'scale': 0.0}, 'attack_scale'),
    ({'scale': 1.0, 'l2_norm_bound': 0.0}, 'attack_l2_norm_bound'),
    ({'scale': 1.0, 'anomaly_weight': 1.0}, 'attack_anomaly_weight'),
    ({'scale': 1.0, 'anomaly_weight': -0.1}, 'attack_anomaly_weight'),
  ],
)
def test_refuses_options_out_of_their_range(options, message):
  with pytest.raises(ValueError, match=message):
    model_replacement.build_model_replacement(**options)
