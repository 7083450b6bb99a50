import itertools

import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import sorting_network


def _sort(rows):
  return np.stack(sorting_network.sort([tf.constant(row, tf.float32) for row in rows]))


@pytest.mark.parametrize('size', [1, 2, 3, 5, 8, 11, 13])
def test_all_columns_of_zeros_and_ones_are_sorted(size):
  """A network that sorts these sorts everything."""
  columns = np.array(list(itertools.product([0, 1], repeat=size))).T
  np.testing.assert_array_equal(_sort(columns), np.sort(columns, axis=0))


@pytest.mark.parametrize('size', [25, 26, 51, 64, 77, 100])
def test_large_networks_sort_zeros_and_ones_at_random(size):
  rng = np.random.default_rng(size)
  columns = rng.random([size, 4000]) < rng.random(4000)
  np.testing.assert_array_equal(_sort(columns), np.sort(columns, axis=0))


def test_infinities_and_the_largest_values_are_sorted():
  largest = np.finfo(np.float32).max
  rows = np.array([[np.inf], [largest], [-np.inf], [0.0], [-largest], [1e-30]], np.float32)
  np.testing.assert_array_equal(_sort(rows), np.sort(rows, axis=0))
