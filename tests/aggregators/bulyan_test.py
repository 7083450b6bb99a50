import numpy as np
import pytest

from tff_robust.aggregators import bulyan, krum
from tff_robust.testing.oracles import krum_rules

_ZERO_SEED = np.zeros(2, np.int64)


@pytest.mark.parametrize(('n', 'f'), [(3, 0), (7, 1), (8, 1), (11, 2), (14, 2), (25, 5)])
def test_equals_loops(n, f):
  rng = np.random.default_rng(n)
  for _ in range(4):
    rows = rng.normal(size=[n, 6]).astype(np.float32)
    rows[:f] *= 10
    output = bulyan.build_bulyan(max_byzantine=f).apply((), rows, np.ones(n), _ZERO_SEED)
    selected = np.flatnonzero(output.measurements['selected'])
    assert list(selected) == sorted(krum_rules.bulyan_selection(rows, f))
    np.testing.assert_allclose(
      output.aggregate, krum_rules.bulyan(rows, max_byzantine=f), rtol=1e-5, atol=1e-6
    )


def test_selects_every_row_at_most_once_with_duplicates():
  rows = np.random.default_rng(0).normal(size=[11, 3]).astype(np.float32)
  rows[3:8] = rows[3]
  output = bulyan.build_bulyan(max_byzantine=2).apply((), rows, np.ones(11), _ZERO_SEED)
  assert np.sum(output.measurements['selected']) == 7
  np.testing.assert_allclose(output.aggregate, rows[3], rtol=1e-6)


def test_one_hidden_coordinate_moves_krum_but_not_bulyan():
  # Colluders sit at the honest mean, which Krum likes, except for one coordinate.
  rng = np.random.default_rng(0)
  rows = rng.normal(size=[25, 500]).astype(np.float32)
  rows[:5] = rows[5:].mean(0)
  rows[:5, 0] = 15
  assert krum.krum(rows, max_byzantine=5)[0] == 15
  assert abs(bulyan.bulyan(rows, max_byzantine=5)[0]) < 2
