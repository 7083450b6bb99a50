import itertools

import numpy as np
import pytest

from tff_robust.aggregators import minimum_diameter_averaging as mda
from tff_robust.testing.oracles import subset_rules

_ZERO_SEED = np.zeros(2, np.int64)


def _select(rows, f):
  rule = mda.build_minimum_diameter_averaging(max_byzantine=f)
  output = rule.apply((), rows, np.ones(len(rows)), _ZERO_SEED)
  return output.aggregate, list(np.flatnonzero(output.measurements['selected']))


@pytest.mark.parametrize(('n', 'f'), [(3, 0), (3, 1), (7, 2), (9, 4), (11, 3), (13, 5)])
def test_equals_the_search_of_all_subsets(n, f):
  rng = np.random.default_rng(n)
  for d in (1, 4):
    rows = rng.normal(size=[n, d]).astype(np.float32)
    expected = subset_rules.smallest_diameter(rows, f)
    aggregate, selected = _select(rows, f)
    assert selected == expected
    np.testing.assert_allclose(aggregate, rows[expected].astype(np.float64).mean(0), rtol=1e-5)


def test_of_equal_diameters_the_first_subset_wins():
  rows = np.array([[4], [0], [1], [2], [3]], np.float32)
  assert _select(rows, 2)[1] == [0, 3, 4]  # before 0, 1, 2 and 1, 2, 3 in rows 1 to 4
  rng = np.random.default_rng(0)
  for _ in range(10):
    lattice = rng.integers(0, 3, size=[8, 2]).astype(np.float32)
    assert _select(lattice, 3)[1] == subset_rules.smallest_diameter(lattice, 3)


def test_eleven_of_twenty_five_finds_the_honest_cluster():
  rows = np.random.default_rng(0).normal(size=[25, 50]).astype(np.float32)
  rows[:11] += 5
  rows[:11] *= np.linspace(1, 3, 11, dtype=np.float32)[:, None]
  assert _select(rows, 11)[1] == list(range(11, 25))


def test_diameter_does_not_depend_on_the_order_of_rows():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=[10, 3]).astype(np.float32)

  def diameter(rows):
    chosen = rows[_select(rows, 3)[1]].astype(np.float64)
    return max(np.linalg.norm(a - b) for a, b in itertools.combinations(chosen, 2))

  for _ in range(5):
    np.testing.assert_allclose(diameter(rng.permutation(rows)), diameter(rows), rtol=1e-12)
