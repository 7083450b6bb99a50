import numpy as np
import pytest

from tff_robust.aggregators import smea, subset_limit
from tff_robust.testing.oracles import subset_rules

_ZERO_SEED = np.zeros(2, np.int64)


@pytest.mark.parametrize(('n', 'f'), [(4, 0), (5, 1), (8, 3), (11, 4)])
def test_equals_the_search_of_all_covariances(n, f):
  rng = np.random.default_rng(n)
  for d in (2, 15):
    rows = (3 + rng.normal(size=[n, d])).astype(np.float32)
    output = smea.build_smea(max_byzantine=f).apply((), rows, np.ones(n), _ZERO_SEED)
    expected = subset_rules.smallest_top_eigenvalue(rows, f)
    assert list(np.flatnonzero(output.measurements['selected'])) == expected
    np.testing.assert_allclose(
      output.aggregate, rows[expected].astype(np.float64).mean(0), rtol=1e-5, atol=1e-6
    )


def test_searches_in_several_chunks(monkeypatch):
  rows = np.random.default_rng(0).normal(size=[10, 4]).astype(np.float32)
  expected = smea.smea(rows, max_byzantine=3)
  monkeypatch.setattr(smea, '_ENTRIES_PER_CHUNK', 49 * 7)
  np.testing.assert_array_equal(smea.smea(rows, max_byzantine=3), expected)


def test_refuses_more_subsets_than_it_can_search():
  subset_limit.check('smea', num_clients=25, max_byzantine=5)
  with pytest.raises(ValueError, match='4,457,400 subsets'):
    subset_limit.check('smea', num_clients=25, max_byzantine=11)
  with pytest.raises(ValueError, match='use caf'):
    smea.smea(np.zeros([25, 2], np.float32), max_byzantine=11)
