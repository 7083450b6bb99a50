"""Mimic: all attackers copy one honest client, which is thereby overrepresented."""

from typing import Any, NamedTuple

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.attacks import attack

NAME = 'mimic'


class State(NamedTuple):
  """What the attackers have learned of how honest clients differ.

  Attributes:
    direction: float64 [d], of length one once learned: where honest rows spread most.
    center: float64 [d], the running mean of honest rows.
    num_learned: int64 [], rounds that were learned from.
  """

  direction: tf.Tensor
  center: tf.Tensor
  num_learned: tf.Tensor


def learn(state: State, rows: tf.Tensor, seed: signatures.Seed) -> State:
  """Returns the state after one more round: an online step towards the top direction.

  With t rounds learned before, the running mean and the direction z become
  t / (t + 1) times themselves plus 1 / (t + 1) times, respectively, the mean of the
  rows and sum_i (x_i - mean) <x_i - mean, z>, with z then scaled to length one. That
  sum is divided by sum_i |x_i - mean|^2, which the paper does not do, so that what is
  learned does not depend on the scale of updates. z starts in a random direction.

  Args:
    state: What is known.
    rows: float64 [h, d], finite, at least one.
    seed: int64 [2], for the starting direction.
  """
  start = tf.random.stateless_normal(tf.shape(state.direction), seed, dtype=tf.float64)
  is_first = tf.equal(state.num_learned, 0)
  direction = tf.where(is_first, tf.math.l2_normalize(start, epsilon=0.0), state.direction)
  learned = tf.cast(state.num_learned, tf.float64)
  keep, take = learned / (learned + 1), 1 / (learned + 1)
  center = keep * state.center + take * tf.reduce_mean(rows, axis=0)
  offsets = rows - center
  pull = tf.linalg.matvec(offsets, tf.linalg.matvec(offsets, direction), transpose_a=True)
  moved = keep * direction + take * tf.math.divide_no_nan(pull, tf.reduce_sum(offsets**2))
  length = tf.norm(moved)
  direction = tf.where(length > 0, tf.math.divide_no_nan(moved, length), direction)
  return State(direction, center, state.num_learned + 1)


def mimic(honest: signatures.Updates, direction: Any, *, num_byzantine: Any) -> signatures.Updates:
  """Every attacker sends the honest row that is furthest along `direction`.

  No row is unusual, so no rule can tell; yet a rule that is not careful then follows
  one client's data. It needs heterogeneous clients to harm.

  Sai Praneeth Karimireddy, Lie He, Martin Jaggi, "Byzantine-Robust Learning on
  Heterogeneous Datasets via Bucketing", ICLR 2022, section 3.2 and appendix B,
  https://arxiv.org/abs/2006.09365. The paper fixes one client after a warm-up; here
  cohorts change, so the client is chosen anew in each round, along the direction
  learned in the warm-up.

  Args:
    honest: float32 [h, d]; rows that are not finite are never copied.
    direction: [d]; the row with the largest absolute inner product is copied.
    num_byzantine: How many attackers answer, b.

  Returns:
    float32 [b, d], all rows equal, bit for bit an honest row; zeros when none is finite.
  """
  honest = tf.convert_to_tensor(honest)
  finite = tf.reduce_all(tf.math.is_finite(honest), axis=1)
  known = tf.where(finite[:, tf.newaxis], honest, tf.zeros_like(honest))
  direction = tf.cast(direction, tf.float64)
  along = tf.abs(tf.linalg.matvec(tf.cast(known, tf.float64), direction))
  along = tf.where(finite, along, -1.0)
  row = tf.cond(
    tf.reduce_any(finite),
    lambda: tf.gather(known, tf.argmax(along)),
    lambda: tf.reduce_sum(known, axis=0),
  )
  return tf.tile(row[tf.newaxis, :], [num_byzantine, 1])


def build_mimic(*, num_warmup_rounds: int) -> attack.Attack:
  """Returns the attack, which learns its direction in the first rounds that it sees.

  It learns in rounds without attack too, and copies along what it has learned so far: begin the
  attack after the warm-up to copy along what all of it taught.

  Args:
    num_warmup_rounds: Rounds, from the first of the run, in which it learns, at least 1.

  Raises:
    ValueError: If `num_warmup_rounds` is less than 1.
  """
  checks.at_least('attack_warmup_rounds', num_warmup_rounds, 1)

  def init(dimension: int) -> State:
    zeros = tf.zeros([dimension], tf.float64)
    return State(zeros, zeros, tf.zeros([], tf.int64))

  def apply(
    state: State, view: attack.View, seed: signatures.Seed
  ) -> tuple[State, signatures.Updates]:
    rows = attack.finite_rows(view.messages)
    learns = (state.num_learned < num_warmup_rounds) & (tf.shape(rows)[0] > 0)
    state = State(*tf.cond(learns, lambda: learn(state, rows, seed), lambda: state))
    count = attack.num_byzantine(view)
    return state, mimic(view.messages, state.direction, num_byzantine=count)

  return attack.Attack(NAME, attack.HONEST_KNOWLEDGE, init, apply)
