"""What each rule returns under inner product manipulation, at n = 25: a known table.

Alignment is <aggregate, gradient> / |gradient|^2, for a gradient in a random direction
and isotropic noise in 4,000 coordinates. The figures are of another program than this
package: NumPy, from the definitions of the rules, means over three draws to two digits. Where
all f attackers are taken in, (h - f epsilon) / n for the mean, with h = n - f, and
(m - f - f epsilon) / m for Multi-Krum of m = h rows follow by hand; so do -epsilon for a Krum
that selects an attacker and 1 for one that does not.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import coordinate_median, geometric_median, krum, mean, trimmed_mean
from tff_robust.preaggregators import nearest_neighbor_mixing

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


def _mixed(rows, f):
  return nearest_neighbor_mixing.nearest_neighbor_mixing(rows, max_byzantine=f)


_APPLY = {
  'mean': lambda rows, f: mean.mean(rows),
  'krum': lambda rows, f: krum.krum(rows, max_byzantine=f),
  'multi_krum': lambda rows, f: krum.multi_krum(rows, max_byzantine=f, num_selected=25 - f),
  'median': lambda rows, f: coordinate_median.coordinate_median(rows, max_byzantine=f),
  'trimmed': lambda rows, f: trimmed_mean.trimmed_mean(rows, max_byzantine=f),
  'geometric': lambda rows, f: geometric_median.geometric_median(rows, max_byzantine=f),
  'nnm_krum': lambda rows, f: krum.krum(_mixed(rows, f), max_byzantine=f),
  'nnm_trimmed': lambda rows, f: trimmed_mean.trimmed_mean(_mixed(rows, f), max_byzantine=f),
}


@functools.cache
def _compiled(rule, f):
  """Returns the rule as one graph: its loops take long step by step."""
  return tf.function(lambda rows: _APPLY[rule](rows, f), autograph=False)


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
    stacks.append(np.concatenate([honest, sent]).astype(np.float32))
  return gradient, stacks


@pytest.mark.parametrize('rule', _RULES)
def test_rule_is_reversed_exactly_where_the_table_says(rule):
  for (f, ratio, epsilon), row in _TABLE.items():
    gradient, stacks = _rounds(f, ratio, epsilon)
    released = [_compiled(rule, f)(stack).numpy().astype(np.float64) for stack in stacks]
    aligned = [vector @ gradient / (gradient @ gradient) for vector in released]
    expected = row[_RULES.index(rule)]
    assert np.mean(aligned) == pytest.approx(expected, abs=0.1 + 0.03 * abs(expected)), (f, ratio)
