import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import krum_capture
from tff_robust.resilience import krum_breaking_point


def _margins(honest, base, direction, steps, num_byzantine, max_byzantine, num_nonfinite=0):
  ray = krum_capture.ray(
    tf.constant(honest),
    base=tf.constant(base),
    direction=tf.constant(direction),
    num_clients=len(honest) + num_nonfinite + num_byzantine,
    num_byzantine=num_byzantine,
  )
  steps = tf.constant(steps, tf.float64)
  return krum_capture.margins(ray, steps, max_byzantine=max_byzantine).numpy()


def test_equals_the_certificate_in_random_rounds():
  generator = np.random.default_rng(0)
  signs = set()
  for _ in range(40):
    f = int(generator.integers(1, 7))
    b = int(generator.integers(1, f + 3))
    honest = generator.normal(size=(2 * f + 5 - min(b, 3), 6)) + 0.3
    base, direction = honest.mean(axis=0), generator.normal(size=6)
    steps = generator.exponential(size=4)
    found = _margins(honest, base, direction, steps, b, f)
    ray = krum_breaking_point.ray_from_updates(honest, base=base, direction=direction)
    expected = [
      krum_breaking_point.selection_margin(ray, t, num_byzantine=b, max_byzantine=f) for t in steps
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    signs |= set(np.sign(found))
  assert signs == {-1.0, 1.0}


def test_counts_rows_that_are_not_finite_among_the_clients():
  honest = np.random.default_rng(1).normal(size=(12, 4)) + 0.4
  center = honest.mean(axis=0)
  steps = [1.1, 2.0, 4.0]
  with_bad = _margins(honest, center, -center, steps, 4, 6, num_nonfinite=2)
  without = _margins(honest, center, -center, steps, 4, 4)
  np.testing.assert_array_equal(with_bad, without)


def test_captures_nothing_where_more_rows_than_f_are_not_finite():
  honest = np.random.default_rng(2).normal(size=(7, 4))
  center = honest.mean(axis=0)
  assert np.isfinite(_margins(honest, center, -center, [1.1], 4, 2, num_nonfinite=2)).all()
  found = _margins(honest, center, -center, [1.1], 4, 2, num_nonfinite=3)
  assert found == [-np.inf]


@pytest.mark.parametrize(
  ('rows', 'num_byzantine', 'max_byzantine'), [(9, 0, 2), (0, 5, 1), (5, 2, 3)]
)
def test_captures_nothing_where_krum_gives_no_answer(rows, num_byzantine, max_byzantine):
  found = _margins(np.ones((rows, 3)), np.zeros(3), np.ones(3), [0.5], num_byzantine, max_byzantine)
  assert found == [-np.inf]
