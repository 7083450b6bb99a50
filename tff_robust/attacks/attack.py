"""What an attack is: from what the adversary sees of a round to what it sends.

The client wrapper gives every attack a `View` and lets each compromised client send
its row of the answer. An attack is a pure function of its state, the view and a seed,
so eager tests and federated runs execute the same code.

All attacks work on updates (gradients, or the difference between the broadcast and
the trained model), never on raw weights. They compute in float64 on the finite rows
of the view alone, so a diverged client spoils no attack, and they answer in float32
with values saturated at the largest finite float32: an attack that means to send a
NaN or an infinity says so in its name.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tff_robust import signatures
from tff_robust.attacks import knowledge

KNOWLEDGE = knowledge.ALL
HONEST_KNOWLEDGE = knowledge.HONEST
OWN_KNOWLEDGE = knowledge.OWN
LEAST_KNOWLEDGE = knowledge.LEAST


class View(NamedTuple):
  """What the adversary knows when it chooses its messages of a round.

  Attributes:
    messages: float32 [v, d], the rows that its knowledge shows it (see `knowledge`),
      in client-id order. v may be 0, and rows may hold NaN or infinities.
    own_messages: float32 [b, d], what each compromised client would have sent had it
      been honest, in client-id order; before the noise where the knowledge is `*_clean`.
      Its row count is the number of Byzantine clients, b, which may be 0.
    round_index: int64 [], the round, counted from 0.
  """

  messages: signatures.Updates
  own_messages: signatures.Updates
  round_index: tf.Tensor


class Attack(NamedTuple):
  """A named attack with its options already bound.

  Attributes:
    name: The registry name, used in error messages.
    knowledge_modes: Those of `KNOWLEDGE` with which the attack makes sense.
    init: `dimension (Python int) -> state`; `()` for a stateless attack.
    apply: `(state, view, seed int64 [2]) -> (state, float32 [b, d])`. Traceable by
      `tf.function` with v and b unknown, and deterministic given its seed.
    anomaly_weight: While the attack is on, compromised clients train on (1 - weight) times their
      loss plus weight times the squared distance of their model from the broadcast one.
  """

  name: str
  knowledge_modes: tuple[str, ...]
  init: Callable[[int], Any]
  apply: Callable[[Any, View, signatures.Seed], tuple[Any, signatures.Updates]]
  anomaly_weight: float = 0.0


def stateless(dimension: int) -> tuple[()]:
  """Returns the state of an attack that remembers nothing."""
  del dimension
  return ()


def finite_rows(updates: signatures.Updates) -> tf.Tensor:
  """Returns the rows without NaN or infinity, float64 [at most n, d], in their order."""
  updates = tf.convert_to_tensor(updates)
  finite = tf.reduce_all(tf.math.is_finite(updates), axis=1)
  return tf.cast(tf.boolean_mask(updates, finite), tf.float64)


def finite_mean(updates: signatures.Updates) -> tf.Tensor:
  """Returns the mean of the finite rows, float64 [d]; zeros when there is none."""
  rows = finite_rows(updates)
  count = tf.maximum(tf.shape(rows)[0], 1)
  return tf.reduce_sum(rows, axis=0) / tf.cast(count, tf.float64)


def center_and_deviation(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns mean and standard deviation (divided by the count) of each coordinate.

  Args:
    rows: float64 [h, d], finite.

  Returns:
    Two float64 [d]; zeros when there is no row.
  """
  count = tf.cast(tf.maximum(tf.shape(rows)[0], 1), tf.float64)
  center = tf.reduce_sum(rows, axis=0) / count
  return center, tf.sqrt(tf.reduce_sum((rows - center) ** 2, axis=0) / count)


def as_updates(rows: tf.Tensor) -> signatures.Updates:
  """Returns finite float64 [b, d] rows as float32, saturated instead of overflowing."""
  return tf.cast(tf.clip_by_value(rows, tf.float32.min, tf.float32.max), tf.float32)


def repeat_row(row: tf.Tensor, num_byzantine: Any) -> signatures.Updates:
  """Returns one float64 [d] row as the float32 [b, d] messages of b colluders."""
  return tf.tile(as_updates(row)[tf.newaxis, :], [num_byzantine, 1])


def num_byzantine(view: View) -> tf.Tensor:
  """Returns how many compromised clients this round has, int32 []."""
  return tf.shape(view.own_messages)[0]
