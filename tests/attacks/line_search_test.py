import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import line_search


def _search(harm, num_evaluations):
  points = []

  def recorded(point):
    points.append(float(point))
    return tf.constant(float(harm(points[-1])), tf.float64)

  best = float(line_search.line_search(recorded, num_evaluations=num_evaluations))
  return best, points


@pytest.mark.parametrize('peak', [0.3, 3.0, 10.0, 47.0, 1000.0])
def test_approaches_the_peak_of_a_concave_harm(peak):
  best, points = _search(lambda point: -abs(point - peak), 40)
  assert best == pytest.approx(peak, rel=0.03, abs=0.03)
  assert len(points) == 40


def test_returns_the_best_of_the_points_it_tried():
  generator = np.random.default_rng(0)
  for _ in range(20):
    phase, scale = generator.uniform(0, 6), generator.uniform(0.1, 10)
    best, points = _search(lambda point: np.sin(phase + point / scale), 20)  # noqa: B023
    assert best == max(points, key=lambda point: np.sin(phase + point / scale))
    assert min(points) >= 0


def test_goes_ever_further_while_harm_grows():
  best, points = _search(lambda point: point, 8)
  assert best == max(points) > 1000
  assert points == sorted(points)


def test_stays_at_zero_when_nothing_harms():
  best, _ = _search(lambda point: -point, 10)
  assert best == 0.0


def test_takes_nan_for_no_harm():
  best, _ = _search(lambda point: np.nan if point > 5 else point, 30)
  assert 4 < best <= 5


def test_evaluates_once_when_told_so():
  best, points = _search(lambda point: point, 1)
  assert (best, points) == (0.0, [0.0])
