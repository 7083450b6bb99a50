import itertools

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import conflicts

_can_resolve = tf.function(
  conflicts.can_resolve,
  input_signature=[tf.TensorSpec([None, None], tf.bool), tf.TensorSpec([], tf.int32)],
)
_first = tf.function(
  conflicts.first_without_conflict,
  input_signature=[tf.TensorSpec([None, None], tf.bool), tf.TensorSpec([], tf.int32)],
)


def _free_subsets(graph, size):
  """All conflict-free choices of `size` rows, in lexicographic order."""
  for subset in itertools.combinations(range(len(graph)), size):
    if not any(graph[i, j] for i, j in itertools.combinations(subset, 2)):
      yield subset


def _random_graph(rng, n):
  upper = np.triu(rng.random([n, n]) < rng.random(), 1)
  return upper | upper.T


def test_equals_brute_force_on_random_graphs():
  rng = np.random.default_rng(0)
  answers = []
  for _ in range(150):
    n = int(rng.integers(1, 9))
    graph, f = _random_graph(rng, n), int(rng.integers(0, n))
    expected = next(_free_subsets(graph, n - f), None)
    answers.append(expected is not None)
    assert bool(_can_resolve(graph, f)) == answers[-1]
    if expected is not None:
      assert tuple(np.flatnonzero(_first(graph, f))) == expected
  assert 30 < sum(answers) < 120


@pytest.mark.parametrize(('n', 'f'), [(25, 12), (51, 25)])
def test_a_long_cycle_is_decided(n, f):
  graph = np.zeros([n, n], bool)
  for i in range(n):
    graph[i, (i + 1) % n] = graph[(i + 1) % n, i] = True
  # An odd cycle needs (n + 1) / 2 removals.
  assert not _can_resolve(graph, f)
  assert _can_resolve(graph, f + 1)
