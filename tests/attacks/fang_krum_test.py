import numpy as np
import pytest

from tff_robust.aggregators import krum
from tff_robust.attacks import fang_krum


def _honest(seed, rows=15, columns=40):
  return (np.random.default_rng(seed).normal(size=(rows, columns)) + 0.2).astype(np.float32)


def _bound(honest, f):
  """Theorem 1, written with loops."""
  n = len(honest) + f
  dimension = honest.shape[1]
  sums = []
  for i, row in enumerate(honest):
    others = sorted(((row - other) ** 2).sum() for j, other in enumerate(honest) if j != i)
    sums.append(sum(others[: n - f - 2]))
  furthest = max(np.linalg.norm(row) for row in honest)
  return np.sqrt(min(sums) / ((n - 2 * f - 1) * dimension)) + furthest / np.sqrt(dimension)


def _krum_selects(honest, step, f):
  sent = np.tile(-step * np.sign(honest.mean(axis=0)), (f, 1)).astype(np.float32)
  chosen = krum.krum(np.concatenate([honest, sent]), max_byzantine=f).numpy()
  return (chosen == sent[0]).all()


@pytest.mark.parametrize('f', [4, 8, 12])
def test_sends_the_first_halving_of_the_bound_that_krum_selects(f):
  for seed in range(4):
    honest = _honest(seed)
    step = _bound(honest.astype(np.float64), f)
    while step > 1e-5 and not _krum_selects(honest, step, f):
      step /= 2
    sent = fang_krum.fang_krum(honest, num_byzantine=f, max_byzantine=f).numpy()
    expected = -step * np.sign(honest.mean(axis=0))
    np.testing.assert_allclose(sent, np.stack([expected] * f), rtol=1e-5)


def test_no_step_above_the_bound_is_selected():
  for seed in range(10):
    honest = _honest(seed)
    assert not _krum_selects(honest, 1.0001 * _bound(honest.astype(np.float64), 6), 6)


def test_reverses_krum():
  honest = _honest(0)
  sent = fang_krum.fang_krum(honest, num_byzantine=12, max_byzantine=12).numpy()
  center = honest.mean(axis=0)
  attacked = krum.krum(np.concatenate([honest, sent]), max_byzantine=12).numpy()
  assert attacked @ center < 0
  assert krum.krum(np.concatenate([honest, honest[:12]]), max_byzantine=12).numpy() @ center > 0


def test_gives_up_at_the_smallest_step():
  honest = np.ones((15, 8), np.float32) + 1e-4 * _honest(1, columns=8)
  sent = fang_krum.fang_krum(honest, num_byzantine=2, max_byzantine=2).numpy()
  assert np.all((sent < 0) & (sent >= -1e-5))


def test_needs_to_see_honest_clients():
  built = fang_krum.build_fang_krum(max_byzantine=2)
  assert built.knowledge_modes == ('honest_messages', 'honest_clean')
  with pytest.raises(ValueError, match='max_byzantine=-1'):
    fang_krum.build_fang_krum(max_byzantine=-1)
