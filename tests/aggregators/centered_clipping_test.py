import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import centered_clipping
from tff_robust.testing.oracles import weighted_rules

_SEED = tf.constant([0, 0], tf.int64)


@pytest.mark.parametrize('steps', [1, 2, 5])
@pytest.mark.parametrize('radius', [0.5, 3.0, 1e3])
def test_equals_loops(steps, radius):
  rng = np.random.default_rng(0)
  rows = rng.normal(size=[8, 11]).astype(np.float32)
  rows[0] *= 1e3
  centre = rng.normal(size=11).astype(np.float32)
  actual = centered_clipping.centered_clipping(
    rows, centre, clip_radius=radius, num_iterations=steps
  )
  np.testing.assert_allclose(
    actual,
    weighted_rules.centered_clipping(rows, centre, clip_radius=radius, num_iterations=steps),
    rtol=1e-5,
    atol=1e-5,
  )


def test_a_wide_radius_gives_the_mean():
  rows = np.array([[0, 2], [4, 0]], np.float32)
  actual = centered_clipping.centered_clipping(rows, [9.0, 9.0], clip_radius=1e6)
  np.testing.assert_allclose(actual, [2, 1], rtol=1e-6)


def test_stays_when_all_rows_are_at_the_centre():
  rows = np.full([3, 2], 7, np.float32)
  np.testing.assert_array_equal(
    centered_clipping.centered_clipping(rows, rows[0], clip_radius=1.0), rows[0]
  )


def test_next_round_starts_from_the_last_aggregate():
  rule = centered_clipping.build_centered_clipping(clip_radius=1.0)
  rows = np.full([4, 3], 10, np.float32)
  state, expected = rule.init(3), np.zeros(3)
  np.testing.assert_array_equal(state, expected)
  for _ in range(3):
    output = rule.apply(state, rows, np.ones(4), _SEED)
    expected = weighted_rules.centered_clipping(rows, expected, clip_radius=1.0, num_iterations=1)
    np.testing.assert_allclose(output.aggregate, expected, rtol=1e-6)
    np.testing.assert_array_equal(output.state, output.aggregate)
    state = output.state


def test_a_rejected_round_keeps_the_centre():
  rule = centered_clipping.build_centered_clipping(clip_radius=1.0)
  state = tf.constant([1.0, 2.0])
  output = rule.apply(state, np.full([3, 2], np.nan), np.ones(3), _SEED)
  np.testing.assert_array_equal(output.state, state)
  np.testing.assert_array_equal(output.aggregate, [0, 0])
  assert output.measurements['round_rejected']


@pytest.mark.parametrize('radius', [0.0, -1.0, np.inf])
def test_refuses_a_radius_that_clips_nothing_or_everything(radius):
  with pytest.raises(ValueError, match='clip_radius'):
    centered_clipping.build_centered_clipping(clip_radius=radius)


def test_refuses_a_centre_of_other_coordinates_and_broken_iterations():
  rows = np.ones([9, 5], np.float32)
  with pytest.raises(ValueError, match=r'centre has shape \(4,\); it must be \[5\], one entry a'):
    centered_clipping.centered_clipping(rows, np.zeros(4), clip_radius=1.0)
  with pytest.raises(ValueError, match=r'num_iterations=1.5 must be a whole number'):
    centered_clipping.centered_clipping(rows, np.zeros(5), clip_radius=1.0, num_iterations=1.5)
