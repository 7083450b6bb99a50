import numpy as np
import pytest

from tff_robust.attacks import attack, min_max, perturbation


def _honest(seed=0, rows=9, columns=5):
  generator = np.random.default_rng(seed)
  scale = np.exp(0.5 * generator.normal(size=(rows, 1)))
  return (scale * generator.normal(size=(rows, columns)) + 0.7).astype(np.float32)


def _direction(rows, name):
  center = rows.mean(axis=0)
  return {
    'unit': -center / np.linalg.norm(center),
    'deviation': -rows.std(axis=0),
    'sign': -np.sign(center),
  }[name]


def _bisected_gamma(rows, towards):
  center = rows.mean(axis=0)
  limit = max(np.linalg.norm(a - b) for a in rows for b in rows)
  low, high = 0.0, 1e3
  for _ in range(200):
    middle = (low + high) / 2
    fits = max(np.linalg.norm(center + middle * towards - row) for row in rows) <= limit
    low, high = (middle, high) if fits else (low, middle)
  return low


@pytest.mark.parametrize('direction', perturbation.DIRECTIONS)
def test_equals_a_search_for_the_largest_step_that_fits(direction):
  for seed in range(5):
    honest = _honest(seed)
    rows = honest.astype(np.float64)
    towards = _direction(rows, direction)
    expected = rows.mean(axis=0) + _bisected_gamma(rows, towards) * towards
    sent = min_max.min_max(honest, num_byzantine=2, direction=direction).numpy()
    np.testing.assert_allclose(sent, np.stack([expected] * 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('direction', perturbation.DIRECTIONS)
def test_touches_the_bound_and_a_longer_step_would_break_it(direction):
  honest = _honest(3)
  sent = min_max.min_max(honest, num_byzantine=1, direction=direction).numpy()[0]
  limit = max(np.linalg.norm(a - b) for a in honest for b in honest)
  furthest = max(np.linalg.norm(sent - row) for row in honest)
  assert furthest == pytest.approx(limit, rel=1e-5)
  center = honest.mean(axis=0)
  longer = center + 1.01 * (sent - center)
  assert max(np.linalg.norm(longer - row) for row in honest) > limit


@pytest.mark.parametrize('direction', ['unit', 'sign'])
def test_harms_the_mean(direction):
  honest = _honest(1)
  center = honest.mean(axis=0)
  sent = min_max.min_max(honest, num_byzantine=4, direction=direction).numpy()
  attacked = np.concatenate([honest, sent]).mean(axis=0)
  assert attacked @ center < 0.7 * (center @ center)


@pytest.mark.parametrize('direction', perturbation.DIRECTIONS)
def test_sends_the_row_itself_when_all_rows_agree_on_zero(direction):
  sent = min_max.min_max(np.zeros((5, 3), np.float32), num_byzantine=2, direction=direction)
  np.testing.assert_array_equal(sent, np.zeros((2, 3)))


def test_names_the_nearest_direction_when_it_is_unknown():
  with pytest.raises(ValueError, match="Did you mean 'sign'"):
    min_max.build_min_max(direction='sing')
  assert min_max.build_min_max().knowledge_modes == attack.KNOWLEDGE
