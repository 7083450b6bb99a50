"""What each rule returns under inner product manipulation, at n = 25: a known table.

Alignment is <aggregate, gradient> / |gradient|^2, for a gradient in a random direction
and isotropic noise in 4,000 coordinates.
"""

import functools

import numpy as np
import pytest

_COLUMNS = 4000
_RULES = ('mean', 'krum', 'multi_krum', 'median', 'trimmed', 'geometric', 'nnm_krum', 'nnm_trimmed')
# (f, R, epsilon): alignment of each rule.
_TABLE = {
  (1, 0.05, 0.1): (0.95, -0.10, 0.95, 0.86, 0.94, 0.86, 0.95, 0.95),
  (1, 0.05, 1.0): (0.93, -1.01, 0.93, 0.88, 0.93, 0.88, 0.93, 0.93),
  (1, 0.05, 10.0): (0.57, 1.01, 1.01, 0.88, 0.80, 0.88, 1.01, 1.01),
  (5, 0.05, 1.0): (0.60, -1.01, 0.50, 0.27, 0.42, 0.21, 0.49, 0.50),
  (5, 0.05, 10.0): (-1.20, 0.92, 1.00, 0.22, 0.02, 0.21, 1.00, 1.00),
  (11, 0.05, 0.1): (0.52, -0.10, 0.13, -0.08, -0.07, -0.10, 0.13, 0.13),
  (11, 0.05, 1.0): (0.12, -1.02, -0.59, -0.77, -0.74, -1.02, -0.60, -0.59),
  (11, 0.05, 10.0): (-3.8, 0.99, 1.00, -1.69, -1.82, -2.49, 1.00, 1.00),
  (11, 0.3, 1.0): (0.12, -1.00, -0.57, -0.33, -0.34, -0.99, 1.00, 1.00),
  (11, 5.0, 0.1): (0.52, -0.10, 0.14, 0.59, 0.58, 0.46, 1.00, 1.00),
  (11, 5.0, 1.0): (0.12, 1.00, 1.00, 0.58, 0.56, 0.46, 1.00, 1.00),
}


def _distances(rows):
  gram = rows @ rows.T
  squared = np.diagonal(gram)
  return np.maximum(squared[:, None] + squared[None] - 2 * gram, 0)


def _krum_order(rows, f):
  distances = _distances(rows)
  np.fill_diagonal(distances, np.inf)
  scores = np.sort(distances, axis=1)[:, : len(rows) - f - 2].sum(axis=1)
  return np.argsort(scores, kind='stable')


def _mixed(rows, f):
  nearest = np.argsort(_distances(rows), axis=1, kind='stable')[:, : len(rows) - f]
  return rows[nearest].mean(axis=1)


def _trimmed(rows, f):
  return np.sort(rows, axis=0)[f : len(rows) - f].mean(axis=0)


def _geometric(rows, f):
  """Weiszfeld's iteration on the weights of the rows, through their Gram matrix."""
  del f
  gram = rows @ rows.T
  shares = np.full(len(rows), 1 / len(rows))
  for _ in range(400):
    pulled = gram @ shares
    squared = np.diagonal(gram) - 2 * pulled + shares @ pulled
    weights = 1 / np.sqrt(np.maximum(squared, 1e-18))
    shares = weights / weights.sum()
  return shares @ rows


_APPLY = {
  'mean': lambda rows, f: rows.mean(axis=0),
  'krum': lambda rows, f: rows[_krum_order(rows, f)[0]],
  'multi_krum': lambda rows, f: rows[_krum_order(rows, f)[: len(rows) - f]].mean(axis=0),
  'median': lambda rows, f: np.median(rows, axis=0),
  'trimmed': _trimmed,
  'geometric': _geometric,
  'nnm_krum': lambda rows, f: _mixed(rows, f)[_krum_order(_mixed(rows, f), f)[0]],
  'nnm_trimmed': lambda rows, f: _trimmed(_mixed(rows, f), f),
}


@functools.cache
def _rounds(f, ratio, epsilon):
  generator = np.random.default_rng(7)
  gradient = generator.normal(size=_COLUMNS)
  gradient *= np.sqrt(ratio / (gradient @ gradient))
  stacks = []
  for _ in range(5):
    noise = generator.normal(size=(25 - f, _COLUMNS)) / np.sqrt(_COLUMNS)
    honest = gradient + noise
    sent = np.tile(-epsilon * honest.mean(axis=0), (f, 1))
    stacks.append(np.concatenate([honest, sent]))
  return gradient, stacks


@pytest.mark.parametrize('rule', _RULES)
def test_rule_is_reversed_exactly_where_the_table_says(rule):
  for (f, ratio, epsilon), row in _TABLE.items():
    gradient, stacks = _rounds(f, ratio, epsilon)
    aligned = [_APPLY[rule](stack, f) @ gradient / (gradient @ gradient) for stack in stacks]
    expected = row[_RULES.index(rule)]
    assert np.mean(aligned) == pytest.approx(expected, abs=0.1 + 0.03 * abs(expected)), (f, ratio)
