"""Label flipping: honest training on wrong labels."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tff_robust import checks
from tff_robust.attacks import class_maps


def label_flip(labels: Any, *, class_map: Sequence[int]) -> tf.Tensor:
  """Label flipping: example by example, class y is called class_map[y].

  The attackers then train like everybody else: no message of theirs is far from an
  honest one, but together they pull towards another task.

  Vale Tolpegin, Stacey Truex, Mehmet Emre Gursoy, Ling Liu, "Data Poisoning Attacks
  Against Federated Learning Systems", ESORICS 2020, section 3,
  https://arxiv.org/abs/2007.08432.

  Args:
    labels: int32 [m] or a scalar, each in [0, number of classes).
    class_map: The new label of every class.

  Returns:
    int32, of the shape of `labels`.
  """
  return tf.gather(tf.constant(class_map, tf.int32), labels)


def build_label_flip(
  *, num_classes: int, class_map: Sequence[int] | str = class_maps.REVERSE
) -> Callable[[Any, Any], tuple[Any, tf.Tensor]]:
  """Returns the transform `(x, y) -> (x, flipped y)` of a compromised client's data.

  Args:
    num_classes: Number of classes.
    class_map: The new label of every class, as a sequence or as text (see
      `class_maps.from_text`); by default the classes in reverse order.

  Raises:
    ValueError: If the map does not give every class a class, or changes none.
  """
  checks.at_least('num_classes', num_classes, 2)
  if isinstance(class_map, str):
    class_map = class_maps.from_text(class_map, num_classes=num_classes)
  chosen = tuple(class_map)
  if len(chosen) != num_classes or not all(0 <= label < num_classes for label in chosen):
    raise ValueError(
      f'class_map={chosen} must list {num_classes} labels between 0 and {num_classes - 1}.'
    )
  if chosen == tuple(range(num_classes)):
    raise ValueError(f'class_map={chosen} changes no label; map at least one class to another.')

  def transform(x: Any, y: Any) -> tuple[Any, tf.Tensor]:
    return x, label_flip(y, class_map=chosen)

  return transform
