import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import column_blocks, mean, zeno
from tff_robust.aggregators import rule as rule_lib
from tff_robust.testing.oracles import rooted_rules

_D = 37


class Bowl:
  """A loss with its minimum at `centre`, for a model that is at the origin."""

  def __init__(self, centre):
    self.centre = np.asarray(centre, np.float64)

  def loss(self, weights):
    return ((weights - self.centre) ** 2).sum(axis=-1) / 2

  def view(self, learning_rate=1.0):
    def loss_after(step):
      return tf.reduce_sum(tf.square(-tf.cast(step, tf.float64) - self.centre)) / 2

    return rule_lib.RootView(tf.zeros(len(self.centre)), loss_after, learning_rate)


def measured(rule, rows, view):
  @tf.function(input_signature=[tf.TensorSpec([None, np.shape(rows)[1]])])
  def traced(updates):
    output = rule.apply((), updates, tf.ones(tf.shape(updates)[:1]), [1, 2], view)
    return output.aggregate, dict(output.measurements)

  aggregate, measurements = traced(np.asarray(rows, np.float32))
  return aggregate.numpy(), {name: value.numpy() for name, value in measurements.items()}


def sample(num_rows=11, seed=0):
  generator = np.random.default_rng(seed)
  return generator.normal(size=[num_rows, _D]).astype(np.float32), generator.normal(size=num_rows)


def aggregate_of(rows, decreases, max_byzantine=3, norm_penalty=0.01):
  return zeno.zeno(
    rows, loss_decreases=decreases, max_byzantine=max_byzantine, norm_penalty=norm_penalty
  ).numpy()


@pytest.mark.parametrize(('n', 'f'), [(1, 0), (4, 3), (11, 5), (25, 24), (30, 0)])
@pytest.mark.parametrize('norm_penalty', [0.0, 0.05])
def test_equals_the_definition(n, f, norm_penalty):
  rows, decreases = sample(n, seed=n)
  rows *= np.linspace(0.1, 3, n, dtype=np.float32)[:, np.newaxis]
  expected, _ = rooted_rules.zeno_with_selection(rows, decreases, f, norm_penalty)
  found = aggregate_of(rows, decreases, f, norm_penalty)
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
  assert found.dtype == np.float32


def test_hand_computed_round():
  # Scores 3 - 0.1 * 25 = 0.5, 2 - 0.1 * 4 = 1.6, 1 - 0.1 * 1 = 0.9 and -1 - 0.1 * 1 = -1.1.
  rows, decreases = [[3, 4], [2, 0], [0, 1], [-1, 0]], [3, 2, 1, -1]
  found = zeno.scores(np.array(rows, np.float32), loss_decreases=decreases, norm_penalty=0.1)
  np.testing.assert_allclose(found, [0.5, 1.6, 0.9, -1.1])
  np.testing.assert_array_equal(np.mean(rows, axis=0), [1, 1.25])
  np.testing.assert_array_equal(np.median(rows, axis=0), [1, 0.5])
  np.testing.assert_allclose(
    aggregate_of(np.array(rows, np.float32), decreases, 1, 0.1), [5 / 3, 5 / 3], rtol=1e-6
  )


def test_order_of_rows_changes_nothing():
  rows, decreases = sample()
  order = np.random.default_rng(1).permutation(len(rows))
  np.testing.assert_allclose(
    aggregate_of(rows[order], decreases[order]), aggregate_of(rows, decreases), rtol=1e-5, atol=1e-6
  )


def test_smallest_row_index_wins_ties():
  rows = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
  np.testing.assert_array_equal(aggregate_of(rows, np.ones(4), 3), [1, 0])
  np.testing.assert_array_equal(aggregate_of(rows, np.ones(4), 2), [0.5, 0.5])


def test_duplicates_are_no_obstacle():
  rows, decreases = sample()
  rows[:8], decreases[:8] = rows[0], decreases.max() + 1
  np.testing.assert_allclose(aggregate_of(rows, decreases), rows[0], rtol=1e-6)


def test_wide_updates_are_taken_block_by_block():
  width = 2 * column_blocks.MOST_COLUMNS + 5
  rows = np.random.default_rng(3).normal(size=[4, width]).astype(np.float32)
  decreases = np.array([1.0, 2.0, 3.0, 4.0])
  expected, _ = rooted_rules.zeno_with_selection(rows, decreases, 2, 1e-4)
  np.testing.assert_allclose(aggregate_of(rows, decreases, 2, 1e-4), expected, atol=1e-6)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_nonfinite_rows_and_scores_come_last(bad):
  rows, decreases = sample()
  rows[4, 5], decreases[4] = bad, 1e9
  decreases[7] = bad
  expected, best = rooted_rules.zeno_with_selection(rows, decreases, 3, 0.01)
  assert not {4, 7} & set(best)
  np.testing.assert_allclose(aggregate_of(rows, decreases), expected, rtol=1e-6, atol=1e-7)
  found = zeno.scores(rows, loss_decreases=decreases, norm_penalty=0.01).numpy()
  np.testing.assert_array_equal(found[[4, 7]], [-np.inf, -np.inf])


@pytest.mark.parametrize('value', [1e6, 1e30, -3e38])
def test_far_rows_are_left_out(value):
  centre = -np.linspace(1, 2, _D)
  rows = (np.random.default_rng(0).normal(size=[11, _D]) - centre).astype(np.float32)
  rows[:3] = value
  aggregate, measurements = measured(zeno.build_zeno(max_byzantine=3), rows, Bowl(centre).view())
  np.testing.assert_allclose(aggregate, rows[3:].mean(axis=0, dtype=np.float64), rtol=1e-5)
  assert measurements['num_nonfinite'] == 0
  assert np.linalg.norm(mean.mean(rows).numpy().astype(np.float64)) > 1e4 * np.linalg.norm(centre)


def test_selects_the_honest_minority_that_lowers_the_loss():
  centre = -np.linspace(1, 2, _D)
  rows = (np.random.default_rng(0).normal(size=[11, _D]) - centre).astype(np.float32)
  rows[[0, 1, 2, 4, 5, 6, 9]] = -0.5 * rows[[3, 7, 8, 10]].mean(axis=0)
  aggregate, measurements = measured(zeno.build_zeno(max_byzantine=7), rows, Bowl(centre).view())
  assert np.flatnonzero(measurements['selected']).tolist() == [3, 7, 8, 10]
  assert not measurements['round_rejected']
  # Updates are subtracted: the descent direction is the one from the centre to the origin.
  assert aggregate @ -centre > 0
  assert Bowl(centre).loss(-aggregate) < Bowl(centre).loss(np.zeros(_D))


@pytest.mark.parametrize(
  ('options', 'learning_rate', 'step', 'penalty'),
  [
    ({}, 0.4, 0.4, 0.002),
    ({'trial_learning_rate': 0.2}, 1.0, 0.2, 0.001),
    ({'norm_penalty': 0.3}, 0.5, 0.5, 0.3),
    ({'trial_learning_rate': 1.5, 'norm_penalty': 0.0}, 1.0, 1.5, 0.0),
  ],
)
def test_tries_each_update_with_the_learning_rate(options, learning_rate, step, penalty):
  bowl = Bowl(np.random.default_rng(5).normal(size=6))
  rows = np.random.default_rng(6).normal(size=[9, 6]).astype(np.float32)
  decreases = bowl.loss(np.zeros(6)) - bowl.loss(-step * rows.astype(np.float64))
  expected, best = rooted_rules.zeno_with_selection(rows, decreases, 4, penalty)
  rule = zeno.build_zeno(max_byzantine=4, **options)
  aggregate, measurements = measured(rule, rows, bowl.view(learning_rate))
  np.testing.assert_allclose(aggregate, expected, rtol=1e-5, atol=1e-6)
  assert np.flatnonzero(measurements['selected']).tolist() == best
  scores = np.sort(decreases - penalty * (rows.astype(np.float64) ** 2).sum(axis=1))
  np.testing.assert_allclose(measurements['score_gap'], scores[4] - scores[3], rtol=1e-4)


def test_more_unusable_rows_than_declared_reject_the_round():
  rows, _ = sample()
  view, rule = Bowl(np.ones(_D)).view(), zeno.build_zeno(max_byzantine=2)
  rows[:2, 0] = np.nan
  aggregate, measurements = measured(rule, rows, view)
  assert np.isfinite(aggregate).all()
  assert measurements['num_nonfinite'] == 2
  assert not measurements['round_rejected']
  assert not measurements['selected'][:2].any()
  assert measurements['score_gap'] == 0
  rows[2, 0] = np.inf
  aggregate, measurements = measured(rule, rows, view)
  np.testing.assert_array_equal(aggregate, np.zeros(_D))
  assert measurements['round_rejected']
  assert not measurements['selected'].any()
  assert measurements['score_gap'] == 0


def test_model_whose_loss_is_no_number_rejects_the_round():
  view = rule_lib.RootView(tf.zeros(_D), lambda step: tf.reduce_sum(step) * float('nan'))
  aggregate, measurements = measured(zeno.build_zeno(max_byzantine=2), sample()[0], view)
  np.testing.assert_array_equal(aggregate, np.zeros(_D))
  assert measurements['round_rejected']
  assert measurements['num_nonfinite'] == 0


def test_is_defined_with_one_honest_client_and_not_with_none():
  rows, _ = sample(4)
  view, rule = Bowl(np.ones(_D)).view(), zeno.build_zeno(max_byzantine=3)
  assert measured(rule, rows, view)[1]['selected'].sum() == 1
  with pytest.raises(tf.errors.InvalidArgumentError, match=r'zeno.* needs at least 4 clients'):
    measured(rule, rows[1:], view)
  with pytest.raises(ValueError, match=r'zeno.* needs at least 4 clients'):
    zeno.zeno(rows[1:], loss_decreases=np.ones(3), max_byzantine=3, norm_penalty=0.0)


@pytest.mark.parametrize(
  'options',
  [
    {'max_byzantine': -1},
    {'max_byzantine': 1, 'trial_learning_rate': 0.0},
    {'max_byzantine': 1, 'norm_penalty': -0.1},
  ],
)
def test_options_out_of_range_are_refused(options):
  name, value = list(options.items())[-1]
  with pytest.raises(ValueError, match=f'{name}={value}'):
    zeno.build_zeno(**options)
