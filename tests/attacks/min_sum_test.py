import numpy as np
import pytest

from tff_robust.attacks import min_max, min_sum, perturbation


def _honest(seed=0, rows=9, columns=5):
  generator = np.random.default_rng(seed)
  scale = np.exp(0.5 * generator.normal(size=(rows, 1)))
  return (scale * generator.normal(size=(rows, columns)) + 0.7).astype(np.float32)


def _summed(point, rows):
  return ((rows - point) ** 2).sum()


@pytest.mark.parametrize('direction', perturbation.DIRECTIONS)
def test_touches_the_bound_of_the_most_remote_honest_row(direction):
  for seed in range(5):
    rows = _honest(seed).astype(np.float64)
    limit = max(_summed(row, rows) for row in rows)
    sent = min_sum.min_sum(_honest(seed), num_byzantine=2, direction=direction).numpy()
    assert _summed(sent[0], rows) == pytest.approx(limit, rel=1e-5)
    np.testing.assert_array_equal(sent[0], sent[1])


@pytest.mark.parametrize('direction', perturbation.DIRECTIONS)
def test_moves_along_the_named_direction(direction):
  rows = _honest(2).astype(np.float64)
  center = rows.mean(axis=0)
  towards = {'unit': -center, 'deviation': -rows.std(axis=0), 'sign': -np.sign(center)}[direction]
  moved = min_sum.min_sum(_honest(2), num_byzantine=1, direction=direction).numpy()[0] - center
  cosine = moved @ towards / np.linalg.norm(moved) / np.linalg.norm(towards)
  assert cosine == pytest.approx(1.0, abs=1e-6)


def test_steps_less_far_than_min_max_here():
  honest = _honest(4)
  center = honest.mean(axis=0)
  shorter = min_sum.min_sum(honest, num_byzantine=1).numpy()[0]
  longer = min_max.min_max(honest, num_byzantine=1).numpy()[0]
  assert np.linalg.norm(shorter - center) < np.linalg.norm(longer - center)


def test_harms_the_mean():
  honest = _honest(1)
  center = honest.mean(axis=0)
  sent = min_sum.min_sum(honest, num_byzantine=4, direction='unit').numpy()
  attacked = np.concatenate([honest, sent]).mean(axis=0)
  assert attacked @ center < 0.8 * (center @ center)


def test_sends_the_row_itself_when_all_rows_agree_on_zero():
  sent = min_sum.min_sum(np.zeros((5, 3), np.float32), num_byzantine=2, direction='unit')
  np.testing.assert_array_equal(sent, np.zeros((2, 3)))


def test_names_the_nearest_direction_when_it_is_unknown():
  with pytest.raises(ValueError, match="Did you mean 'unit'"):
    min_sum.build_min_sum(direction='units')
