"""Whether Krum would select colluders, as a function of how far they step.

The TensorFlow side of the certificate in `tff_robust.resilience.krum_breaking_point`,
for attacks that search their own step: after one Gram matrix of the honest rows, each
candidate costs a sort of small rows and nothing of the dimension of the model.
"""

from typing import Any, NamedTuple

import tensorflow as tf


class Ray(NamedTuple):
  """Honest rows and the messages base + t * direction, up to rotation.

  Attributes:
    squared_distances: float64 [h, h], between honest rows.
    base_distances: float64 [h], squared, from each honest row to `base`.
    products: float64 [h], the inner products <row - base, direction>.
    squared_direction: float64 [].
    num_clients: int32 [], all clients of the round, finite or not.
    num_byzantine: int32 [], the colluders.
  """

  squared_distances: tf.Tensor
  base_distances: tf.Tensor
  products: tf.Tensor
  squared_direction: tf.Tensor
  num_clients: tf.Tensor
  num_byzantine: tf.Tensor


def ray(
  rows: tf.Tensor, *, base: tf.Tensor, direction: tf.Tensor, num_clients: Any, num_byzantine: Any
) -> Ray:
  """Returns the ray through `base` along `direction`.

  Args:
    rows: float64 [h, d], the finite honest messages.
    base: float64 [d].
    direction: float64 [d].
    num_clients: n, which also counts honest rows that are not finite.
    num_byzantine: b.
  """
  # Centred, so that rows close to each other keep their distances.
  count = tf.cast(tf.maximum(tf.shape(rows)[0], 1), tf.float64)
  centered = rows - tf.reduce_sum(rows, axis=0) / count
  gram = tf.matmul(centered, centered, transpose_b=True)
  squared = tf.linalg.diag_part(gram)
  distances = tf.maximum(squared[:, None] + squared[None, :] - 2 * gram, 0.0)
  offsets = rows - base
  return Ray(
    tf.linalg.set_diag(distances, tf.zeros_like(squared)),
    tf.reduce_sum(offsets**2, axis=1),
    tf.linalg.matvec(offsets, direction),
    tf.reduce_sum(direction**2),
    tf.convert_to_tensor(num_clients, tf.int32),
    tf.convert_to_tensor(num_byzantine, tf.int32),
  )


def margins(ray: Ray, steps: tf.Tensor, *, max_byzantine: int) -> tf.Tensor:
  """Returns the lowest honest Krum score minus the colluders' score, at each step t.

  Positive where Krum selects a colluder. -infinity where none can be selected:
  without colluders, without a finite honest row, when Krum is not defined, or when more rows
  than f are not finite.

  Args:
    ray: Honest rows and the colluders' ray.
    steps: float64 [g].
    max_byzantine: The f that Krum is told.

  Returns:
    float64 [g].
  """
  num_honest = tf.shape(ray.products)[0]
  neighbors = ray.num_clients - max_byzantine - 2
  defined = (
    (ray.num_clients >= 2 * max_byzantine + 3)
    & (ray.num_byzantine > 0)
    & (num_honest > 0)
    & (ray.num_clients - num_honest - ray.num_byzantine <= max_byzantine)
  )
  num_steps = tf.shape(steps)[0]

  def differences() -> tf.Tensor:
    column = steps[:, tf.newaxis]
    to_colluders = (
      ray.base_distances - 2 * column * ray.products + column**2 * ray.squared_direction
    )
    to_colluders = tf.maximum(to_colluders, 0.0)
    colluders = tf.zeros([num_steps, ray.num_byzantine - 1], tf.float64)
    own = tf.concat([colluders, to_colluders], axis=1)
    infinity = tf.fill([num_honest], tf.constant(float('inf'), tf.float64))
    others = tf.linalg.set_diag(ray.squared_distances, infinity)[tf.newaxis]
    honest = tf.concat(
      [
        tf.tile(others, [num_steps, 1, 1]),
        tf.tile(to_colluders[:, :, tf.newaxis], [1, 1, ray.num_byzantine]),
      ],
      axis=2,
    )
    scores = tf.reduce_sum(tf.sort(honest)[:, :, :neighbors], axis=2)
    return tf.reduce_min(scores, axis=1) - tf.reduce_sum(tf.sort(own)[:, :neighbors], axis=1)

  return tf.cond(
    defined, differences, lambda: tf.fill([num_steps], tf.constant(-float('inf'), tf.float64))
  )
