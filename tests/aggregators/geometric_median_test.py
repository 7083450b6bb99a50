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
  # From the mean it takes longer.
  short = geometric_median.geometric_median(
    rows, max_byzantine=11, tolerance=0, max_iterations=100
  ).numpy()
  assert np.linalg.norm(short.astype(np.float64)) > 50 * limit


def test_goes_on_from_a_row_that_holds_it_back():
  # All are whole numbers, and their mean is the first row. By symmetry the median lies on the axis,
  # where the sum of distances is 20 + x + 2 sqrt((10 - x)^2 + 1) but for a constant.
  rows = np.array([[0, 0], [-40, 0], [10, 1], [10, -1], [20, 0]], np.float32)
  best = optimize.minimize_scalar(
    lambda x: _sum_of_distances(np.array([x, 0.0]), rows), bounds=(0, 20), method='bounded'
  ).x
  assert 9.4 < best < 9.5
  found = geometric_median.geometric_median(rows, max_byzantine=1)
  np.testing.assert_allclose(found, [best, 0], atol=1e-3)


@pytest.mark.parametrize(('n', 'f', 'd'), [(25, 2, 100), (9, 2, 50), (25, 11, 100), (23, 11, 5)])
@pytest.mark.parametrize('far', [1e3, 1e6, 1e9, 1e30])
def test_a_row_on_the_mean_does_not_keep_it_there(n, f, d, far):
  honest = np.random.default_rng(n + d).normal(size=[n - f, d])
  others = np.concatenate([honest, np.zeros([f - 1, d])])
  others[n - f :, 0] = far
  # The mean of all rows but this one, so the mean of all.
  rows = np.concatenate([others, others.sum(0, keepdims=True) / (n - 1)]).astype(np.float32)
  radius = np.linalg.norm(honest - honest.mean(0), axis=1).max()
  found = geometric_median.geometric_median(rows, max_byzantine=f).numpy().astype(np.float64)
  distance = np.linalg.norm(found - honest.mean(0))
  assert distance <= (n - f) / (n - 2 * f) * 2 * radius
  assert distance <= 2 * radius
  # A control: it is the end of the iteration that is at stake, not the paper's start alone.
  three = geometric_median.geometric_median(rows, max_byzantine=f, tolerance=0, max_iterations=3)
  assert np.linalg.norm(three.numpy().astype(np.float64) - honest.mean(0)) > 3 * radius


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
