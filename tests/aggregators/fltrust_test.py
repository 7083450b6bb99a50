import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import column_blocks, fltrust, mean
from tff_robust.aggregators import rule as rule_lib
from tff_robust.testing.oracles import rooted_rules

_D = 37


def measured(rows, root):
  rule = fltrust.build_fltrust()

  @tf.function(input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None])])
  def traced(updates, update):
    view = rule_lib.RootView(update, lambda step: tf.reduce_sum(step))
    output = rule.apply((), updates, tf.ones(tf.shape(updates)[:1]), [1, 2], view)
    return output.aggregate, dict(output.measurements)

  aggregate, measurements = traced(np.asarray(rows, np.float32), np.asarray(root, np.float32))
  return aggregate.numpy(), {name: value.numpy() for name, value in measurements.items()}


def sample(num_rows=11, seed=0):
  generator = np.random.default_rng(seed)
  root = generator.normal(size=_D)
  rows = generator.normal(size=[num_rows, _D]) * generator.uniform(0.1, 9, size=[num_rows, 1])
  return (rows + root).astype(np.float32), root.astype(np.float32)


@pytest.mark.parametrize('num_rows', [1, 2, 11, 30])
def test_equals_the_formula_of_the_paper(num_rows):
  rows, root = sample(num_rows, seed=num_rows)
  expected, trusts = rooted_rules.fltrust_with_trusts(rows, root)
  aggregate, measurements = measured(rows, root)
  np.testing.assert_allclose(aggregate, expected, rtol=1e-6, atol=1e-7)
  np.testing.assert_allclose(measurements['trust'], trusts, rtol=1e-12)
  assert measurements['trust'].dtype == np.float64
  assert aggregate.dtype == np.float32
  np.testing.assert_array_equal(aggregate, fltrust.fltrust(rows, root_update=root))


def test_hand_computed_round():
  # Root update (2, 0). (3, 4) has cosine 3/5 and is rescaled to (6, 8) / 5; (0, -7) and
  # (-1, 0) have none; (9, 0) has cosine 1 and is rescaled to (2, 0).
  rows = [[3, 4], [0, -7], [9, 0], [-1, 0]]
  aggregate, measurements = measured(rows, [2, 0])
  np.testing.assert_allclose(measurements['trust'], [0.6, 0, 1, 0])
  np.testing.assert_allclose(aggregate, [(0.6 * 1.2 + 2) / 1.6, 0.6 * 1.6 / 1.6], rtol=1e-6)
  np.testing.assert_array_equal(np.mean(rows, axis=0), [2.75, -0.75])
  np.testing.assert_array_equal(np.median(rows, axis=0), [1.5, 0])


def test_wide_updates_are_taken_block_by_block():
  width = 2 * column_blocks.MOST_COLUMNS + 5
  generator = np.random.default_rng(3)
  root = generator.normal(size=width).astype(np.float32)
  rows = root + generator.normal(size=[4, width]).astype(np.float32)
  np.testing.assert_allclose(
    measured(rows, root)[0], rooted_rules.fltrust_with_trusts(rows, root)[0], rtol=1e-5, atol=1e-6
  )


def test_order_of_rows_changes_nothing():
  rows, root = sample()
  order = np.random.default_rng(1).permutation(len(rows))
  np.testing.assert_allclose(
    measured(rows[order], root)[0], measured(rows, root)[0], rtol=1e-5, atol=1e-6
  )


def test_lengths_of_rows_change_nothing_and_that_of_the_root_update_scales():
  rows, root = sample()
  expected = measured(rows, root)[0]
  lengths = np.geomspace(1e-6, 1e6, len(rows), dtype=np.float32)[:, np.newaxis]
  np.testing.assert_allclose(measured(lengths * rows, root)[0], expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(measured(rows, 8 * root)[0], 8 * expected, rtol=1e-6)


def test_returns_the_shared_direction_when_all_rows_agree():
  root = np.array([0, 3, 4], np.float32)
  aggregate, _ = measured(np.tile([1, 2, 2], [5, 1]), root)
  np.testing.assert_allclose(aggregate, 5 * np.array([1, 2, 2]) / 3, rtol=1e-6)


@pytest.mark.parametrize('epsilon', [0.01, 0.5, 10])
@pytest.mark.parametrize('num_byzantine', [3, 10])
def test_rows_of_an_inner_product_manipulation_get_no_trust(epsilon, num_byzantine):
  generator = np.random.default_rng(4)
  root = generator.normal(size=_D).astype(np.float32)
  rows = (root + generator.normal(size=[11, _D])).astype(np.float32)
  honest = rows[num_byzantine:]
  assert honest.mean(axis=0) @ root > 0
  rows[:num_byzantine] = -epsilon * honest.mean(axis=0)
  aggregate, measurements = measured(rows, root)
  assert not measurements['trust'][:num_byzantine].any()
  np.testing.assert_array_equal(aggregate, measured(honest, root)[0])
  if epsilon * num_byzantine > len(honest):
    assert mean.mean(rows).numpy() @ root < 0


@pytest.mark.parametrize('value', [1e6, 1e30, -3e38])
def test_aggregate_is_never_longer_than_the_root_update_nor_against_it(value):
  rows, root = sample()
  rows[:9] = value
  aggregate = measured(rows, root)[0].astype(np.float64)
  assert np.isfinite(aggregate).all()
  assert np.linalg.norm(aggregate) <= (1 + 1e-6) * np.linalg.norm(root)
  assert aggregate @ root > 0
  assert np.linalg.norm(mean.mean(rows).numpy().astype(np.float64)) > 1e4 * np.linalg.norm(root)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_get_no_trust_and_are_counted(bad):
  rows, root = sample()
  rows[[2, 5, 6], [0, 3, 36]] = bad
  aggregate, measurements = measured(rows, root)
  assert measurements['num_nonfinite'] == 3
  assert not measurements['round_rejected']
  assert not measurements['trust'][[2, 5, 6]].any()
  kept = np.isfinite(rows).all(axis=1)
  expected, _ = rooted_rules.fltrust_with_trusts(rows[kept], root)
  np.testing.assert_allclose(aggregate, expected, rtol=1e-6, atol=1e-7)


def test_zero_rows_get_no_trust():
  rows, root = sample()
  expected = measured(rows[1:], root)[0]
  rows[0] = 0
  np.testing.assert_allclose(measured(rows, root)[0], expected, rtol=1e-6)


@pytest.mark.parametrize('root', [np.zeros(_D), np.full(_D, np.nan), [np.inf] * _D])
def test_round_is_rejected_without_a_direction_at_the_server(root):
  aggregate, measurements = measured(sample()[0], root)
  np.testing.assert_array_equal(aggregate, np.zeros(_D))
  assert measurements['round_rejected']
  assert not measurements['trust'].any()


@pytest.mark.parametrize('spoil', [lambda rows, root: -root, lambda rows, root: rows * np.nan])
def test_round_is_rejected_when_nobody_is_trusted(spoil):
  rows, root = sample()
  aggregate, measurements = measured(np.broadcast_to(spoil(rows, root), rows.shape), root)
  np.testing.assert_array_equal(aggregate, np.zeros(_D))
  assert measurements['round_rejected']


def test_the_largest_root_updates_give_finite_aggregates():
  # The norm of this root update is no float32, and all of it goes to one coordinate.
  aggregate, measurements = measured([[1.0, 0.0]], [3e38, 3e38])
  assert aggregate.tolist() == [np.finfo(np.float32).max, 0.0]
  assert not measurements['round_rejected']


def test_a_root_update_of_other_coordinates_is_refused():
  with pytest.raises(
    ValueError, match=r'root_update has shape \(4,\); it must be \[5\], one entry a'
  ):
    fltrust.fltrust(np.ones([9, 5], np.float32), root_update=np.ones(4))


def test_round_without_clients_is_refused():
  with pytest.raises(ValueError, match=r'fltrust.* needs at least 1 clients'):
    fltrust.fltrust(np.zeros([0, 3], np.float32), root_update=np.ones(3))
  with pytest.raises(tf.errors.InvalidArgumentError, match=r'fltrust.* needs at least 1 clients'):
    measured(np.zeros([0, 3]), np.ones(3))
