import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import attack, perturbation

# Mean (3, -4), deviation (1, 2).
ROWS = [[2.0, -6.0], [4.0, -2.0]]


@pytest.mark.parametrize(
  ('name', 'expected'), [('unit', [-0.6, 0.8]), ('deviation', [-1.0, -2.0]), ('sign', [-1.0, 1.0])]
)
def test_directions_point_away_from_the_mean(name, expected):
  found = perturbation.direction(tf.constant(ROWS, tf.float64), name)
  np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize('name', perturbation.DIRECTIONS)
def test_rows_that_are_all_zero_give_no_direction(name):
  found = perturbation.direction(tf.zeros([3, 2], tf.float64), name)
  np.testing.assert_array_equal(found, [0.0, 0.0])


def test_attack_steps_from_what_it_sees_for_all_attackers():
  def perturb(rows, *, num_byzantine, direction):
    towards = perturbation.direction(attack.finite_rows(rows), direction)
    return attack.repeat_row(10.0 * towards, num_byzantine)

  built = perturbation.build_attack('step', perturb, 'sign')
  assert built.name == 'step'
  view = attack.View(
    messages=tf.constant(ROWS),
    own_messages=tf.zeros([3, 2]),
    round_index=tf.constant(0, tf.int64),
  )
  _, sent = built.apply(built.init(2), view, tf.constant([0, 0], tf.int64))
  np.testing.assert_array_equal(sent, [[-10.0, 10.0]] * 3)


def test_unknown_direction_is_refused_when_the_attack_is_built():
  with pytest.raises(ValueError, match=r'attack_direction.*up'):
    perturbation.build_attack('step', lambda rows: rows, 'up')
