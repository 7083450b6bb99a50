import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import column_blocks, distances, krum, score_search

_D = column_blocks.UNDIVIDED_COLUMNS + 700


def _rows(n, seed=0, d=_D):
  return np.random.default_rng(seed).normal(size=[n, d]).astype(np.float32)


def _squared(rows):
  """By differences, row by row."""
  wide = rows.astype(np.float64)
  return np.array([np.sum((wide - row) ** 2, axis=1) for row in wide])


def _krum_scores(rows, f):
  squared = np.sort(_squared(rows), axis=1)
  return squared[:, 1 : len(rows) - f - 1].sum(1)


@pytest.fixture(scope='module', autouse=True)
def _any_number_of_rows():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(score_search, '_FEWEST_ROWS', 0)
    yield


@pytest.fixture(scope='module')
def found():
  """The search alone, without the way out to exact scores."""

  @tf.function(input_signature=[tf.TensorSpec([None, _D]), tf.TensorSpec([], tf.int32)])
  def search(rows, num_neighbours):
    return score_search._search(rows, num_neighbours, 3)

  return search


@pytest.fixture(scope='module')
def measured():
  rules = {
    selected: krum.build_multi_krum(max_byzantine=4, num_selected=selected)
    for selected in (1, 3, 20)
  }

  def trace(rule):
    @tf.function(input_signature=[tf.TensorSpec([None, _D])])
    def apply(rows):
      output = rule.apply((), rows, tf.ones(tf.shape(rows)[:1]), tf.constant([0, 0], tf.int64))
      return output.aggregate, dict(output.measurements)

    return apply

  return {selected: trace(rule) for selected, rule in rules.items()}


@pytest.mark.parametrize(
  'change',
  [
    lambda rows: rows,
    lambda rows: rows + 100,
    lambda rows: np.abs(rows),
    lambda rows: 1e-15 * rows,
    lambda rows: 1e15 * rows,
    lambda rows: rows * np.array([1, 1e4, 1, 1, 1, 1, 1, 1, 1], np.float32)[:, None],
    lambda rows: np.where(np.arange(9)[:, None] < 3, rows[:1], rows),
  ],
)
def test_bounds_hold(change):
  rows = change(_rows(9)).astype(np.float32)
  truth = _squared(rows)
  low, high = tf.function(distances.bounds)(rows)
  assert np.all(low.numpy() <= truth)
  assert np.all(high.numpy() >= truth)


@pytest.mark.parametrize('num_rows', [9, 70])
@pytest.mark.parametrize('shift', [0, 30])
def test_bounds_are_close_wherever_the_rows_are(num_rows, shift):
  rows = _rows(num_rows) + np.float32(shift)
  truth = _squared(rows)
  low, high = (bound.numpy() for bound in distances.bounds(tf.constant(rows)))
  assert np.all(low <= truth)
  assert np.all(high >= truth)
  off_diagonal = ~np.eye(num_rows, dtype=bool)
  assert np.all((high - low)[off_diagonal] < 1e-3 * truth[off_diagonal])


@pytest.mark.parametrize(
  'chosen', [[5], [5, 2], [5, 2, 0], [5, 2, 0, 7], [5, 2, 0, 7, 1], [0, 1, 2, 3, 4, 5, 6]]
)
def test_distances_from_some_rows_equal_direct_differences(chosen):
  rows = _rows(8) + 50
  squared, trusted = distances.from_rows(tf.constant(rows), tf.constant(chosen))
  expected = _squared(rows)[chosen]
  expected[np.arange(len(chosen)), chosen] = np.inf
  np.testing.assert_allclose(squared, expected, rtol=1e-8)
  assert trusted


def test_distances_from_a_row_that_occurs_twice_are_not_trusted():
  rows = _rows(6)
  rows[4] = rows[1]
  assert not distances.from_rows(tf.constant(rows), tf.constant([3, 1]))[1]
  assert distances.from_rows(tf.constant(rows), tf.constant([3, 2]))[1]


def test_distances_of_rows_that_may_be_flushed_to_zero_are_not_trusted():
  rows = np.float32(1e-41) * _rows(6)
  assert not distances.from_rows(tf.constant(rows), tf.constant([0, 1]))[1]


@pytest.mark.parametrize('seed', range(5))
def test_search_alone_finds_the_lowest_scores(found, seed):
  rows = _rows(30, seed)
  scores, succeeded = found(rows, 30 - 4 - 2)
  expected = _krum_scores(rows, 4)
  assert succeeded
  order = np.argsort(expected)
  assert set(np.argsort(scores)[:3]) == set(order[:3])
  np.testing.assert_allclose(np.sort(scores)[2:4], expected[order][2:4], rtol=1e-8)


@pytest.mark.parametrize('bad', [np.nan, np.inf, 1e30])
def test_search_gives_up_on_rows_without_a_finite_square(found, bad):
  rows = _rows(30)
  rows[7] = bad
  assert not found(rows, 24)[1]


def test_search_gives_up_where_all_rows_are_alike(found):
  rows = np.tile(_rows(1), [30, 1])
  assert not found(rows, 24)[1]


@pytest.mark.parametrize('selected', [1, 3, 20])
@pytest.mark.parametrize(
  'change',
  [
    lambda rows: rows,
    lambda rows: 10 + 1e-2 * rows,
    lambda rows: 1e-30 * rows,
    lambda rows: 1e-41 * rows,
    lambda rows: np.where(np.arange(30)[:, None] < 4, 30 * rows, rows),
  ],
)
def test_selection_and_gap_are_those_of_float64(measured, selected, change):
  rows = change(_rows(30, seed=selected)).astype(np.float32)
  expected = _krum_scores(rows, 4)
  aggregate, measurements = measured[selected](rows)
  chosen = np.sort(np.argsort(expected)[:selected])
  np.testing.assert_array_equal(np.where(measurements['selected'])[0], chosen)
  ordered = np.sort(expected)
  gap = ordered[selected] - ordered[selected - 1]
  np.testing.assert_allclose(measurements['score_gap'], gap, rtol=1e-4)
  mean = rows[chosen].astype(np.float64).mean(0)
  np.testing.assert_allclose(aggregate, mean, rtol=1e-6, atol=1e-6 * np.abs(rows).max() + 1e-40)


def test_first_of_identical_rows_is_chosen(measured):
  rows = _rows(30)
  rows[[6, 11, 23]] = rows[[6, 11, 23]].mean(0)
  _, measurements = measured[1](rows)
  np.testing.assert_array_equal(np.where(measurements['selected'])[0], [6])
  assert measurements['score_gap'] == 0


@pytest.mark.parametrize('bad', [np.nan, 3e38])
def test_bad_rows_are_not_selected(measured, bad):
  rows = _rows(30)
  rows[[0, 9]] = bad
  _, measurements = measured[3](rows)
  kept = np.delete(np.arange(30), [0, 9])
  # Two of four Byzantine rows are gone, and with them two of the neighbours that do not count.
  expected = kept[np.argsort(_krum_scores(rows[kept], 2))[:3]]
  np.testing.assert_array_equal(np.where(measurements['selected'])[0], np.sort(expected))


def test_bounds_are_not_used_where_float32_may_have_fewer_digits(monkeypatch):
  wide = tf.zeros([3, _D])
  assert score_search.pays(wide)
  assert not score_search.pays(tf.zeros([3, 10]))
  monkeypatch.setenv('ONEDNN_DEFAULT_FPMATH_MODE', 'BF16')
  assert not score_search.pays(wide)


def test_bounds_are_not_used_where_the_optimizer_may_take_digits():
  wide = tf.zeros([3, _D])
  option = 'auto_mixed_precision_onednn_bfloat16'
  try:
    tf.config.optimizer.set_experimental_options({option: True})
    assert not score_search.pays(wide)
  finally:
    tf.config.optimizer.set_experimental_options({option: False})
  assert score_search.pays(wide)


@pytest.mark.parametrize('num_rows', [9, 10])
def test_few_rows_are_all_scored_at_once(monkeypatch, num_rows):
  monkeypatch.setattr(score_search, '_FEWEST_ROWS', 10)
  rows = _rows(num_rows)
  asked = []

  def all_scores():
    asked.append(True)
    return tf.constant(_krum_scores(rows, 2)), tf.fill([num_rows], True)

  scores, _ = score_search.lowest_scores(
    tf.constant(rows), all_scores, num_neighbours=num_rows - 4, num_selected=1
  )
  assert np.argmin(scores) == np.argmin(_krum_scores(rows, 2))
  assert bool(asked) == (num_rows < 10)


def test_ties_between_different_rows_go_to_the_first():
  rule = krum.build_krum(max_byzantine=10)

  @tf.function(input_signature=[tf.TensorSpec([None, 5000])])
  def measure(rows):
    seed = tf.constant([0, 0], tf.int64)
    return dict(rule.apply((), rows, tf.ones([51]), seed).measurements)

  for seed in (0, 22, 32, 50, 75):
    generator = np.random.default_rng(seed)
    # Of whole numbers, so that sums are exact: rows reflected in one have the same score.
    center = generator.integers(-1, 2, size=5000)
    offsets = generator.integers(-1, 2, size=(25, 5000))
    rows = np.concatenate([center + offsets, center - offsets, [center + 100]])
    rows = rows[generator.permutation(51)].astype(np.float32)
    expected = _krum_scores(rows, 10)
    assert np.sum(expected == expected.min()) == 2
    measurements = measure(rows)
    chosen = np.where(measurements['selected'])[0]
    np.testing.assert_array_equal(chosen, [np.argmin(expected)])
    assert measurements['score_gap'] == 0
