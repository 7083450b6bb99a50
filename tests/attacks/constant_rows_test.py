import numpy as np
import tensorflow as tf

from tff_robust.attacks import attack, constant_rows


def test_attack_sends_as_many_rows_as_there_are_attackers_and_looks_at_nothing():
  built = constant_rows.build_attack(
    'three', lambda **shape: constant_rows.constant_rows(3.0, **shape)
  )
  assert built.name == 'three'
  assert built.knowledge_modes == ('own_messages',)
  view = attack.View(
    messages=tf.fill([7, 4], np.float32('nan')),
    own_messages=tf.ones([2, 4]),
    round_index=tf.constant(0, tf.int64),
  )
  state, sent = built.apply(built.init(4), view, tf.constant([0, 0], tf.int64))
  assert state == ()
  assert sent.dtype == tf.float32
  np.testing.assert_array_equal(sent, np.full((2, 4), 3.0))
