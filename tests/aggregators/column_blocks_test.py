import numpy as np
import pytest
import tensorflow as tf

from tff_robust.aggregators import column_blocks


@pytest.mark.parametrize('width', [1, 7, 8, 9, 30])
@pytest.mark.parametrize('static', [True, False])
def test_blocks_of_any_width_give_the_same(width, static):
  rows = np.random.default_rng(0).normal(size=[3, width]).astype(np.float32)
  spec = tf.TensorSpec([3, width] if static else [None, None])

  @tf.function(input_signature=[spec])
  def apply(rows):
    total = column_blocks.total(
      lambda block: tf.reduce_sum(block, axis=1),
      rows,
      initial=tf.zeros(tf.shape(rows)[:1]),
      columns_per_block=8,
    )
    columns = column_blocks.map_columns(
      lambda block: tf.reduce_max(block, axis=0), rows, columns_per_block=8
    )
    matrix = column_blocks.map_matrix(
      lambda block: 2 * block[:2], rows, num_rows=2, columns_per_block=8
    )
    return total, columns, matrix

  total, columns, matrix = apply(rows)
  np.testing.assert_allclose(total, rows.sum(1), rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(columns, rows.max(0))
  np.testing.assert_array_equal(matrix, 2 * rows[:2])


@pytest.mark.parametrize('width', [5, 8, 30])
def test_a_vector_is_cut_into_the_same_blocks(width):
  generator = np.random.default_rng(1)
  rows = generator.normal(size=[3, width]).astype(np.float32)
  centre = generator.normal(size=[width]).astype(np.float32)

  @tf.function(input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None])])
  def apply(rows, centre):
    total = column_blocks.total(
      lambda block, beside: tf.reduce_sum(block * beside, axis=1),
      rows,
      initial=tf.zeros([3]),
      beside=centre,
      columns_per_block=8,
    )
    columns = column_blocks.map_columns(
      lambda block, beside: block[0] - beside, rows, beside=centre, columns_per_block=8
    )
    return total, columns

  total, columns = apply(rows, centre)
  np.testing.assert_allclose(total, rows @ centre, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(columns, rows[0] - centre)


def test_a_total_starts_from_its_initial_value():
  total = column_blocks.total(
    lambda block: tf.reduce_sum(block),
    tf.ones([2, 20]),
    initial=tf.constant(5.0),
    columns_per_block=6,
  )
  assert total == 45
