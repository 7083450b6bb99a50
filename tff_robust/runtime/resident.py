"""Arrays that live on the device of the accelerated runtime for a whole run.

A resident array is a TensorFlow variable with a name of its own. A `tff.tensorflow`
computation that gathers from it holds the name, not the data, and the accelerated runtime,
which gives every call fresh variables otherwise, leaves named residents alone. So a round
moves indices instead of examples. TFF's C++ worker is another process and has no residents.
"""

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

# Variables in this container outlive the call that names them.
CONTAINER = 'tff_robust_resident'
_ids = itertools.count()


class ResidentArray:
  """One array on the device.

  Attributes:
    shape: Of the whole array.
    dtype: In which it is kept and gathered.
  """

  def __init__(self, array: np.ndarray, *, device: str | None = None) -> None:
    """Copies an array to the device, once.

    On a GPU it is kept as float32, or as int64 if it holds int32 or int64: TensorFlow
    gathers no small integers there. float32 holds every uint8 exactly.

    Args:
      array: Any numeric array of rank at least 1.
      device: That of the context that gathers, 'cpu' or 'gpu:0' for example. By default the first
        GPU that TensorFlow sees, where it sees one.
    """
    visible = bool(tf.config.get_visible_devices('GPU'))
    on_gpu = visible if device is None else device.lower().lstrip('/').startswith('gpu')
    if on_gpu:
      array = array.astype(np.int64 if array.dtype in (np.int32, np.int64) else np.float32)
    self.shape = array.shape
    self.dtype = tf.as_dtype(array.dtype)
    if device is not None:
      self._device = '/' + device.lstrip('/')
    else:
      self._device = '/gpu:0' if on_gpu else ''
    self._name = f'array_{next(_ids)}'
    with tf.init_scope(), tf.device(self._device):
      tf.raw_ops.AssignVariableOp(resource=self._handle(), value=tf.constant(array))

  def _handle(self) -> Any:
    return tf.raw_ops.VarHandleOp(
      container=CONTAINER, shared_name=self._name, dtype=self.dtype, shape=self.shape
    )

  def gather(self, indices: tf.Tensor) -> tf.Tensor:
    """Returns the rows at `indices` (int64 [m]), [m, ...]; also inside a TFF computation."""
    with tf.device(self._device):
      array = tf.raw_ops.ReadVariableOp(resource=self._handle(), dtype=self.dtype)
      return tf.gather(tf.ensure_shape(array, self.shape), indices)

  def release(self) -> None:
    """Frees the device memory; the array must not be used again."""
    with tf.init_scope(), tf.device(self._device):
      tf.raw_ops.DestroyResourceOp(resource=self._handle(), ignore_lookup_error=True)
