import functools

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies
from hypothesis.extra import numpy as hypothesis_numpy

from tff_robust.aggregators import krum, mean
from tff_robust.testing.oracles import krum_rules

_SEED = tf.constant([0, 0], tf.int64)


@functools.cache
def _traced(num_selected, max_byzantine):
  """One graph for each rule, for stacks of any shape."""
  if num_selected == 1:
    rule = krum.build_krum(max_byzantine=max_byzantine)
  else:
    rule = krum.build_multi_krum(max_byzantine=max_byzantine, num_selected=num_selected)

  @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
  def apply(updates):
    output = rule.apply((), updates, tf.ones(tf.shape(updates)[:1]), _SEED)
    scores = krum.scores(updates, max_byzantine=max_byzantine)
    return output.aggregate, dict(output.measurements), scores

  return apply


@pytest.fixture(autouse=True, scope='module')
def _drop_graphs():
  yield
  _traced.cache_clear()


def _random_stack(rng, n, f):
  """One of the stacks on which implementations differ."""
  d = int(rng.integers(1, 12))
  kind = rng.integers(10)
  rows = rng.normal(size=[n, d])
  if kind == 1:  # an integer lattice: many exact ties
    rows = rng.integers(-1, 2, size=[n, d])
  elif kind == 2:  # duplicates
    rows = rows[rng.integers(0, n, size=n)]
  elif kind == 3:  # f colluders that agree
    rows[rng.permutation(n)[:f]] = rng.normal(size=d) * 10.0 ** rng.integers(-3, 4)
  elif kind == 4:
    rows[rng.permutation(n)[:f], rng.integers(d)] = rng.choice([np.nan, np.inf, -np.inf])
  elif kind == 5:
    rows[rng.permutation(n)[:f]] *= 1e38
  elif kind == 6:
    rows *= 1e-41
  elif kind == 7:
    rows[:] = rows[0]
  elif kind == 8:
    rows += 1e4
  elif kind == 9:
    rows[rng.permutation(n)[:f]] = np.nan
  return np.clip(rows, -3.4e38, 3.4e38).astype(np.float32) if kind == 5 else rows.astype(np.float32)


@pytest.mark.parametrize('num_selected', [1, 2, 4])
def test_equals_brute_force_on_a_thousand_stacks(num_selected):
  rng = np.random.default_rng(num_selected)
  for _ in range(334):
    f = int(rng.integers(0, 5))
    n = int(rng.integers(max(2 * f + 3, f + num_selected + 1), 2 * f + 12))
    rows = _random_stack(rng, n, f)
    expected_scores = krum_rules.krum_scores(rows, f)
    aggregate, measurements, scores = _traced(num_selected, f)(rows)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-7, atol=0)
    expected = krum_rules.lowest(expected_scores, num_selected)
    near_ties = np.sort(expected_scores)
    if near_ties[num_selected] - near_ties[num_selected - 1] <= 1e-7 * near_ties[num_selected]:
      # Only the exact scores can decide between equals: the oracle rounds differently.
      expected = krum_rules.lowest(scores.numpy(), num_selected)
    np.testing.assert_array_equal(np.flatnonzero(measurements['selected']), sorted(expected))
    np.testing.assert_allclose(
      aggregate, rows[expected].astype(np.float64).mean(0), rtol=1e-6, atol=1e-40
    )
    assert not measurements['round_rejected']
    assert measurements['num_nonfinite'] == np.sum(~np.isfinite(rows).all(1))


def test_smallest_row_index_wins_exact_ties_on_a_lattice():
  rng = np.random.default_rng(7)
  num_ties = 0
  for _ in range(200):
    rows = rng.integers(-1, 2, size=[9, 2]).astype(np.float32)
    expected = krum_rules.krum_scores(rows, 2)  # small integers: exact
    num_ties += int(np.sum(expected == expected.min()) > 1)
    _, measurements, scores = _traced(1, 2)(rows)
    np.testing.assert_array_equal(scores, expected)
    assert np.flatnonzero(measurements['selected']) == [int(np.argmin(expected))]
  assert num_ties > 50


def test_hand_computed_case_where_mean_median_and_krum_differ():
  # Squared distances to the two nearest others of five (f = 1): 0: 1 + 9 = 10,
  # 1: 1 + 4 = 5, 3: 4 + 9 = 13, 7: 16 + 36 = 52, 100 is far from all.
  rows = np.array([[0], [1], [3], [7], [100]], np.float32)
  assert krum.krum(rows, max_byzantine=1) == [1]
  np.testing.assert_allclose(mean.mean(rows), [22.2], rtol=1e-6)
  assert np.median(rows) == 3
  np.testing.assert_array_equal(krum.scores(rows, max_byzantine=1), [10, 5, 13, 52, 93**2 + 97**2])
  assert krum.multi_krum(rows, max_byzantine=1, num_selected=2) == [0.5]
  assert krum.multi_krum(rows, max_byzantine=1, num_selected=4) == [2.75]


def test_returns_the_chosen_row_bit_for_bit():
  rows = (np.random.default_rng(3).normal(size=[11, 100]) * 1e-3).astype(np.float32)
  rows[:, 5] = 1e-44
  aggregate = krum.krum(rows, max_byzantine=3).numpy()
  assert sum(aggregate.tobytes() == row.tobytes() for row in rows) == 1


def test_returns_shared_row_when_all_rows_agree():
  rows = np.tile(np.float32([0.1, -3e38, 1e-3]), [7, 1])
  np.testing.assert_array_equal(krum.krum(rows, max_byzantine=2), rows[0])
  np.testing.assert_array_equal(krum.multi_krum(rows, max_byzantine=2, num_selected=5), rows[0])


def test_multi_krum_of_one_is_krum_and_of_all_is_the_mean():
  rng = np.random.default_rng(5)
  for _ in range(20):
    rows = rng.normal(size=[9, 6]).astype(np.float32)
    one = krum.multi_krum(rows, max_byzantine=3, num_selected=1)
    np.testing.assert_array_equal(one, krum.krum(rows, max_byzantine=3))
    every = krum.multi_krum(rows, max_byzantine=0, num_selected=9)
    np.testing.assert_allclose(every, rows.astype(np.float64).mean(0), rtol=1e-6)


def _far_rows(value):
  rows = np.random.default_rng(11).normal(size=[13, 40]).astype(np.float32)
  honest = rows[5:].copy()
  rows[:5] = value
  return rows, honest


@pytest.mark.parametrize('value', [1e6, 1e30, -1e38, np.nan, np.inf])
def test_survives_f_far_rows(value):
  rows, honest = _far_rows(value)
  limit = np.linalg.norm(honest, axis=1).max()
  assert np.linalg.norm(krum.krum(rows, max_byzantine=5)) <= limit
  assert np.linalg.norm(krum.multi_krum(rows, max_byzantine=5, num_selected=8)) <= limit


def test_mean_fails_the_assertion_that_krum_passes():
  rows, honest = _far_rows(1e6)
  assert np.linalg.norm(mean.mean(rows)) > 1e5 * np.linalg.norm(honest, axis=1).max()


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('num_bad', [1, 2, 3])
def test_infinite_score_equals_dropping_the_row_and_lowering_f(bad, num_bad):
  rows = np.random.default_rng(num_bad).normal(size=[12, 8]).astype(np.float32)
  rows[[1, 6, 9][:num_bad], 3] = bad
  kept = np.isfinite(rows).all(1)
  scores = krum.scores(rows, max_byzantine=4).numpy()
  np.testing.assert_array_equal(scores[~kept], np.inf)
  without = krum.scores(rows[kept], max_byzantine=4 - num_bad).numpy()
  np.testing.assert_allclose(scores[kept], without, rtol=1e-14)
  np.testing.assert_array_equal(
    krum.krum(rows, max_byzantine=4), krum.krum(rows[kept], max_byzantine=4 - num_bad)
  )


@pytest.mark.parametrize('num_selected', [1, 3])
def test_more_than_f_nonfinite_rows_reject_the_round(num_selected):
  rows = np.random.default_rng(0).normal(size=[9, 4]).astype(np.float32)
  rows[:3, 0] = np.nan
  aggregate, measurements, _ = _traced(num_selected, 2)(rows)
  np.testing.assert_array_equal(aggregate, np.zeros(4))
  assert measurements['round_rejected']
  assert measurements['num_nonfinite'] == 3
  assert not np.any(measurements['selected'])
  assert measurements['score_gap'] == 0


def test_all_nonfinite_rows_reject_the_round():
  rows = np.full([7, 3], np.nan, np.float32)
  np.testing.assert_array_equal(krum.krum(rows, max_byzantine=2), np.zeros(3))


def test_score_gap_is_the_margin_of_the_selection():
  rows = np.array([[0], [1], [3], [7], [100]], np.float32)
  assert _traced(1, 1)(rows)[1]['score_gap'] == 5
  assert _traced(2, 1)(rows)[1]['score_gap'] == 3
  rows[4] = np.inf
  assert _traced(4, 1)(rows)[1]['score_gap'] == 0
  assert _traced(4, 0)(rows[:4])[1]['score_gap'] == 0


@pytest.mark.parametrize('f', [0, 1, 2, 5, 11])
def test_is_defined_from_two_f_plus_three_clients(f):
  rows = np.random.default_rng(f).normal(size=[2 * f + 3, 3]).astype(np.float32)
  expected = int(np.argmin(krum_rules.krum_scores(rows, f)))
  np.testing.assert_array_equal(krum.krum(rows, max_byzantine=f), rows[expected])
  told = f' with max_byzantine={f}' if f else ''
  with pytest.raises(ValueError, match=f"'krum'{told} needs at least {2 * f + 3}"):
    krum.krum(rows[1:], max_byzantine=f)
  text = f'krum{told} needs at least {2 * f + 3} clients'
  with pytest.raises(tf.errors.InvalidArgumentError, match=text):
    _traced(1, f)(rows[1:])


def test_multi_krum_selects_at_most_n_minus_f():
  rows = np.random.default_rng(1).normal(size=[9, 3]).astype(np.float32)
  krum.multi_krum(rows, max_byzantine=3, num_selected=6)
  with pytest.raises(ValueError, match='num_selected=7 must be at most 6'):
    krum.multi_krum(rows, max_byzantine=3, num_selected=7)
  with pytest.raises(ValueError, match='num_selected=0 must be at least 1'):
    krum.build_multi_krum(max_byzantine=3, num_selected=0)
  with pytest.raises(tf.errors.InvalidArgumentError, match='num_selected=7'):
    _traced(7, 3)(rows)


def test_refuses_a_negative_number_of_byzantine_clients():
  with pytest.raises(ValueError, match='max_byzantine=-1'):
    krum.build_krum(max_byzantine=-1)


_STACKS = strategies.integers(0, 3).flatmap(
  lambda f: strategies.tuples(
    strategies.just(f),
    strategies.integers(2 * f + 3, 2 * f + 8).flatmap(
      lambda n: hypothesis_numpy.arrays(
        np.float32,
        strategies.tuples(strategies.just(n), strategies.integers(1, 5)),
        elements=strategies.integers(-50, 50).map(np.float32),
      )
    ),
  )
)
_FEW = hypothesis.settings(max_examples=60, deadline=None, derandomize=True)


def _winner(rows, f):
  _, measurements, scores = _traced(1, f)(rows)
  return int(np.flatnonzero(measurements['selected'])[0]), scores.numpy()


@_FEW
@hypothesis.given(_STACKS, strategies.randoms(use_true_random=False))
def test_scores_move_with_their_rows(stack, random):
  f, rows = stack
  order = list(range(len(rows)))
  random.shuffle(order)
  winner, scores = _winner(rows, f)
  permuted_winner, permuted_scores = _winner(rows[order], f)
  np.testing.assert_array_equal(permuted_scores, scores[order])
  assert scores[order[permuted_winner]] == scores[winner]


@_FEW
@hypothesis.given(_STACKS, strategies.integers(-1000, 1000))
def test_selection_does_not_depend_on_the_origin(stack, shift):
  f, rows = stack
  winner, scores = _winner(rows, f)
  shifted_winner, shifted_scores = _winner(rows + np.float32(shift), f)
  np.testing.assert_array_equal(shifted_scores, scores)  # integers: exact
  assert shifted_winner == winner


@_FEW
@hypothesis.given(_STACKS, strategies.integers(-40, 40))
def test_selection_does_not_depend_on_the_unit(stack, exponent):
  f, rows = stack
  winner, scores = _winner(rows, f)
  scaled_winner, scaled_scores = _winner(rows * np.float32(2.0**exponent), f)
  np.testing.assert_allclose(scaled_scores, scores * 4.0**exponent, rtol=1e-12)
  assert scaled_winner == winner


@_FEW
@hypothesis.given(_STACKS, strategies.integers(0, 2**31))
def test_scores_do_not_depend_on_the_axes(stack, seed):
  f, rows = stack
  axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=[rows.shape[1]] * 2))
  _, scores = _winner(rows, f)
  _, turned_scores = _winner((rows.astype(np.float64) @ axes).astype(np.float32), f)
  np.testing.assert_allclose(turned_scores, scores, rtol=1e-4, atol=1e-3)


def test_state_is_empty_and_weights_are_ignored():
  rule = krum.build_krum(max_byzantine=1)
  rows = np.array([[0], [1], [3], [7], [100]], np.float32)
  output = rule.apply(rule.init(1), rows, tf.constant([0.0, 0.0, 9.0, 9.0, 9.0]), _SEED)
  assert rule.name == 'krum'
  assert output.state == ()
  assert output.aggregate == [1]


@pytest.mark.parametrize('value', [1.5, 2.0, None, '2', True])
def test_refuses_a_broken_number_of_rows(value):
  with pytest.raises(ValueError, match=f'^num_selected={value!r} must be a whole number'):
    krum.multi_krum(np.ones([9, 5], np.float32), max_byzantine=2, num_selected=value)
