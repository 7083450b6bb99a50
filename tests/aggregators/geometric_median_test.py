import numpy as np
import pytest
from scipy import optimize

from tff_robust.aggregators import geometric_median, mean
from tff_robust.testing.oracles import weighted_rules


def _sum_of_distances(point, rows):
  return np.sum(np.linalg.norm(rows - point, axis=1))


def _minimise(rows):
  rows = rows.astype(np.float64)
  result = optimize.minimize(
    _sum_of_distances, np.median(rows, axis=0), args=(rows,), method='BFGS', tol=1e-10
  )
  return result.x


@pytest.mark.parametrize(('n', 'd'), [(5, 2), (8, 3), (25, 6)])
def test_minimises_the_sum_of_distances(n, d):
  rows = np.random.default_rng(n).normal(size=[n, d]).astype(np.float32)
  actual = geometric_median.geometric_median(
    rows, max_byzantine=1, tolerance=1e-10, max_iterations=5000
  )
  np.testing.assert_allclose(actual, _minimise(rows), atol=1e-5)


@pytest.mark.parametrize('steps', [1, 3, 10])
def test_a_fixed_number_of_iterations_equals_weiszfeld_on_the_updates(steps):
  rows = (5 + np.random.default_rng(0).normal(size=[9, 40])).astype(np.float32)
  rows[:3] *= 100
  actual = geometric_median.geometric_median(
    rows, max_byzantine=3, smoothing=0.1, tolerance=0, max_iterations=steps
  )
  expected = weighted_rules.geometric_median(
    rows, max_byzantine=3, smoothing=0.1, tolerance=0, max_iterations=steps
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_hand_computed_case_that_differs_from_mean_and_median():
  # The Fermat point of this triangle, all of whose angles are below 120 degrees.
  rows = np.array([[-1, 0], [1, 0], [0, 3]], np.float32)
  actual = geometric_median.geometric_median(
    rows, max_byzantine=1, tolerance=1e-12, max_iterations=2000
  )
  np.testing.assert_allclose(actual, [0, 1 / np.sqrt(3)], atol=1e-5)
  np.testing.assert_allclose(mean.mean(rows), [0, 1])
  np.testing.assert_array_equal(np.median(rows, axis=0), [0, 0])


def test_iterates_to_the_honest_rows_from_any_distance():
  rows = np.random.default_rng(0).normal(size=[9, 5]).astype(np.float32)
  rows[:4] = 1e25
  actual = geometric_median.geometric_median(rows, max_byzantine=4, max_iterations=2000)
  assert np.linalg.norm(actual) < 30


@pytest.mark.parametrize('value', [1e6, 1e30])
def test_iterates_far_enough_by_default_with_the_smallest_majority(value):
  rows = np.random.default_rng(0).normal(size=[23, 5]).astype(np.float32)
  limit = np.linalg.norm(rows[11:], axis=1).max()
  rows[:11] = value
  default = geometric_median.geometric_median(rows, max_byzantine=11).numpy().astype(np.float64)
  assert np.linalg.norm(default) < 2 * limit
  short = geometric_median.geometric_median(rows, max_byzantine=11, max_iterations=100).numpy()
  assert np.linalg.norm(short.astype(np.float64)) > 50 * limit


@pytest.mark.parametrize(
  ('option', 'value'), [('smoothing', 0.0), ('tolerance', -1.0), ('max_iterations', 0)]
)
def test_refuses_options_out_of_range(option, value):
  with pytest.raises(ValueError, match=option):
    geometric_median.build_geometric_median(max_byzantine=1, **{option: value})


@pytest.mark.parametrize('far', [1e-7, 1.0])
def test_below_the_smoothing_the_guarantee_grows_by_it(far):
  rows = np.zeros([5, 3], np.float32)
  rows[:2, 0] = far
  smoothing = 1e-6
  found = geometric_median.geometric_median(rows, max_byzantine=2, smoothing=smoothing).numpy()
  # Honest rows agree, yet the others move it: their mean, or 2/3 of the smoothing.
  np.testing.assert_allclose(found[0], min(0.4 * far, 2 / 3 * smoothing), rtol=1e-3)
  assert np.linalg.norm(found) <= (5 - 2) / (5 - 4) * smoothing / 2


@pytest.mark.parametrize('value', [1.5, 10.0, None])
def test_refuses_a_broken_number_of_iterations(value):
  with pytest.raises(ValueError, match=f'max_iterations={value} must be a whole number'):
    geometric_median.geometric_median(
      np.ones([5, 3], np.float32), max_byzantine=1, max_iterations=value
    )
