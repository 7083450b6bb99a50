import numpy as np
import pytest

from computations import observation


def observe(rows, byzantine, aggregate):
  rows = np.asarray(rows, np.float32)
  result = observation.observe(rows, np.asarray(byzantine), np.asarray(aggregate, np.float32))
  return {name: np.asarray(value) for name, value in result.items()}


def test_hand_computed_round():
  # Honest rows (1,0), (3,0): mean (2,0), variance (1+1)/(2-1) = 2, R = 4/2 - 1/2 = 1.5.
  seen = observe([[1, 0], [3, 0], [-9, 9]], [False, False, True], [-4, 0])
  assert seen['signal_to_noise_ratio'] == pytest.approx(1.5)
  assert seen['cosine_to_honest_mean'] == pytest.approx(-1.0)
  assert seen['aggregate_norm'] == pytest.approx(4.0)
  assert seen['honest_mean_norm'] == pytest.approx(2.0)
  # The aggregate is 6 away from the mean; honest rows are 1 away from it.
  assert seen['measured_kappa'] == pytest.approx(36.0)
  assert 'gram' not in seen
  assert (seen['num_honest'], seen['num_byzantine'], seen['num_honest_nonfinite']) == (2, 1, 0)


def test_estimate_of_the_ratio_is_unbiased():
  generator = np.random.default_rng(0)
  signal = np.full(50, 0.2)
  # ||g||^2 = 2 and tr(Cov) = 50, so R = 0.04; without the correction it would be 0.04 + 1/8.
  draws = [
    observe(signal + generator.standard_normal((8, 50)), [False] * 8, signal) for _ in range(200)
  ]
  mean = np.mean([seen['signal_to_noise_ratio'] for seen in draws])
  assert abs(mean - 0.04) < 0.015


def test_non_finite_honest_rows_are_counted_and_left_out():
  rows = [[1, 0], [3, 0], [np.nan, 1], [np.inf, 0]]
  seen = observe(rows, [False] * 3 + [True], [1, 0])
  assert seen['num_honest_nonfinite'] == 1
  assert seen['signal_to_noise_ratio'] == pytest.approx(1.5)


def test_gram_holds_the_products_of_all_messages_and_marks_those_that_are_not_finite():
  rows = np.array([[1, 2], [3, 4], [np.inf, 0], [-1, 0.5]], np.float32)
  byzantine = np.array([False, False, False, True])
  seen = observation.observe(rows, byzantine, np.zeros(2, np.float32), with_gram=True)
  expected = [[5, 11, 0], [11, 25, -1], [0, -1, 1.25]]
  np.testing.assert_allclose(seen['gram'].numpy()[np.ix_([0, 1, 3], [0, 1, 3])], expected)
  assert np.isnan(seen['gram'][2]).all()
  assert np.isnan(seen['gram'][:, 2]).all()


def test_gram_of_large_messages_keeps_the_digits_of_float64():
  generator = np.random.default_rng(4)
  rows = (1000 + 0.01 * generator.standard_normal((3, 40_000))).astype(np.float32)
  found = observation.gram(rows).numpy()
  wide = rows.astype(np.float64)
  np.testing.assert_allclose(found, wide @ wide.T, rtol=1e-12)
  assert np.abs(found / (rows @ rows.T) - 1).max() > 1e-9


def test_equal_messages_have_no_spread():
  # A third of a row has no finite binary fraction: the mean of squares is rounded.
  seen = observe([[1 / 3, 0.1]] * 3, [False] * 3, [1 / 3, 0.1])
  assert np.isposinf(seen['signal_to_noise_ratio'])
  assert seen['measured_kappa'] == 0


@pytest.mark.parametrize('entry', [np.nan, np.inf])
def test_kappa_of_an_aggregate_that_is_not_finite_is_infinite(entry):
  seen = observe([[1, 0], [3, 0], [-9, 9]], [False, False, True], [entry, 0])
  assert np.isposinf(seen['measured_kappa'])


def test_kappa_of_the_honest_mean_is_zero():
  seen = observe([[1, 0], [3, 0], [-9, 9]], [False, False, True], [2, 0])
  assert seen['measured_kappa'] == 0


def test_messages_that_are_all_zero_have_no_ratio():
  seen = observe(np.zeros([4, 3]), [False] * 4, [1, 0, 0])
  assert np.isnan(seen['signal_to_noise_ratio'])
  assert seen['cosine_to_honest_mean'] == 0.0


def test_one_honest_row_has_no_ratio_and_a_zero_aggregate_no_direction():
  seen = observe([[1, 0], [3, 0]], [False, True], [0, 0])
  assert np.isnan(seen['signal_to_noise_ratio'])
  assert seen['cosine_to_honest_mean'] == 0.0


@pytest.mark.parametrize('offset', [0.0, 10.0, 1000.0, 1e6])
def test_figures_of_long_messages_are_those_of_float64(offset):
  # Longer than one block of columns; far from zero float32 sums would lose digits, and in the
  # end so would float64 sums of squares.
  generator = np.random.default_rng(7)
  rows = (offset + generator.standard_normal((9, 10_000))).astype(np.float32)
  rows[2, 9_999], rows[5, 0] = np.inf, np.nan
  byzantine = np.arange(9) >= 7
  released = (offset + generator.standard_normal(10_000)).astype(np.float32)
  seen = observe(rows, byzantine, released)
  honest, point = rows[[0, 1, 3, 4, 6]].astype(np.float64), released.astype(np.float64)
  mean = honest.mean(axis=0)
  spread = honest.var(axis=0).sum()
  assert seen['num_honest_nonfinite'] == 2
  expected = {
    'signal_to_noise_ratio': mean @ mean / (spread * 5 / 4) - 1 / 5,
    'cosine_to_honest_mean': mean @ point / np.linalg.norm(mean) / np.linalg.norm(point),
    'aggregate_norm': np.linalg.norm(point),
    'honest_mean_norm': np.linalg.norm(mean),
    'measured_kappa': np.linalg.norm(point - mean) ** 2 / spread,
  }
  for name, value in expected.items():
    assert seen[name] == pytest.approx(value, rel=1e-11), name


def test_a_round_without_honest_messages_has_an_aggregate_only():
  seen = observe([[3, 4], [np.nan, 0]], [True, False], [3, 4])
  assert np.isnan(seen['signal_to_noise_ratio'])
  assert np.isnan(seen['measured_kappa'])
  assert seen['aggregate_norm'] == 5
  assert seen['honest_mean_norm'] == 0
  assert seen['cosine_to_honest_mean'] == 0


def test_messages_without_coordinates_have_no_length():
  seen = observe(np.zeros([3, 0]), [False] * 3, np.zeros(0))
  assert (seen['num_honest'], seen['aggregate_norm'], seen['honest_mean_norm']) == (3, 0, 0)
