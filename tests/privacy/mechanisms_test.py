"""Tests of tff_robust/privacy/mechanisms.py."""

import dataclasses

import numpy as np
import pytest

from tff_robust.privacy import mechanisms

# (clip_unit, noise_scale, noise std, sensitivity, effective z, largest norm of the signal
# of a batch of 10), worked out by hand for C=5, z=0.8, B=10.
_BY_HAND = [
  ('example', 'sum_then_divide', 0.4, 0.5, 0.8, 5.0),
  ('example', 'on_mean', 4.0, 0.5, 8.0, 5.0),
  ('example', 'per_example_sum', 12.649111, 5.0, 2.5298221, 50.0),
  ('minibatch_mean', 'sum_then_divide', 0.4, 10.0, 0.04, 5.0),
  ('minibatch_mean', 'on_mean', 4.0, 10.0, 0.4, 5.0),
  ('minibatch_mean', 'per_example_sum', 12.649111, 100.0, 0.12649111, 50.0),
]


def _mechanism(**changes) -> mechanisms.Mechanism:
  values = {'l2_norm_clip': 5.0, 'noise_multiplier': 0.8, 'expected_batch_size': 10}
  return mechanisms.Mechanism(**{**values, **changes})


@pytest.mark.parametrize(
  ('clip_unit', 'noise_scale', 'stddev', 'sensitivity', 'effective', 'signal'), _BY_HAND
)
def test_figures_equal_those_worked_out_by_hand(
  clip_unit, noise_scale, stddev, sensitivity, effective, signal
):
  mechanism = _mechanism(clip_unit=clip_unit, noise_scale=noise_scale)
  assert mechanism.noise_stddev == pytest.approx(stddev, rel=1e-6)
  assert mechanism.sensitivity == pytest.approx(sensitivity, rel=1e-6)
  assert mechanism.effective_noise_multiplier == pytest.approx(effective, rel=1e-6)
  # A client's data set moves a signal of norm S by at most 2 S.
  by_client = mechanism.client_noise_multiplier(max_batch_size=10)
  assert by_client == pytest.approx(stddev / (2 * signal), rel=1e-6)


def test_covers_every_pair_of_names():
  pairs = {(row[0], row[1]) for row in _BY_HAND}
  assert pairs == {(u, s) for u in mechanisms.CLIP_UNITS for s in mechanisms.NOISE_SCALES}


def test_replacing_an_example_halves_the_multiplier_only_when_examples_are_clipped():
  assert _mechanism().replacement_noise_multiplier == pytest.approx(0.4)
  mean = _mechanism(clip_unit='minibatch_mean', noise_scale='on_mean')
  assert mean.replacement_noise_multiplier == pytest.approx(0.4)
  assert mean.effective_noise_multiplier == pytest.approx(0.4)


def test_default_is_dp_sgd_and_values_are_frozen():
  mechanism = _mechanism()
  assert (mechanism.clip_unit, mechanism.noise_scale) == ('example', 'sum_then_divide')
  with pytest.raises(dataclasses.FrozenInstanceError):
    mechanism.noise_multiplier = 2.0


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'l2_norm_clip': 0.0}, 'l2_norm_clip=0.0'),
    ({'l2_norm_clip': float('nan')}, 'l2_norm_clip=nan'),
    ({'l2_norm_clip': 1e-16}, 'l2_norm_clip=1e-16 must lie between 1e-15 and 1e'),
    ({'l2_norm_clip': 1e300}, r'l2_norm_clip=1e\+300 must lie between 1e-15 and 1e\+15'),
    (
      {'noise_scale': 'per_example_sum', 'expected_batch_size': 1e80},
      r'expected_batch_size=1e\+80 makes noise of standard deviation 4e\+40',
    ),
    (
      {'noise_scale': 'on_mean', 'expected_batch_size': 1e40},
      r'expected_batch_size=1e\+40 makes noise of standard deviation 4e\+40',
    ),
    ({'noise_multiplier': -1.0}, 'noise_multiplier=-1.0'),
    ({'expected_batch_size': 0}, 'expected_batch_size=0'),
    ({'clip_unit': 'exmple'}, "Did you mean 'example'"),
    ({'noise_scale': 'on_sum'}, "noise_scale='on_sum'"),
  ],
)
def test_refuses_bad_values_by_name(changes, message):
  with pytest.raises(ValueError, match=message):
    _mechanism(**changes)


@pytest.mark.parametrize('clip_unit', mechanisms.CLIP_UNITS)
@pytest.mark.parametrize('noise_scale', mechanisms.NOISE_SCALES)
def test_float32_holds_the_noise_of_everything_that_a_run_may_ask_for(clip_unit, noise_scale):
  mechanism = _mechanism(
    l2_norm_clip=1e15,
    noise_multiplier=1e6,
    expected_batch_size=2**30,
    clip_unit=clip_unit,
    noise_scale=noise_scale,
  )
  assert np.isfinite(np.float32(mechanism.l2_norm_clip) ** 2)
  for stddev in (mechanism.noise_stddev, mechanism.noise_stddev / mechanism.gain):
    assert np.isfinite(np.float32(5.7) * np.float32(stddev))
