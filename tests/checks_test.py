import fractions

import numpy as np
import pytest
import tensorflow as tf

from tff_robust import checks


@pytest.mark.parametrize('value', [0, -3, 2**40, np.int64(4), np.uint8(4)])
def test_whole_numbers_of_python_and_numpy_pass(value):
  checks.whole_number('num_selected', value)


@pytest.mark.parametrize('value', [True, np.True_, 1.5, 2.0, np.float32(2), '2', None, [2]])
def test_what_is_no_whole_number_is_named(value):
  with pytest.raises(ValueError) as caught:
    checks.whole_at_least('num_selected', value, 1)
  message = f'num_selected={value!r} must be a whole number; give an int, such as 2.'
  assert str(caught.value) == message


def test_a_whole_number_may_be_too_small():
  checks.whole_at_least('num_selected', 1, 1)
  with pytest.raises(ValueError, match='num_selected=0 must be at least 1'):
    checks.whole_at_least('num_selected', 0, 1)


@pytest.mark.parametrize(
  ('value', 'kind'),
  [(2, int), (2, float), (0.5, float), (np.float32(1), float), (fractions.Fraction(1, 2), float)],
)
def test_values_of_a_kind_pass(value, kind):
  checks.of_kind('option', value, kind)
  checks.of_kind('option', 'unit', str)


@pytest.mark.parametrize(
  ('value', 'kind', 'message'),
  [
    (2.5, int, 'option=2.5 must be a whole number'),
    (False, int, 'option=False must be a whole number'),
    (False, float, 'option=False must be a number'),
    ('2', float, "option='2' must be a number"),
    (1j, float, 'option=1j must be a number'),
    (3, str, 'option=3 must be text'),
  ],
)
def test_values_of_another_kind_are_named(value, kind, message):
  with pytest.raises(ValueError, match=message):
    checks.of_kind('option', value, kind)


@pytest.mark.parametrize('check', [checks.positive, checks.nonnegative, checks.finite])
@pytest.mark.parametrize('value', [None, '3', True, [1.0]])
def test_what_is_no_number_is_named(check, value):
  with pytest.raises(ValueError, match=r'max_norm=.* must be a number; give one such as 0\.5'):
    check('max_norm', value)
  check('max_norm', np.float32(2))


def test_too_small_rounds_get_advice_that_can_be_taken():
  with pytest.raises(ValueError, match='lower max_byzantine or raise clients_per_round'):
    checks.enough_clients('krum', 6, 2, 7)
  with pytest.raises(ValueError) as caught:
    checks.enough_clients('foolsgold', 1, 0, 2)
  assert str(caught.value) == (
    "aggregator 'foolsgold' needs at least 2 clients a round, but clients_per_round=1; raise"
    ' clients_per_round.'
  )
  with pytest.raises(ValueError, match=r'lower max_byzantine or lower bucket_size\.$'):
    checks.enough_clients('krum', 6, 2, 7, cure='lower bucket_size')


def test_vectors_of_another_shape_are_named():
  for shape in ([9], [None], None):
    checks.vector('weights', tf.TensorShape(shape), 9, 'row of updates')
  for shape in ([4], [9, 1], []):
    with pytest.raises(
      ValueError, match=r'weights has shape .*; it must be \[9\], one entry a row'
    ):
      checks.vector('weights', tf.TensorShape(shape), 9, 'row of updates')
  checks.vector('weights', tf.TensorShape([4]), None, 'row of updates')
  with pytest.raises(ValueError, match='it must be a vector, one entry a row'):
    checks.vector('weights', tf.TensorShape([9, 1]), None, 'row of updates')
