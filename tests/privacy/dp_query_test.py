"""Tests of tff_robust/privacy/dp_query.py."""

import dp_accounting
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_privacy as tfp

from tff_robust.privacy import dp_query

_SEED = np.array([11, -5], np.int64)


def _noise(seed, shapes=((50_000,), (50_000,)), stddev=2.0):
  query = dp_query.SeededGaussianSumQuery(1.0, stddev, seed)
  zeros = [tf.zeros(shape) for shape in shapes]
  result, state, _ = query.get_noised_result(zeros, query.initial_global_state())
  return [part.numpy() for part in result], state


def test_same_seed_gives_the_same_noise_and_another_seed_another():
  first, _ = _noise(_SEED)
  again, _ = _noise(_SEED)
  other, _ = _noise(_SEED + 1)
  np.testing.assert_array_equal(first[0], again[0])
  assert not np.any(first[0] == other[0])


def test_leaves_have_independent_noise_of_the_stated_standard_deviation():
  (left, right), _ = _noise(_SEED)
  assert abs(np.corrcoef(left, right)[0, 1]) < 5 / np.sqrt(50_000)
  for part in (left, right):
    assert np.std(part) == pytest.approx(2.0, rel=0.02)
    assert abs(np.mean(part)) < 5 * 2.0 / np.sqrt(50_000)


def test_next_state_does_not_repeat_noise():
  first, state = _noise(_SEED)
  second, _ = _noise(state.seed)
  assert not np.any(first[0] == second[0])
  assert abs(np.corrcoef(first[0], second[0])[0, 1]) < 5 / np.sqrt(50_000)


def test_event_and_sum_are_those_of_tf_privacy():
  ours = dp_query.SeededGaussianSumQuery(3.0, 0.0, _SEED)
  theirs = tfp.GaussianSumQuery(3.0, 0.0)
  records = [[tf.constant([3.0, 4.0]), tf.constant([[12.0]])], [tf.ones([2]), tf.zeros([1, 1])]]
  results = []
  for query in (ours, theirs):
    state = query.initial_global_state()
    params = query.derive_sample_params(state)
    sample = query.initial_sample_state(records[0])
    for record in records:
      sample = query.accumulate_record(params, sample, record)
    results.append(query.get_noised_result(sample, state))
  for got, want in zip(results[0][0], results[1][0], strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-5)
  _, _, event = dp_query.SeededGaussianSumQuery(2.0, 3.0, _SEED).get_noised_result(
    tf.zeros([1]), dp_query.SeededGaussianSumQuery(2.0, 3.0, _SEED).initial_global_state()
  )
  assert isinstance(event, dp_accounting.GaussianDpEvent)
  assert float(event.noise_multiplier) == pytest.approx(1.5)


@pytest.mark.parametrize('scale', [1e-3, 1.0, 1e6])
@pytest.mark.parametrize('constant', [False, True])
def test_clipped_norm_never_exceeds_the_clip_norm(scale, constant):
  draw = np.ones if constant else np.random.default_rng(1).normal
  record = (scale * (draw(300_000) if constant else draw(size=300_000))).astype(np.float32)
  query = dp_query.SeededGaussianSumQuery(0.7, 0.0, _SEED)
  parts = query.preprocess_record(tf.constant(0.7), [record[:100_000], record[100_000:]])
  clipped = np.concatenate([part.numpy() for part in parts]).astype(np.float64)
  norm = np.linalg.norm(record.astype(np.float64))
  assert np.linalg.norm(clipped) <= 0.7 * (1 + 1e-6)
  assert np.linalg.norm(clipped) == pytest.approx(min(norm, 0.7), rel=1e-5)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_non_finite_record_becomes_nan_in_every_coordinate(bad):
  query = dp_query.SeededGaussianSumQuery(1.0, 0.0, _SEED)
  clipped = query.preprocess_record(tf.constant(1.0), [tf.constant([1.0, bad]), tf.ones([2])])
  assert all(np.isnan(part).all() for part in clipped)


def test_zero_record_stays_zero():
  query = dp_query.SeededGaussianSumQuery(1.0, 0.0, _SEED)
  (clipped,) = query.preprocess_record(tf.constant(1.0), [tf.zeros([3])])
  np.testing.assert_array_equal(clipped, np.zeros(3))


def test_refuses_to_invent_a_seed():
  query = dp_query.build_gradient_query(
    l2_norm_clip=1.0,
    noise_multiplier=1.0,
    expected_batch_size=10,
    clip_unit='example',
    noise_scale='sum_then_divide',
  )
  with pytest.raises(ValueError, match='seed=None'):
    query.initial_global_state()


def test_event_of_the_default_query_is_the_noise_multiplier():
  query = dp_query.build_gradient_query(
    l2_norm_clip=4.0,
    noise_multiplier=1.3,
    expected_batch_size=10,
    clip_unit='example',
    noise_scale='sum_then_divide',
    seed=_SEED,
  )
  assert isinstance(query, tfp.NormalizedQuery)
  _, _, event = query.get_noised_result(tf.zeros([2]), query.initial_global_state())
  assert float(event.noise_multiplier) == pytest.approx(1.3)
