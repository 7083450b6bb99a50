"""An attack's state must pass through a federated computation unchanged in type."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_robust.aggregators import krum
from tff_robust.attacks import attack, inner_product_manipulation, mimic, optimal_attack, replay

_BUILT = [
  inner_product_manipulation.build_inner_product_manipulation(epsilon=0.5),
  mimic.build_mimic(num_warmup_rounds=2),
  replay.build_replay(delay=2),
  optimal_attack.build_optimal_ipm(rule=krum.build_krum(max_byzantine=1), num_evaluations=3),
]


@pytest.mark.parametrize('built', _BUILT, ids=lambda built: built.name)
def test_state_keeps_its_federated_type(built):
  @tff.tensorflow.computation
  def initial():
    return collections.OrderedDict(memory=built.init(5))

  rows = tff.TensorType(np.float32, [None, 5])

  @tff.tensorflow.computation(initial.type_signature.result, rows, rows)
  @tf.function(autograph=False)
  def play(state, messages, own):
    view = attack.View(messages, own, tf.constant(0, tf.int64))
    memory, sent = built.apply(state['memory'], view, tf.constant([1, 2], tf.int64))
    return collections.OrderedDict(memory=memory), sent

  following, sent = play.type_signature.result
  assert following.is_equivalent_to(initial.type_signature.result)
  assert str(sent) == 'float32[?,5]'
