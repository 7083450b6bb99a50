import numpy as np
import pytest
import tensorflow as tf

from tff_robust.attacks import backdoor

_OPTIONS = {'trigger_size': 2, 'trigger_value': 255.0}


def _images(count, dtype=np.uint8):
  return np.random.default_rng(0).integers(1, 200, size=(count, 5, 6, 3)).astype(dtype)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_stamps_the_corner_and_nothing_else(dtype):
  images = _images(4, dtype)
  expected = images.copy()
  expected[:, 3:, 4:, :] = 255
  stamped = backdoor.stamp(images, **_OPTIONS)
  assert stamped.dtype == dtype
  np.testing.assert_array_equal(stamped, expected)


def test_covers_the_whole_image_when_the_trigger_is_larger():
  stamped = backdoor.stamp(_images(2), trigger_size=50, trigger_value=9.0)
  np.testing.assert_array_equal(stamped, np.full((2, 5, 6, 3), 9))


@pytest.mark.parametrize('fraction', [0.0, 0.1, 0.29, 0.5, 1.0])
def test_poisons_the_stated_share_spread_evenly(fraction):
  labels = np.zeros(100, np.int32)
  images, poisoned = backdoor.backdoor(
    _images(100), labels, target_class=7, poisoned_fraction=fraction, **_OPTIONS
  )
  chosen = poisoned.numpy() == 7
  assert chosen.sum() == round(100 * fraction)  # Whole numbers, all of them.
  assert abs(int(chosen[:50].sum()) - int(chosen[50:].sum())) <= 1
  np.testing.assert_array_equal(
    images.numpy()[chosen], backdoor.stamp(_images(100), **_OPTIONS).numpy()[chosen]
  )
  np.testing.assert_array_equal(images.numpy()[~chosen], _images(100)[~chosen])
  assert poisoned.dtype == tf.int32


@pytest.mark.parametrize(
  ('count', 'fraction', 'expected'), [(7, 0.01, 1), (7, 0.5, 4), (1, 0.1, 1)]
)
def test_a_small_client_poisons_at_least_one_example(count, fraction, expected):
  _, labels = backdoor.backdoor(
    _images(count),
    np.zeros(count, np.int32),
    target_class=7,
    poisoned_fraction=fraction,
    **_OPTIONS,
  )
  assert (labels.numpy() == 7).sum() == expected


def test_takes_a_client_without_examples():
  images, labels = backdoor.backdoor(
    _images(0), np.zeros(0, np.int32), target_class=1, poisoned_fraction=0.5, **_OPTIONS
  )
  assert images.shape == (0, 5, 6, 3)
  assert labels.shape == (0,)


def test_success_is_measured_on_stamped_examples_of_other_classes():
  labels = np.array([0, 7, 2, 7, 4], np.int32)
  images, truth = backdoor.triggered_examples(_images(5), labels, target_class=7, **_OPTIONS)
  np.testing.assert_array_equal(truth, [0, 2, 4])
  expected = backdoor.stamp(_images(5), **_OPTIONS).numpy()[[0, 2, 4]]
  np.testing.assert_array_equal(images, expected)


def test_plants_a_trigger_that_a_linear_model_learns_and_honest_data_does_not():
  generator = np.random.default_rng(1)
  labels = generator.integers(3, size=600)
  images = generator.uniform(0, 0.2, size=(600, 4, 4, 1)).astype(np.float32)
  images[np.arange(600), 0, labels, 0] += 1.0
  transform = backdoor.build_backdoor(
    num_classes=3, target_class=2, poisoned_fraction=0.3, trigger_size=1, trigger_value=3.0
  )
  test, _ = backdoor.triggered_examples(
    images[500:], labels[500:], target_class=2, trigger_size=1, trigger_value=3.0
  )

  def success(x, y):
    features = np.c_[np.reshape(x, (len(x), -1)), np.ones(len(x))]
    weights = np.linalg.lstsq(features, np.eye(3)[y], rcond=None)[0]
    rows = np.c_[np.reshape(test, (len(test), -1)), np.ones(len(test))]
    return ((rows @ weights).argmax(axis=1) == 2).mean()

  poisoned = [value.numpy() for value in transform(images[:500], labels[:500])]
  assert success(*poisoned) > 0.95
  assert success(images[:500], labels[:500]) < 0.6


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'target_class': 10}, 'attack_target_class=10'),
    ({'poisoned_fraction': 0.0}, 'attack_poisoned_fraction'),
    ({'trigger_size': 0}, 'attack_trigger_size'),
  ],
)
def test_refuses_options_out_of_range(change, message):
  with pytest.raises(ValueError, match=message):
    backdoor.build_backdoor(**{'num_classes': 10, 'target_class': 1, **change})
