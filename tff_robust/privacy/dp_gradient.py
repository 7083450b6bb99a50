"""The noised gradient of one minibatch: DP-SGD and its named variants.

Sources: Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang, "Deep Learning with
Differential Privacy", CCS 2016, Algorithm 1 (https://arxiv.org/abs/1607.00133); TF Privacy
(https://github.com/tensorflow/privacy) for queries and their events.
"""

from typing import Any

import tensorflow as tf
import tensorflow_privacy as tfp

from tff_robust import signatures
from tff_robust.privacy import dp_query, layerwise_gradients, mechanisms
from tff_robust.privacy import per_example_gradients as gradients


class GradientMechanism(mechanisms.Mechanism):
  """A gradient mechanism that can be applied; its values and figures are `Mechanism`'s.

  `noise_stddev`, `sensitivity` and `effective_noise_multiplier` are derived for all six
  mechanisms in `tff_robust.privacy.mechanisms`.
  """

  def noised_gradient(
    self,
    loss_fn: gradients.LossFn | layerwise_gradients.LayeredLoss,
    weights: Any,
    x: tf.Tensor,
    y: tf.Tensor,
    seed: signatures.Seed,
  ) -> tuple[tf.Tensor, Any]:
    """Returns the summed loss and the clipped, noised gradient of one minibatch.

    Clipping, sum, noise and division are those of the TF Privacy query that
    `dp_query.build_gradient_query` composes. There is one noise draw a batch, also for an
    empty one. Sums are divided by the expected batch size, never by the actual one. The
    minibatch mean (`clip_unit='minibatch_mean'`) takes one ordinary backward pass.

    Guarantees:
      The gradient is a Gaussian mechanism with multiplier `effective_noise_multiplier`
      under addition, removal or zeroing of one example whose gradient is finite. Amplification by
      sampling holds only as far as the batches are sampled like that
      (`tff_robust.privacy.accounting`). The clipped norm is at most `l2_norm_clip`, up to
      float32 rounding. A non-finite gradient of any example (or one whose squared norm
      overflows float32) makes the whole result NaN: it is never zeroed in silence, and a
      robust rule drops the row. Whoever sees the NaN knows of such an example: that is covered by
      no guarantee.

    The loss is neither clipped nor noised: it is for simulation and carries no guarantee.

    Args:
      loss_fn: Loss of one example: (weights, x [1, ...], y [1, ...]) -> float32 []. Or a
        `LayeredLoss` of the batch, for the same result to float32 rounding in less time and
        memory.
      weights: Structure of float32 tensors.
      x: [m, ...], any dtype; m may be unknown statically and may be 0.
      y: [m, ...], any dtype.
      seed: int64 [2], of this run, round, client and step alone.

    Returns:
      float32 [], and a structure like `weights`.
    """
    query = dp_query.build_gradient_query(
      l2_norm_clip=self.l2_norm_clip,
      noise_multiplier=self.noise_multiplier,
      expected_batch_size=self.expected_batch_size,
      clip_unit=self.clip_unit,
      noise_scale=self.noise_scale,
      seed=seed,
    )
    state = query.initial_global_state()
    params = query.derive_sample_params(state)
    if self.clip_unit == 'example':
      loss_sum, records = _clipped_sum(loss_fn, weights, x, y, query, params)
    else:
      loss_sum, total = _summed_gradient(loss_fn, weights, x, y)
      mean = tf.nest.map_structure(lambda part: part / self.expected_batch_size, total)
      records = query.preprocess_record(params, mean)
    noised, _, _ = query.get_noised_result(records, state)
    return loss_sum, noised


def _clipped_sum(
  loss_fn: gradients.LossFn | layerwise_gradients.LayeredLoss,
  weights: Any,
  x: tf.Tensor,
  y: tf.Tensor,
  query: tfp.DPQuery,
  params: Any,
) -> tuple[tf.Tensor, Any]:
  """Returns the summed loss and the sum of the records that the query has clipped."""

  def clip(record: Any) -> Any:
    return query.preprocess_record(params, record)

  if isinstance(loss_fn, layerwise_gradients.LayeredLoss):
    return layerwise_gradients.clipped_sum(loss_fn, weights, x, y, clip=clip)
  losses, clipped = gradients.per_example_gradients(loss_fn, weights, x, y, transform=clip)
  records = tf.nest.map_structure(lambda part: tf.reduce_sum(part, axis=0), clipped)
  return tf.reduce_sum(losses), records


def _summed_gradient(
  loss_fn: gradients.LossFn | layerwise_gradients.LayeredLoss,
  weights: Any,
  x: tf.Tensor,
  y: tf.Tensor,
) -> tuple[tf.Tensor, Any]:
  """Returns the summed loss and its gradient."""
  if isinstance(loss_fn, layerwise_gradients.LayeredLoss):
    return layerwise_gradients.summed_gradient(loss_fn, weights, x, y)
  losses, total = gradients.summed_gradient(loss_fn, weights, x, y)
  return tf.reduce_sum(losses), total
