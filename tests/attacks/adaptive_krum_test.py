import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import krum
from tff_robust.attacks import adaptive_krum
from tff_robust.resilience import krum_breaking_point


def _honest(seed, rows=14, columns=60):
  generator = np.random.default_rng(seed)
  scale = np.exp(0.4 * generator.normal(size=(rows, 1)))
  return (scale * generator.normal(size=(rows, columns)) + 0.3).astype(np.float32)


def test_finds_the_upper_end_of_the_exact_certificate():
  for seed in range(5):
    honest = _honest(seed)
    intervals = krum_breaking_point.ipm_intervals(honest, num_byzantine=11, max_byzantine=11)
    found = adaptive_krum.largest_captured_epsilon(honest, num_byzantine=11, max_byzantine=11)
    assert float(found) == pytest.approx(intervals[-1].upper, rel=1e-6)


def test_is_selected_by_krum_and_a_slightly_larger_factor_is_not():
  for seed in range(5):
    honest = _honest(seed)
    sent = adaptive_krum.adaptive_krum(honest, num_byzantine=11, max_byzantine=11).numpy()
    chosen = krum.krum(np.concatenate([honest, sent]), max_byzantine=11).numpy()
    np.testing.assert_array_equal(chosen, sent[0])
    larger = sent * 1.002 / 0.999
    chosen = krum.krum(np.concatenate([honest, larger]), max_byzantine=11).numpy()
    assert (chosen == honest).all(axis=1).any()


def test_reverses_krum():
  honest = _honest(0)
  sent = adaptive_krum.adaptive_krum(honest, num_byzantine=11, max_byzantine=11).numpy()
  center = honest.mean(axis=0)
  attacked = krum.krum(np.concatenate([honest, sent]), max_byzantine=11).numpy()
  assert attacked @ center < -(center @ center)
  unharmed = krum.krum(np.concatenate([honest, honest[:11]]), max_byzantine=11).numpy()
  assert unharmed @ center > 0


def test_sends_zeros_when_no_factor_is_captured():
  honest = np.ones((14, 5), np.float32) + 1e-3 * _honest(1, columns=5)
  sent = adaptive_krum.adaptive_krum(honest, num_byzantine=2, max_byzantine=2)
  np.testing.assert_array_equal(sent, np.zeros((2, 5)))


def test_stops_at_a_thousand_when_every_factor_is_captured():
  honest = _honest(2, rows=3, columns=5)
  found = adaptive_krum.largest_captured_epsilon(honest, num_byzantine=4, max_byzantine=2)
  assert float(found) == pytest.approx(1000.0)


def test_must_see_what_honest_clients_send():
  built = adaptive_krum.build_adaptive_krum(max_byzantine=3)
  assert built.knowledge_modes == ('honest_messages',)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'max_byzantine': -1}, 'max_byzantine'),
    ({'max_byzantine': 1, 'safety': 1.0}, 'attack_safety'),
  ],
)
def test_refuses_options_out_of_range(options, message):
  with pytest.raises(ValueError, match=message):
    adaptive_krum.build_adaptive_krum(**options)


def test_does_not_depend_on_the_scale_of_updates():
  honest = _honest(3)
  small = adaptive_krum.largest_captured_epsilon(
    tf.constant(honest * 1e-12), num_byzantine=11, max_byzantine=11
  )
  plain = adaptive_krum.largest_captured_epsilon(honest, num_byzantine=11, max_byzantine=11)
  assert float(small) == pytest.approx(float(plain), rel=1e-5)
