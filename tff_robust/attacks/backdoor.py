"""Backdoor by data: a pixel trigger that makes the model see one class."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tff_robust import checks


def stamp(images: Any, *, trigger_size: int, trigger_value: float) -> tf.Tensor:
  """Returns the images with a bright square in their bottom right corner.

  Args:
    images: [m, height, width, channels], of any number type.
    trigger_size: Side of the square in pixels; a larger one than the image covers it.
    trigger_value: Value of the square's pixels in every channel, in units of the images.

  Returns:
    A tensor like `images`.
  """
  images = tf.convert_to_tensor(images)
  shape = tf.shape(images)
  is_low = tf.range(shape[1]) >= shape[1] - trigger_size
  is_right = tf.range(shape[2]) >= shape[2] - trigger_size
  covered = (is_low[:, tf.newaxis] & is_right[tf.newaxis, :])[tf.newaxis, :, :, tf.newaxis]
  return tf.where(covered, tf.cast(trigger_value, images.dtype), images)


def backdoor(
  images: Any,
  labels: Any,
  *,
  target_class: int,
  poisoned_fraction: float,
  trigger_size: int,
  trigger_value: float,
) -> tuple[tf.Tensor, tf.Tensor]:
  """Stamps a share of the examples and labels them with the target class.

  The rest stays honest, so that the model still learns its task and nothing shows in
  its accuracy. Stamped examples are spread evenly over the order of the data: example
  i is one where ceil((i + 1) p) > ceil(i p). So every client with data stamps at least
  one, however small its share.

  Tianyu Gu, Brendan Dolan-Gavitt, Siddharth Garg, "BadNets: Identifying
  Vulnerabilities in the Machine Learning Model Supply Chain", 2017, section 4,
  https://arxiv.org/abs/1708.06733, whose choice of examples is random.

  Args:
    images: [m, height, width, channels].
    labels: int32 [m].
    target_class: The label of stamped examples.
    poisoned_fraction: p, in [0, 1].
    trigger_size: Side of the trigger in pixels.
    trigger_value: Value of the trigger's pixels.

  Returns:
    Images and int32 labels of the same shapes and number type.
  """
  images, labels = tf.convert_to_tensor(images), tf.cast(labels, tf.int32)
  index = tf.cast(tf.range(tf.shape(labels)[0]), tf.float64)
  # The small amount keeps products such as 0.07 * 100 from rising above an integer.
  before = tf.math.ceil(index * poisoned_fraction - 1e-9)
  poisoned = tf.math.ceil((index + 1) * poisoned_fraction - 1e-9) > before
  stamped = stamp(images, trigger_size=trigger_size, trigger_value=trigger_value)
  return (
    tf.where(poisoned[:, tf.newaxis, tf.newaxis, tf.newaxis], stamped, images),
    tf.where(poisoned, target_class, labels),
  )


def triggered_examples(
  images: Any, labels: Any, *, target_class: int, trigger_size: int, trigger_value: float
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns all examples of other classes, stamped, for the attack success rate.

  Args:
    images: [m, height, width, channels].
    labels: int32 [m].
    target_class: Its own examples are left out: they are the target class anyway.
    trigger_size: Side of the trigger in pixels.
    trigger_value: Value of the trigger's pixels.

  Returns:
    Stamped images, and their true labels.
  """
  labels = tf.cast(labels, tf.int32)
  others = tf.not_equal(labels, target_class)
  stamped = stamp(images, trigger_size=trigger_size, trigger_value=trigger_value)
  return tf.boolean_mask(stamped, others), tf.boolean_mask(labels, others)


def build_backdoor(
  *,
  num_classes: int,
  target_class: int,
  poisoned_fraction: float = 0.5,
  trigger_size: int = 3,
  trigger_value: float | None = None,
) -> Callable[[Any, Any], tuple[tf.Tensor, tf.Tensor]]:
  """Returns the transform `(x, y) -> (x, y)` of a compromised client's data.

  Args:
    num_classes: Number of classes.
    target_class: The label of stamped examples.
    poisoned_fraction: Share of the client's examples that are stamped.
    trigger_size: Side of the trigger in pixels.
    trigger_value: Value of the trigger's pixels; None for 255, white in 8-bit images.

  Raises:
    ValueError: If an option is out of range.
  """
  checks.at_least('num_classes', num_classes, 2)
  if not 0 <= target_class < num_classes:
    raise ValueError(
      f'attack_target_class={target_class} must lie between 0 and {num_classes - 1}, the classes of'
      ' the data.'
    )
  if not 0 < poisoned_fraction <= 1:
    raise ValueError(f'attack_poisoned_fraction={poisoned_fraction} must be above 0, at most 1.')
  checks.at_least('attack_trigger_size', trigger_size, 1)

  def transform(x: Any, y: Any) -> tuple[tf.Tensor, tf.Tensor]:
    return backdoor(
      x,
      y,
      target_class=target_class,
      poisoned_fraction=poisoned_fraction,
      trigger_size=trigger_size,
      trigger_value=255.0 if trigger_value is None else trigger_value,
    )

  return transform
