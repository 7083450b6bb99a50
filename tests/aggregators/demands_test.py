import inspect

import numpy as np
import pytest
import tensorflow as tf

from tff_robust import registry
from tff_robust.aggregators import demands, krum, zeno

_ROWS = np.random.default_rng(0).normal(size=[9, 5]).astype(np.float32)


@pytest.mark.parametrize('dtype', [tf.float64, tf.float16, tf.bfloat16, tf.int32, tf.uint8])
def test_tensors_of_other_numbers_are_cast(dtype):
  rows = tf.cast(10 * np.abs(_ROWS), dtype)
  updates = demands.as_updates(rows)
  assert updates.dtype == tf.float32
  np.testing.assert_array_equal(updates, tf.cast(rows, tf.float32))
  assert krum.krum(rows, max_byzantine=2).dtype == tf.float32


def test_variables_and_arrays_are_taken():
  np.testing.assert_array_equal(demands.as_updates(tf.Variable(_ROWS)), _ROWS)
  np.testing.assert_array_equal(demands.as_updates(_ROWS.astype(np.float64)), _ROWS)
  np.testing.assert_array_equal(demands.as_updates([[1, 2], [3, 4]]), [[1, 2], [3, 4]])


@pytest.mark.parametrize('dtype', [tf.bool, tf.complex64])
def test_tensors_of_no_real_numbers_are_named(dtype):
  with pytest.raises(
    ValueError, match=f'updates has dtype {dtype.name}; it must hold real numbers'
  ):
    demands.as_updates(tf.zeros([9, 5], dtype))


def _pure_functions():
  """Yields the functions that take updates and f, beside the builders of the registry."""
  for table in (registry.AGGREGATORS, registry.PREAGGREGATORS):
    for name, entry in table.items():
      module = __import__(entry.target.split(':')[0], fromlist=['_'])
      function = getattr(module, name, None)
      if function is not None and 'max_byzantine' in entry.reads:
        yield name, function


@pytest.mark.parametrize(('name', 'function'), _pure_functions())
def test_every_function_names_an_f_that_is_no_whole_number(name, function):
  others = {
    'num_selected': 1,
    'seed': [1, 2],
    'loss_decreases': np.zeros(9),
    'norm_penalty': 0.0,
  }
  arguments = {key: others[key] for key in others if key in inspect.signature(function).parameters}
  for value in (1.5, 2.0, '2', None, True):
    with pytest.raises(ValueError, match=f'^max_byzantine={value!r} must be a whole number'):
      function(_ROWS, max_byzantine=value, **arguments)
  expected = function(_ROWS, max_byzantine=1, **arguments)
  for one in (np.int32(1), np.int64(1)):
    np.testing.assert_array_equal(function(_ROWS, max_byzantine=one, **arguments), expected)


def test_scores_name_an_f_that_is_no_whole_number():
  with pytest.raises(ValueError, match=r'^max_byzantine=None must be a whole number'):
    krum.scores(_ROWS, max_byzantine=None)


def test_required_may_be_a_number_or_a_function_of_f():
  for required in (10, lambda f: 5 * f):
    with pytest.raises(ValueError, match="step 'mine' with max_byzantine=2 needs at least 10"):
      demands.enough_clients(_ROWS, rule='mine', max_byzantine=2, required=required, kind='step')


def test_one_each_casts_and_names_what_does_not_fit():
  decreases = demands.one_each_row('saved', tf.ones([9], tf.float32), _ROWS, tf.float64)
  assert decreases.dtype == tf.float64
  with pytest.raises(ValueError, match=r'saved has shape \(9, 1\); it must be \[9\]'):
    demands.one_each_row('saved', np.ones([9, 1]), _ROWS)
  with pytest.raises(
    ValueError, match=r'saved has shape \(4,\); it must be \[5\], one entry a coord'
  ):
    demands.one_each_coordinate('saved', np.ones(4), _ROWS)


def test_scores_of_zeno_are_given_one_decrease_a_row():
  for function in (zeno.scores, lambda *args, **kw: zeno.zeno(*args, max_byzantine=1, **kw)):
    with pytest.raises(ValueError, match=r'loss_decreases has shape \(4,\); it must be \[9\]'):
      function(_ROWS, loss_decreases=np.ones(4), norm_penalty=0.0)
