import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import divide_and_conquer
from tff_robust.testing.oracles import filters

_dnc = divide_and_conquer.divide_and_conquer
_SEED = tf.constant([3, 4], tf.int64)


@pytest.mark.parametrize(
  ('n', 'f', 'factor'), [(9, 2, 1.0), (9, 2, 1.5), (25, 11, 1.0), (5, 0, 1.0)]
)
def test_equals_singular_vectors_on_all_coordinates(n, f, factor):
  rows = np.random.default_rng(n).normal(size=[n, 12]).astype(np.float32)
  rows[:f] += 2
  actual = _dnc(rows, max_byzantine=f, seed=_SEED, filter_factor=factor)
  expected = rows[filters.inliers(rows, int(factor * f))].astype(np.float64).mean(0)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_sees_only_the_drawn_coordinates_and_intersects_iterations():
  # Each Byzantine row deviates in one half: a draw of one coordinate shows one of them.
  rows = 1e-3 * np.random.default_rng(0).normal(size=[9, 2]).astype(np.float32)
  rows[0, 0] = rows[1, 1] = 100
  seeds = [tf.constant([s, 0], tf.int64) for s in range(8)]
  once = [_dnc(rows, max_byzantine=1, seed=s, num_coordinates=1).numpy().max() for s in seeds]
  assert min(once) > 10  # one of the two stays in
  many = _dnc(rows, max_byzantine=1, seed=_SEED, num_coordinates=1, num_iterations=12)
  assert np.abs(many).max() < 1


def test_a_row_that_is_no_number_turns_no_filter_off():
  rows = np.random.default_rng(0).normal(size=[11, 6]).astype(np.float32)
  rows[0] = np.nan
  rows[1] = 1e6
  # Of the one attacker that is left, half a row would be dropped.
  actual = _dnc(rows, max_byzantine=2, seed=_SEED, filter_factor=0.5)
  np.testing.assert_allclose(actual, rows[2:].mean(0), rtol=1e-5, atol=1e-6)


def test_a_factor_drops_what_it_says_where_the_product_is_a_little_less():
  assert 0.7 * 90 < 63
  assert divide_and_conquer.required_clients(5, 2.2) == 12
  rows = np.zeros([181, 1], np.float32)
  rows[:63, 0] = 100.0 * (-1.0) ** np.arange(63)  # The others are next to the mean of all.
  actual = _dnc(rows, max_byzantine=90, seed=_SEED, filter_factor=0.7)
  assert actual.numpy().tolist() == [0.0]


def test_the_oracle_drops_as_many():
  assert 1.16 * 25 < 29
  rows = np.random.default_rng(0).normal(size=[70, 4]).astype(np.float32)
  actual = _dnc(rows, max_byzantine=25, seed=_SEED, filter_factor=1.16)
  expected = filters.divide_and_conquer(
    rows, max_byzantine=25, num_coordinates=4, num_iterations=1, filter_factor=1.16
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
    expected, rows[filters.inliers(rows, 29)].astype(np.float64).mean(0), rtol=1e-6, atol=1e-7
  )


def test_draws_follow_the_seed():
  rows = np.random.default_rng(0).normal(size=[9, 200]).astype(np.float32)

  def selected(seed):
    rule = divide_and_conquer.build_divide_and_conquer(max_byzantine=3, num_coordinates=2)
    output = rule.apply((), rows, np.ones(9), tf.constant([seed, 0], tf.int64))
    return tuple(output.measurements['selected'].numpy())

  draws = [selected(seed) for seed in range(10)]
  assert draws == [selected(seed) for seed in range(10)]
  assert len(set(draws)) > 1


def test_an_empty_intersection_rejects_the_round():
  # Each of three draws drops two of three rows; other rows each time.
  rule = divide_and_conquer.build_divide_and_conquer(
    max_byzantine=1, num_coordinates=1, num_iterations=40, filter_factor=2.0
  )
  rows = np.array([[0, 5, -5], [5, 0, 5], [-5, -5, 0]], np.float32)
  output = rule.apply((), rows, np.ones(3), _SEED)
  assert output.measurements['round_rejected']
  np.testing.assert_array_equal(output.aggregate, np.zeros(3))


def test_a_factor_that_drops_nothing_is_refused():
  build = divide_and_conquer.build_divide_and_conquer
  with pytest.raises(ValueError, match=r'filter_factor=0\.4 with max_byzantine=2 drops no row'):
    build(max_byzantine=2, filter_factor=0.4)
  build(max_byzantine=2, filter_factor=0.5)
  build(max_byzantine=0, filter_factor=0.4)
