"""What every attack promises, whatever it sends."""

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import krum
from tff_robust.attacks import (
  a_little_is_enough,
  adaptive_krum,
  attack,
  fang_krum,
  fang_trimmed_mean,
  gaussian,
  infinite,
  inner_product_manipulation,
  mimic,
  min_max,
  min_sum,
  model_replacement,
  nan,
  noise_matched_ipm,
  optimal_attack,
  replay,
  sign_flip,
  zero,
)

_COLUMNS = 6
# Defined for every cohort in this file.
_RULE = krum.build_krum(max_byzantine=0)
_BUILT = [
  inner_product_manipulation.build_inner_product_manipulation(epsilon=0.5),
  sign_flip.build_sign_flip(),
  a_little_is_enough.build_a_little_is_enough(),
  min_max.build_min_max(direction='unit'),
  min_max.build_min_max(direction='deviation'),
  min_sum.build_min_sum(direction='sign'),
  adaptive_krum.build_adaptive_krum(max_byzantine=3),
  fang_krum.build_fang_krum(max_byzantine=3),
  fang_trimmed_mean.build_fang_trimmed_mean(),
  fang_trimmed_mean.build_fang_trimmed_mean_partial(),
  optimal_attack.build_optimal_ipm(rule=_RULE, num_evaluations=4),
  optimal_attack.build_optimal_alie(rule=_RULE, num_evaluations=4),
  mimic.build_mimic(num_warmup_rounds=2),
  noise_matched_ipm.build_noise_matched_ipm(epsilon=0.5),
  gaussian.build_gaussian(),
  zero.build_zero(),
  nan.build_nan(),
  infinite.build_infinite(),
  replay.build_replay(delay=2),
  model_replacement.build_model_replacement(scale=20.0, l2_norm_bound=5.0),
]
# Attacks that send no finite row, by their very name.
_MEANS_TO = {'nan', 'infinite'}


def _rows(count, seed=0):
  return (np.random.default_rng(seed).normal(size=(count, _COLUMNS)) + 0.5).astype(np.float32)


def _traced(built):
  rows = tf.TensorSpec([None, _COLUMNS], tf.float32)
  initial = tf.nest.map_structure(tf.convert_to_tensor, built.init(_COLUMNS))
  specs = tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape, value.dtype), initial)

  @tf.function(input_signature=[specs, rows, rows, tf.TensorSpec([], tf.int64)], autograph=False)
  def run(state, messages, own, round_index):
    view = attack.View(messages, own, round_index)
    return built.apply(state, view, tf.stack([round_index, tf.constant(7, tf.int64)]))

  return initial, run


@pytest.fixture(scope='module', params=_BUILT, ids=lambda built: built.name)
def traced(request):
  return request.param, *_traced(request.param)


def test_keeps_state_and_shapes_when_row_counts_are_unknown(traced):
  _, state, run = traced
  for round_index, (seen, own) in enumerate([(11, 5), (9, 1), (10, 0), (1, 3), (0, 2)]):
    following, sent = run(state, _rows(seen), _rows(own, 1), tf.constant(round_index, tf.int64))
    assert sent.shape == (own, _COLUMNS)
    assert sent.dtype == tf.float32
    tf.nest.assert_same_structure(state, following)
    for before, after in zip(tf.nest.flatten(state), tf.nest.flatten(following), strict=True):
      assert (before.shape, before.dtype) == (after.shape, after.dtype)
    state = following
  assert run.experimental_get_tracing_count() == 1


def test_sends_finite_rows_although_it_sees_others(traced):
  built, state, run = traced
  clean, own = _rows(11), _rows(3, 1)
  bad = np.full((2, _COLUMNS), np.nan, np.float32)
  bad[1] = 1.0
  bad[1, 2] = np.inf
  for seen, sent_honestly in (
    (np.concatenate([clean[:4], bad[:1], clean[4:], bad[1:]]), own),
    (np.concatenate([bad, bad]), np.full_like(own, np.nan)),
  ):
    sent = run(state, seen, sent_honestly, tf.constant(0, tf.int64))[1].numpy()
    assert np.isfinite(sent).all() == (built.name not in _MEANS_TO)


def test_repeats_itself_for_the_same_seed(traced):
  _, state, run = traced
  arguments = (state, _rows(11), _rows(3, 1), tf.constant(4, tf.int64))
  np.testing.assert_array_equal(run(*arguments)[1], run(*arguments)[1])


def test_does_not_overflow_on_the_largest_finite_values(traced):
  built, state, run = traced
  huge = np.where(_rows(11) > 0.5, np.float32(3e38), np.float32(-3e38)).astype(np.float32)
  sent = run(state, huge, huge[:3], tf.constant(0, tf.int64))[1].numpy()
  assert np.isfinite(sent).all() == (built.name not in _MEANS_TO)


def test_names_only_known_knowledge(traced):
  built, _, _ = traced
  assert built.knowledge_modes
  assert set(built.knowledge_modes) <= set(attack.KNOWLEDGE)
