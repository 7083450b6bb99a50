import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import attack, mimic


def _heterogeneous(seed, rows=20, columns=12):
  """Rows that differ mostly along one fixed direction."""
  generator = np.random.default_rng(seed)
  top = np.random.default_rng(99).normal(size=columns)
  top /= np.linalg.norm(top)
  along = 4.0 * generator.choice([-1.0, 1.0], size=(rows, 1))
  return (generator.normal(size=(rows, columns)) + along * top).astype(np.float32), top


def _run(built, state, honest, num_byzantine, seed=0):
  view = attack.View(
    tf.constant(honest), tf.zeros([num_byzantine, honest.shape[1]]), tf.constant(0, tf.int64)
  )
  return built.apply(state, view, tf.constant([seed, 1], tf.int64))


def test_copies_the_honest_row_furthest_along_the_direction():
  honest, top = _heterogeneous(0)
  sent = mimic.mimic(honest, top, num_byzantine=3).numpy()
  expected = honest[np.abs(honest @ top).argmax()]
  np.testing.assert_array_equal(sent, np.stack([expected] * 3))


def test_never_copies_a_row_that_is_not_finite():
  honest, top = _heterogeneous(0)
  furthest = np.abs(honest @ top).argmax()
  honest[furthest, 0] = np.nan
  sent = mimic.mimic(honest, top, num_byzantine=1).numpy()
  known = np.delete(honest, furthest, axis=0)
  np.testing.assert_array_equal(sent[0], known[np.abs(known @ top).argmax()])


def test_learns_the_direction_in_which_clients_differ():
  built = mimic.build_mimic(num_warmup_rounds=15)
  state = built.init(12)
  for index in range(15):
    honest, top = _heterogeneous(index)
    state, _ = _run(built, state, honest, 2)
  assert abs(float(tf.reduce_sum(state.direction * top))) > 0.97
  assert float(tf.norm(state.direction)) == pytest.approx(1.0)
  first, _ = _run(built, built.init(12), np.random.default_rng(0).normal(size=(20, 12)), 2)
  assert abs(float(tf.reduce_sum(first.direction * top))) < 0.9


def test_follows_the_published_recursion():
  rounds = [_heterogeneous(index)[0].astype(np.float64) for index in range(3)]
  state = mimic.State(tf.zeros(12, tf.float64), tf.zeros(12, tf.float64), tf.constant(0, tf.int64))
  seeds = tf.constant([7, 8], tf.int64)
  z = tf.random.stateless_normal([12], seeds, dtype=tf.float64).numpy()
  z /= np.linalg.norm(z)
  center = np.zeros(12)
  for t, rows in enumerate(rounds):
    state = mimic.learn(state, tf.constant(rows), seeds)
    center = t / (t + 1) * center + rows.mean(axis=0) / (t + 1)
    offsets = rows - center
    pull = sum(offset * (offset @ z) for offset in offsets) / (offsets**2).sum()
    z = t / (t + 1) * z + pull / (t + 1)
    z /= np.linalg.norm(z)
  np.testing.assert_allclose(state.direction, z, rtol=1e-9)
  np.testing.assert_allclose(state.center, center, rtol=1e-9)
  assert int(state.num_learned) == 3


def test_stops_learning_after_the_warm_up():
  built = mimic.build_mimic(num_warmup_rounds=2)
  state = built.init(12)
  for index in range(2):
    state, _ = _run(built, state, _heterogeneous(index)[0], 2)
  later, _ = _run(built, state, _heterogeneous(5)[0], 2)
  np.testing.assert_array_equal(later.direction, state.direction)
  assert int(later.num_learned) == 2


def test_biases_the_mean_of_heterogeneous_clients_and_not_of_equal_ones():
  honest, top = _heterogeneous(3)
  sent = mimic.mimic(honest, top, num_byzantine=10).numpy()
  shift = np.linalg.norm(np.concatenate([honest, sent]).mean(axis=0) - honest.mean(axis=0))
  assert shift > 1.0
  equal = np.ones((20, 12), np.float32)
  sent = mimic.mimic(equal, top, num_byzantine=10).numpy()
  np.testing.assert_array_equal(sent, np.ones((10, 12)))


def test_refuses_to_learn_nothing():
  with pytest.raises(ValueError, match='attack_warmup_rounds=0'):
    mimic.build_mimic(num_warmup_rounds=0)
