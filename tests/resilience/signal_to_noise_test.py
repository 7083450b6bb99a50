import numpy as np
import pytest

from tff_robust.resilience import signal_to_noise


def test_is_unbiased_over_many_rounds():
  generator = np.random.default_rng(0)
  columns, truth = 50, 0.3
  gradient = np.sqrt(truth / columns)
  rounds = generator.normal(size=(4000, 12, columns)) / np.sqrt(columns) + gradient
  found = np.mean([signal_to_noise.signal_to_noise_ratio(rows) for rows in rounds])
  naive = np.mean([signal_to_noise.mean_to_noise_ratio(rows) for rows in rounds])
  assert found == pytest.approx(truth, rel=0.03)
  assert naive == pytest.approx(truth + 1 / 12, rel=0.03)


def test_matches_a_value_computed_by_hand():
  # Mean (2, 0), squared deviations 1 + 1 + 4 + 4: energy 10/3, q = 4 / (10/3) = 1.2.
  rows = np.array([[1.0, 0.0], [3.0, 0.0], [2.0, 2.0], [2.0, -2.0]])
  assert signal_to_noise.mean_to_noise_ratio(rows) == pytest.approx(1.2)
  assert signal_to_noise.signal_to_noise_ratio(rows) == pytest.approx(0.95)
  assert signal_to_noise.mean_to_noise_ratio_from_gram(rows @ rows.T) == pytest.approx(1.2)


def test_leaves_out_rows_that_are_not_finite():
  rows = np.random.default_rng(1).normal(size=(8, 5))
  dirty = np.concatenate([rows, [[np.nan] * 5], [[1, 2, np.inf, 4, 5]]])
  assert signal_to_noise.signal_to_noise_ratio(dirty) == pytest.approx(
    signal_to_noise.signal_to_noise_ratio(rows)
  )


def test_is_undefined_for_one_row_and_infinite_for_equal_rows():
  assert np.isnan(signal_to_noise.signal_to_noise_ratio(np.ones((1, 3))))
  assert np.isnan(signal_to_noise.signal_to_noise_ratio(np.zeros((0, 3))))
  assert signal_to_noise.mean_to_noise_ratio(np.ones((4, 3))) == np.inf
  assert np.isnan(signal_to_noise.mean_to_noise_ratio(np.zeros((4, 3))))


def test_alignment_is_one_for_the_mean_and_negative_against_it():
  rows = np.random.default_rng(2).normal(size=(8, 5)) + 1
  center = rows.mean(axis=0)
  assert signal_to_noise.alignment(center, rows) == pytest.approx(1.0)
  assert signal_to_noise.alignment(-0.1 * center, rows) == pytest.approx(-0.1)
  assert signal_to_noise.cosine(-0.1 * center, center) == pytest.approx(-1.0)
  assert np.isnan(signal_to_noise.cosine(np.zeros(5), center))
  assert np.isnan(signal_to_noise.alignment(center, np.zeros((3, 5))))
