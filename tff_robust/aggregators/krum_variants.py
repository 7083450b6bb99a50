"""Rules that public code calls Krum and that are not: for replication, not for defence.

Each is defined by what it does on finite updates. Where published figures were made with
one of these, Krum itself gives other figures: under inner-product manipulation they can
disagree on every round. Non-finite rows are infinitely far from all others, as in
`krum`, unless the variant's own treatment of them is the point.

Read in November 2026; a repository may have changed since.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import averages, demands, distances, krum, rule

_INFINITY = np.float64('inf')


class Variant(NamedTuple):
  """How a rule departs from Krum.

  Attributes:
    repository: Where its code is.
    difference: What it does instead.
    score: `(squared_distances float64 [n, n], updates, f) -> float64 [n]`.
    required_clients: f to the smallest round that the code accepts.
    num_selected: `(n, f) -> int32 []`, how many rows of lowest score are averaged.
    choose: `(scores, f, num_selected) -> int32 [m]`, the selected rows.
    tolerated: `(n, f) -> int32 []`, the f of which more non-finite rows reject the round.
    rejects: Whether they do.
  """

  repository: str
  difference: str
  score: Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]
  required_clients: Callable[[int], int] = krum.required_clients
  num_selected: Callable[[tf.Tensor, int], Any] = lambda n, f: 1
  choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None
  tolerated: Callable[[tf.Tensor, int], Any] = lambda n, f: f
  rejects: bool = True


def _lowest(scores: tf.Tensor, num_selected: tf.Tensor) -> tf.Tensor:
  return tf.math.top_k(-scores, k=num_selected).indices


def _nearest(offset: int, power: int) -> Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]:
  """Scores by the sum of `power`-th powers over the n - f - offset nearest others."""

  def score(squared_distances: tf.Tensor, updates: tf.Tensor, max_byzantine: int) -> tf.Tensor:
    del updates
    num_rows = tf.shape(squared_distances)[0]
    num_neighbours = tf.minimum(num_rows - max_byzantine - offset, num_rows - 1)
    return krum.neighbour_sums(squared_distances ** (power / 2), num_neighbours)

  return score


def _clamped(squared_distances: tf.Tensor, updates: tf.Tensor, max_byzantine: int) -> tf.Tensor:
  del updates
  num_rows = tf.shape(squared_distances)[0]
  return krum.neighbour_sums(squared_distances, num_rows - _lowered(num_rows, max_byzantine) - 2)


def _lowered(num_rows: tf.Tensor, max_byzantine: int) -> tf.Tensor:
  return tf.minimum(max_byzantine, (num_rows - 3) // 2)


def _flower_legacy(
  squared_distances: tf.Tensor, updates: tf.Tensor, max_byzantine: int
) -> tf.Tensor:
  num_rows = tf.shape(squared_distances)[0]
  num_neighbours = tf.maximum(num_rows - max_byzantine - 2, 1)
  scores = krum.neighbour_sums(squared_distances, num_neighbours)
  has_nan = tf.reduce_any(tf.math.is_nan(updates), axis=1)
  num_comparable = num_rows - tf.math.count_nonzero(has_nan, dtype=tf.int32)
  is_nan = has_nan | (num_neighbours + 1 > num_comparable)
  # NumPy's argmin takes a NaN for the smallest value.
  return tf.where(is_nan, -_INFINITY, scores)


def _reversed(squared_distances: tf.Tensor, updates: tf.Tensor, max_byzantine: int) -> tf.Tensor:
  num_rows = tf.shape(updates)[0]
  finite = demands.finite_rows(updates)
  to_others = tf.linalg.set_diag(squared_distances, tf.fill([num_rows], _INFINITY))
  nearest = tf.math.top_k(-to_others, k=num_rows - max_byzantine - 2).indices
  points_to = tf.reduce_any(tf.one_hot(nearest, num_rows, on_value=True, off_value=False), axis=1)
  counts = points_to & finite[:, tf.newaxis]
  pointed_at = tf.reduce_sum(tf.where(counts, to_others, 0.0), axis=0)
  return tf.where(finite, pointed_at, _INFINITY)


def _alie_choice(scores: tf.Tensor, num_selected: tf.Tensor) -> tf.Tensor:
  del num_selected
  num_rows = tf.shape(scores)[0]
  # The dictionary of distances is first filled for clients 1 and 0, in this order.
  order = tf.concat([[1, 0], tf.range(2, num_rows)], axis=0)
  winner = order[tf.argmin(tf.gather(scores, order), output_type=tf.int32)]
  found = tf.gather(scores, winner) < 1e20
  return tf.where(found, winner, num_rows - 1)[tf.newaxis]


def _ndss21_order(
  squared_distances: tf.Tensor, updates: tf.Tensor, max_byzantine: int
) -> tf.Tensor:
  """Scores by the order of removal: the row taken first has score 0."""
  del updates
  num_rows = tf.shape(squared_distances)[0]
  others = tf.linalg.set_diag(squared_distances, tf.fill([num_rows], _INFINITY))

  def take(step: tf.Tensor, ranks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    remaining = tf.math.is_inf(ranks)
    reachable = tf.where(remaining[tf.newaxis, :], others, _INFINITY)
    counted = tf.range(num_rows) < num_rows - step - max_byzantine - 3
    sums = tf.reduce_sum(tf.where(counted, tf.sort(reachable, axis=1), 0.0), axis=1)
    winner = tf.argmin(tf.where(remaining, sums, tf.float64.max), output_type=tf.int32)
    taken = tf.one_hot(winner, num_rows, on_value=True, off_value=False)
    return step + 1, tf.where(taken, tf.cast(step, tf.float64), ranks)

  _, ranks = tf.while_loop(
    lambda step, _: step < num_rows - 2 * max_byzantine - 2,
    take,
    (tf.constant(0), tf.fill([num_rows], _INFINITY)),
    shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
  )
  return ranks


VARIANTS: Mapping[str, Variant] = {
  'krum_byzfl': Variant(
    'LPD-EPFL/byzfl',
    'Sums over n - f - 1 others, and accepts any n > 2f. The rule analysed by Allouah et al.'
    ' (AISTATS 2023).',
    _nearest(offset=1, power=2),
    required_clients=lambda f: 2 * f + 1,
  ),
  'krum_calicarpa': Variant(
    'calicarpa/krum',
    'Sums unsquared distances over n - f - 1 others, and averages n - f - 2 rows. (It refuses'
    ' f = 0, which is allowed here.)',
    _nearest(offset=1, power=1),
    num_selected=lambda n, f: n - f - 2,
  ),
  'krum_epfml': Variant(
    'epfml/byzantine-robust-optimizer',
    'Squares squared distances again, and accepts n = 2f + 2. (With several selected rows'
    ' it returns their sum; here one is selected.)',
    _nearest(offset=2, power=4),
    required_clients=lambda f: 2 * f + 2,
  ),
  'krum_alie_authors': Variant(
    'moranant/attacking_distributed_learning',
    'Sums unsquared distances over n - f others, accepts n = 2f + 1, prefers client 1 to'
    ' client 0 in a tie, and returns the last client when no score is below 1e20.',
    _nearest(offset=0, power=1),
    required_clients=lambda f: max(2 * f + 1, 2),
    choose=_alie_choice,
    rejects=False,
  ),
  'multi_krum_ndss21': Variant(
    'vrt1shjwlkr/NDSS21-Model-Poisoning',
    'Counts the distance to oneself among the n - f - 2 smallest, and scores the remaining'
    ' rows again after each selection, until 2f + 2 remain.',
    _ndss21_order,
    num_selected=lambda n, f: n - 2 * f - 2,
  ),
  'krum_flower_legacy': Variant(
    'adap/flower (aggregate_krum)',
    'Accepts any n, with at least one neighbour, and selects a row that holds a NaN.',
    _flower_legacy,
    required_clients=lambda f: 2,
    rejects=False,
  ),
  'krum_xie': Variant(
    'xcgoner/zeno, branch attack',
    'Lowers f to floor((n - 3) / 2) in silence when n < 2f + 3.',
    _clamped,
    required_clients=lambda f: 3,
    tolerated=_lowered,
  ),
  'krum_reversed': Variant(
    'Tingxin Yang, "Robust Federated Learning with Differential Privacy", internship report,'
    ' July 2024, section 3.1',
    'Sums over the rows that have this row among their neighbours: a row that is nobody'
    "'s neighbour has an empty sum, and wins.",
    _reversed,
  ),
}


def _select(
  name: str, updates: signatures.Updates, max_byzantine: int
) -> tuple[signatures.Aggregate, Mapping[str, tf.Tensor]]:
  variant = VARIANTS[name]
  updates = demands.enough_clients(
    updates,
    rule=name,
    max_byzantine=max_byzantine,
    required=variant.required_clients,
  )
  num_rows = tf.shape(updates)[0]
  num_nonfinite = num_rows - tf.math.count_nonzero(demands.finite_rows(updates), dtype=tf.int32)
  rejected = (num_nonfinite > variant.tolerated(num_rows, max_byzantine)) & variant.rejects
  scores = variant.score(distances.squared_distances(updates), updates, max_byzantine)
  num_selected = tf.convert_to_tensor(variant.num_selected(num_rows, max_byzantine), tf.int32)
  chosen = (variant.choose or _lowest)(scores, num_selected)
  selected = tf.scatter_nd(chosen[:, tf.newaxis], tf.ones_like(chosen), [num_rows]) > 0
  kept = selected & ~rejected
  aggregate = averages.weighted_average(updates, tf.cast(kept, tf.float64))
  left_out = tf.reduce_min(tf.where(selected, _INFINITY, scores))
  gap = left_out - tf.reduce_max(tf.where(selected, scores, -_INFINITY))
  return aggregate, {
    'num_nonfinite': num_nonfinite,
    'round_rejected': rejected,
    'selected': kept,
    'score_gap': tf.where(tf.math.is_finite(gap) & ~rejected, gap, 0.0),
  }


def aggregate(
  updates: signatures.Updates, *, variant: str, max_byzantine: int
) -> signatures.Aggregate:
  """Applies one of `VARIANTS`.

  Args:
    updates: float32 [n, d].
    variant: A name in `VARIANTS`.
    max_byzantine: Declared Byzantine clients, f.

  Returns:
    float32 [d].

  Raises:
    ValueError: If the name is unknown, or n is known and too small for the variant.
    tf.errors.InvalidArgumentError: If n turns out too small at run time.
  """
  checks.known_name('variant', variant, VARIANTS)
  return _select(variant, updates, max_byzantine)[0]


def build_variant(variant: str, *, max_byzantine: int) -> rule.AggregationRule:
  """Returns one of `VARIANTS` as a rule, which also measures `selected` and `score_gap`.

  Raises:
    ValueError: If the name is unknown or f is negative.
  """
  checks.known_name('variant', variant, VARIANTS)
  checks.whole_at_least('max_byzantine', max_byzantine, 0)

  def apply(
    state: Any, updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> rule.RuleOutput:
    del weights, seed  # No variant reads them.
    return rule.RuleOutput(state, *_select(variant, updates, max_byzantine))

  return rule.AggregationRule(variant, lambda dimension: (), apply)


def build_krum_byzfl(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns `VARIANTS['krum_byzfl']` as a rule.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  return build_variant('krum_byzfl', max_byzantine=max_byzantine)


def build_krum_calicarpa(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns `VARIANTS['krum_calicarpa']` as a rule.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  return build_variant('krum_calicarpa', max_byzantine=max_byzantine)


def build_krum_epfml(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns `VARIANTS['krum_epfml']` as a rule.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  return build_variant('krum_epfml', max_byzantine=max_byzantine)


def build_krum_alie_authors(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns `VARIANTS['krum_alie_authors']` as a rule.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  return build_variant('krum_alie_authors', max_byzantine=max_byzantine)


def build_multi_krum_ndss21(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns `VARIANTS['multi_krum_ndss21']` as a rule.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  return build_variant('multi_krum_ndss21', max_byzantine=max_byzantine)


def build_krum_flower_legacy(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns `VARIANTS['krum_flower_legacy']` as a rule.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  return build_variant('krum_flower_legacy', max_byzantine=max_byzantine)


def build_krum_xie(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns `VARIANTS['krum_xie']` as a rule.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  return build_variant('krum_xie', max_byzantine=max_byzantine)


def build_krum_reversed(*, max_byzantine: int) -> rule.AggregationRule:
  """Returns `VARIANTS['krum_reversed']` as a rule.

  Raises:
    ValueError: If f is not a whole number of at least 0.
  """
  return build_variant('krum_reversed', max_byzantine=max_byzantine)
