import numpy as np
import pytest

from tff_robust.aggregators import foolsgold
from tff_robust.testing.oracles import weighted_rules


@pytest.mark.parametrize('shift', [0.0, 0.3])
@pytest.mark.parametrize('n', [2, 3, 5, 12])
def test_weights_equal_loops(n, shift):
  rng = np.random.default_rng(n)
  for _ in range(5):
    rows = (shift + rng.normal(size=[n, 6])).astype(np.float32)
    np.testing.assert_allclose(
      foolsgold.learning_rates(rows), weighted_rules.foolsgold_weights(rows), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(
  'rows',
  [
    # The first is opposed to both others, which resemble nobody much either.
    [[-0.6, -0.6, 0.5], [1, 0.05, 0], [0.1, 1, 0.05]],
    [[1, 0], [-1, 0.1]],
    [[1, 0], [-1, 1], [-1, -1.1]],
  ],
)
def test_who_resembles_nobody_keeps_its_weight(rows):
  weights = foolsgold.learning_rates(np.float32(rows))
  np.testing.assert_array_equal(weights, np.ones(len(rows)))
  np.testing.assert_array_equal(weighted_rules.foolsgold_weights(rows), weights)


def test_sybils_lose_their_weight_and_others_keep_theirs():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=[8, 300]).astype(np.float32)
  rows[:3] = rows[0] * np.array([[1], [2], [5]], np.float32)
  weights = foolsgold.learning_rates(rows).numpy()
  np.testing.assert_allclose(weights[:3], 0, atol=1e-6)
  assert np.all(weights[3:] > 0.9)
  expected = np.average(rows[3:].astype(np.float64), axis=0, weights=weights[3:])
  np.testing.assert_allclose(foolsgold.foolsgold(rows), expected, rtol=1e-5, atol=1e-6)


def test_a_lone_attacker_keeps_its_weight():
  rows = np.random.default_rng(0).normal(size=[8, 300]).astype(np.float32)
  rows[0] = 1e6 * np.random.default_rng(1).normal(size=300)
  assert np.linalg.norm(foolsgold.foolsgold(rows)) > 1e5


def test_a_zero_row_is_no_obstacle():
  rows = np.random.default_rng(0).normal(size=[5, 30]).astype(np.float32)
  rows[2] = 0
  assert np.isfinite(foolsgold.foolsgold(rows)).all()
