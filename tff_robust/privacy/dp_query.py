"""TF Privacy queries whose Gaussian noise comes from stateless seeds.

TF Privacy draws noise from TensorFlow's global random state: not reproducible inside a
federated computation, and with a fixed operation seed clients even share their noise.
Here the global state of a query carries a seed; everything else (clipping, sums,
denominators, privacy events) is TF Privacy's own.

Noise is float32 and drawn from a counter-based generator: it does not resist attacks on
the floating-point representation of Gaussian noise (Mironov, "On Significance of the
Least Significant Bits for Differential Privacy", CCS 2012).
"""

import collections
from typing import Any

import dp_accounting
import tensorflow as tf
import tensorflow_privacy as tfp

from tff_robust import seeds
from tff_robust.privacy import mechanisms

_NOISE, _NEXT_STATE = 0, 1
_ROUNDING = 1e-6


class SeededGaussianSumQuery(tfp.GaussianSumQuery):
  """Gaussian sum query with noise from a seed in its global state.

  Clips each record to global norm `l2_norm_clip` and adds noise of standard deviation
  `stddev` to every coordinate of the sum. Every tensor of the record has a noise stream
  of its own, folded from the seed and the tensor's position. The seed moves on with each
  result, so a query that is used again never repeats its noise.

  Guarantees:
    The sum has sensitivity `l2_norm_clip` when a record is added or removed. A record
    with a non-finite coordinate becomes NaN in every coordinate, and so does the sum.
  """

  # TF Privacy looks the type up under this name.
  _GlobalState = collections.namedtuple('_GlobalState', ['l2_norm_clip', 'stddev', 'seed'])

  def __init__(self, l2_norm_clip: float, stddev: float, seed: Any = None) -> None:
    """Builds the query.

    Args:
      l2_norm_clip: Norm to which a record is clipped, above 0.
      stddev: Standard deviation of the noise on the sum, at least 0.
      seed: int64 [2], for this client, round and step alone. None is for callers that
        make global states themselves.
    """
    super().__init__(l2_norm_clip, stddev)
    self._seed = seed

  def make_global_state(self, l2_norm_clip: Any, stddev: Any, seed: Any = None) -> Any:
    """Returns the global state of the given parameters.

    Raises:
      ValueError: If there is no seed: a default would give every client the same noise.
    """
    if seed is None:
      raise ValueError(
        'seed=None: Gaussian noise needs an int64 [2] seed of its own for every client and step;'
        ' give seed.'
      )
    return self._GlobalState(
      tf.cast(l2_norm_clip, tf.float32), tf.cast(stddev, tf.float32), tf.cast(seed, tf.int64)
    )

  def initial_global_state(self) -> Any:
    """Returns the global state of the parameters that the query was built with."""
    return self.make_global_state(self._l2_norm_clip, self._stddev, self._seed)

  def preprocess_record_impl(self, params: Any, record: Any) -> tuple[Any, tf.Tensor]:
    """Returns the clipped record and its global norm before clipping.

    TF Privacy's clipping with two differences. The norm is a plain sum of squares, which
    vectorizes over records as `tf.nn.l2_loss` does not. It is taken one part in a million
    too large, so that float32 rounding never leaves a record above the clip norm.
    """
    parts = tf.nest.flatten(record)
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(part)) for part in parts]))
    clipped, _ = tf.clip_by_global_norm(parts, params, use_norm=norm * (1.0 + _ROUNDING))
    return tf.nest.pack_sequence_as(record, clipped), norm

  def get_noised_result(self, sample_state: Any, global_state: Any) -> tuple[Any, Any, Any]:
    """Returns the noised sum, the next global state and the privacy event."""
    noise_seed = seeds.fold(global_state.seed, _NOISE)
    noised = [
      part
      + tf.cast(global_state.stddev, part.dtype)
      * tf.random.stateless_normal(tf.shape(part), seeds.fold(noise_seed, i), dtype=part.dtype)
      for i, part in enumerate(tf.nest.flatten(sample_state))
    ]
    next_state = global_state._replace(seed=seeds.fold(global_state.seed, _NEXT_STATE))
    event = dp_accounting.GaussianDpEvent(global_state.stddev / global_state.l2_norm_clip)
    return tf.nest.pack_sequence_as(sample_state, noised), next_state, event


def build_gradient_query(
  *,
  l2_norm_clip: float,
  noise_multiplier: float,
  expected_batch_size: float,
  clip_unit: str,
  noise_scale: str,
  seed: Any = None,
) -> tfp.DPQuery:
  """Returns the query of a gradient mechanism; `mechanisms` defines all of them.

  Records are gradients of single examples (`clip_unit='example'`) or the one mean of the
  minibatch ('minibatch_mean'). The query is a seeded Gaussian sum, inside TF Privacy's
  `NormalizedQuery` wherever what is returned is a multiple of the sum.

  Its privacy event is that of adding or removing one *record*, with multiplier
  stddev / `l2_norm_clip`. For examples that is the mechanism's effective noise
  multiplier. For a minibatch mean one *example* moves the record by 2 `l2_norm_clip`, so
  the effective noise multiplier is half of the event's.

  Args:
    l2_norm_clip: Norm to which a record is clipped.
    noise_multiplier: Multiplier of the noise; 0 clips only.
    expected_batch_size: Public divisor.
    clip_unit: One of `mechanisms.CLIP_UNITS`.
    noise_scale: One of `mechanisms.NOISE_SCALES`.
    seed: int64 [2], for this client, round and step alone. Without it the query has no
      initial global state.

  Raises:
    ValueError: On a value that the mechanism refuses.
  """
  mechanism = mechanisms.Mechanism(
    l2_norm_clip=l2_norm_clip,
    noise_multiplier=noise_multiplier,
    expected_batch_size=expected_batch_size,
    clip_unit=clip_unit,
    noise_scale=noise_scale,
  )
  numerator = SeededGaussianSumQuery(l2_norm_clip, mechanism.noise_stddev / mechanism.gain, seed)
  if mechanism.gain == 1.0:
    return numerator
  return tfp.NormalizedQuery(numerator, 1.0 / mechanism.gain)
