import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import label_flip


def test_reverses_the_classes_by_default_and_leaves_inputs_alone():
  transform = label_flip.build_label_flip(num_classes=10)
  x = np.arange(8, dtype=np.float32).reshape(4, 2)
  same, flipped = transform(x, np.array([0, 3, 9, 5], np.int32))
  assert flipped.dtype == tf.int32
  np.testing.assert_array_equal(flipped, [9, 6, 0, 4])
  assert same is x


def test_follows_any_map_of_classes():
  flipped = label_flip.label_flip(np.array([0, 1, 2, 1]), class_map=(2, 0, 2))
  np.testing.assert_array_equal(flipped, [2, 0, 2, 0])


def test_flips_every_example_of_a_data_set_as_it_flips_a_batch():
  transform = label_flip.build_label_flip(num_classes=10, class_map=tuple([7] * 10))
  examples = tf.data.Dataset.from_tensor_slices((np.zeros((3, 2)), np.array([1, 2, 3], np.int32)))
  assert [int(y) for _, y in examples.map(transform)] == [7, 7, 7]


def test_turns_a_perfect_model_into_a_wrong_one():
  labels = np.random.default_rng(0).integers(10, size=500).astype(np.int32)
  backwards = range(9, -1, -1)
  flipped = label_flip.label_flip(labels, class_map=backwards).numpy()
  assert np.mean(flipped == labels) == 0.0
  back = label_flip.label_flip(flipped, class_map=backwards)
  np.testing.assert_array_equal(back, labels)


@pytest.mark.parametrize(
  ('class_map', 'message'),
  [((0, 1), 'must list 3 labels'), ((0, 1, 3), 'must list 3 labels'), ((0, 1, 2), 'changes no')],
)
def test_refuses_maps_that_are_incomplete_or_change_nothing(class_map, message):
  with pytest.raises(ValueError, match=message):
    label_flip.build_label_flip(num_classes=3, class_map=class_map)
