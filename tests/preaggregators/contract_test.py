"""What every pre-aggregator promises, asked of every one of the registry, and of liars."""

import numpy as np
import pytest
import tensorflow as tf

from tff_robust import registry
from tff_robust.preaggregators import preaggregator
from tff_robust.testing import preaggregator_contract


@pytest.fixture(scope='module', params=registry.PREAGGREGATORS)
def trial(request):
  return preaggregator_contract.PreAggregatorTrial(request.param)


@pytest.mark.parametrize('promise', preaggregator_contract.PROMISES)
def test_keeps_its_promises_and_shows_its_deviations(trial, promise):
  preaggregator_contract.check(trial, promise)


@pytest.mark.parametrize(
  ('function', 'promise', 'words'),
  [
    (lambda rows: rows[1:], 'answers_in_form', '11 rows and 12 weights come out'),
    (lambda rows: 2.0 * rows, 'lengthens_no_row', 'a row of length'),
    (
      lambda rows: rows + 0.5 * (tf.reduce_mean(rows, axis=0) - rows),
      'confines_far_rows',
      '2 rows at 1e+06 make 12 rows long',
    ),
    (
      lambda rows: tf.where(tf.reduce_max(tf.abs(rows)) > 1e5, np.nan, rows),
      'confines_far_rows',
      '2 rows at 1e+06 make 12 rows long, or no number',
    ),
    (
      lambda rows: rows - 1e-30 * tf.reduce_sum(rows, axis=0),
      'confines_nonfinite_rows',
      '1 rows that hold nan make 12 of their kind',
    ),
    (
      lambda rows: tf.where(tf.math.is_finite(rows), rows, 0.0),
      'confines_nonfinite_rows',
      '1 rows that hold nan make 0 of their kind',
    ),
    (lambda rows: rows[::-1], 'keeps_row_order', 'rows in another order'),
  ],
)
def test_a_planted_mistake_is_found_and_named(monkeypatch, function, promise, words):
  built = preaggregator.PreAggregator(
    'planted', lambda rows, weights, seed: (function(rows), weights)
  )
  monkeypatch.setitem(registry.PREAGGREGATORS, 'planted', registry.Entry('planted:build', {}))
  monkeypatch.setattr(registry, 'build', lambda *args, **kwargs: built)
  with pytest.raises(AssertionError) as caught:
    preaggregator_contract.check('planted', promise)
  assert str(caught.value).startswith("pre-aggregator 'planted' with n=12: ")
  assert words in str(caught.value)


def test_rows_that_are_no_clients_are_found_unless_it_says_so(monkeypatch):
  built = preaggregator.PreAggregator(
    'planted', lambda rows, weights, seed: (rows[1:], weights[1:])
  )
  entry = registry.Entry('planted:build', {}, rows_after=lambda num_rows, options: num_rows - 1)
  monkeypatch.setitem(registry.PREAGGREGATORS, 'planted', entry)
  monkeypatch.setattr(registry, 'build', lambda *args, **kwargs: built)
  with pytest.raises(AssertionError, match=r'11 rows come out.*give keeps_rows=False'):
    preaggregator_contract.check('planted', 'answers_in_form')
  built = built._replace(keeps_rows=False)
  preaggregator_contract.check('planted', 'answers_in_form')
