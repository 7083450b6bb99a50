"""The form of a state, which rules and attacks have to keep from round to round."""

from typing import Any

import tensorflow as tf


def is_kept(before: Any, after: Any) -> bool:
  """Tells whether two states have the same structure, and their tensors the same form.

  Args:
    before: Tensors, nested in any way.
    after: What followed.
  """
  try:
    tf.nest.assert_same_structure(before, after)
  except (TypeError, ValueError):
    return False
  pairs = zip(tf.nest.flatten(before), tf.nest.flatten(after), strict=True)
  return all((old.shape, old.dtype) == (new.shape, new.dtype) for old, new in pairs)
