"""Zeno: the average of the updates that lower the loss on the server's examples most.

Cong Xie, Oluwasanmi Koyejo, Indranil Gupta, "Zeno: Distributed Stochastic Gradient Descent
with Suspicion-based Fault-tolerance", ICML 2019, section 4.
https://arxiv.org/abs/1805.10032
"""

from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import averages, demands, finite_rows, row_norms, rule

# Penalty over learning rate, as in the demonstration that the authors publish.
_PENALTY_OF_LEARNING_RATE = 1 / 200


def required_clients(max_byzantine: int) -> int:
  """Returns the smallest round for which Zeno is defined, f + 1: one honest client."""
  return max_byzantine + 1


def _scores(updates: tf.Tensor, loss_decreases: tf.Tensor, norm_penalty: float) -> tf.Tensor:
  squared_norms = tf.square(row_norms.norms(updates))
  saved = demands.one_each_row('loss_decreases', loss_decreases, updates, tf.float64)
  found = saved - norm_penalty * squared_norms
  usable = tf.math.is_finite(found) & demands.finite_rows(updates)
  return tf.where(usable, found, tf.constant(float('-inf'), tf.float64))


def scores(
  updates: signatures.Updates, *, loss_decreases: tf.Tensor, norm_penalty: float
) -> tf.Tensor:
  """Stochastic descendant scores: the loss that an update saves, less a penalty on its norm.

  Entries below 2**-126 may count as zero in a norm.

  Args:
    updates: float32 [n, d].
    loss_decreases: float64 [n], f(w) - f(w - gamma x_i) for the loss f on the root set, the
      model w and a learning rate gamma.
    norm_penalty: Multiplies the squared norm of a row (rho in the paper).

  Returns:
    float64 [n]; -inf for a row or a decrease that is not finite.
  """
  checks.nonnegative('norm_penalty', norm_penalty)
  return _scores(demands.as_updates(updates), loss_decreases, norm_penalty)


def _zeno(
  updates: tf.Tensor, loss_decreases: tf.Tensor, max_byzantine: int, norm_penalty: float
) -> finite_rows.Outcome:
  num_clients = tf.shape(updates)[0]
  # top_k lists the lower of two equal indices first: the smallest row index wins ties.
  ordered, order = tf.math.top_k(_scores(updates, loss_decreases, norm_penalty), k=num_clients)
  usable = tf.math.count_nonzero(tf.math.is_finite(ordered), dtype=tf.int32)
  rejected = num_clients - usable > max_byzantine
  num_selected = num_clients - max_byzantine
  chosen = order[:num_selected]
  selected = tf.scatter_nd(chosen[:, tf.newaxis], tf.ones([num_selected], tf.int32), [num_clients])
  selected = tf.cast(selected, tf.bool) & ~rejected
  best_left_out = tf.concat([ordered, [float('-inf')]], axis=0)[num_selected]
  gap_defined = tf.math.is_finite(best_left_out) & ~rejected
  finite = demands.finite_rows(updates)
  return averages.weighted_average(updates, tf.cast(selected, tf.float64)), {
    'num_nonfinite': tf.math.count_nonzero(~finite, dtype=tf.int32),
    'round_rejected': rejected,
    'selected': selected,
    'score_gap': tf.where(gap_defined, ordered[num_selected - 1] - best_left_out, 0.0),
  }


def _checked(updates: signatures.Updates, max_byzantine: int) -> tf.Tensor:
  return demands.enough_clients(
    updates, rule='zeno', max_byzantine=max_byzantine, required=required_clients
  )


def zeno(
  updates: signatures.Updates,
  *,
  loss_decreases: tf.Tensor,
  max_byzantine: int,
  norm_penalty: float,
) -> signatures.Aggregate:
  """The average of the n - f updates with the highest stochastic descendant scores.

  Ties go to the smallest row index; entries below 2**-126 may count as zero in a norm. The
  weights of clients play no part.

  Args:
    updates: float32 [n, d].
    loss_decreases: float64 [n], what each update saves on the root set: see `scores`.
    max_byzantine: Declared Byzantine clients, f (b in the paper), with n >= f + 1.
    norm_penalty: Multiplies the squared norm of a row in its score (rho in the paper).

  Returns:
    float32 [d], summed in float64. A row whose score is not finite, since it holds a NaN or
    an infinity or leads to a loss that does, is never averaged; with more than f of them
    the aggregate is all zeros.

  Guarantees:
    No majority of honest clients is needed: with f or fewer Byzantine rows, the i-th best
    row that is averaged scores at least as high as the i-th best honest row. From that the
    paper derives convergence, for an unbiased estimate of the loss.

  Raises:
    ValueError: If an option is out of range, or if it is known while tracing that n < f + 1 or
      that there is not one decrease a row.
    tf.errors.InvalidArgumentError: If n turns out too small at run time.
  """
  checks.nonnegative('norm_penalty', norm_penalty)
  return _zeno(_checked(updates, max_byzantine), loss_decreases, max_byzantine, norm_penalty)[0]


def build_zeno(
  *,
  max_byzantine: int,
  trial_learning_rate: float | None = None,
  norm_penalty: float | None = None,
) -> rule.RootedRule:
  """Returns the rooted rule `zeno`, which also measures `selected` and `score_gap`.

  `score_gap` is the lowest score selected minus the highest left out, 0 where no finite one
  was left out. The loss is that of the whole root set in each round; the paper draws a few
  fresh examples for it (n_r, 4 in the authors' code), which is cheaper and noisier. The
  penalty is on the squared norm, as in the paper; the authors' code
  (https://github.com/xcgoner/icml2019_zeno) takes the mean of the squared entries, so that its
  rho does what a d-th of it does here.

  Args:
    max_byzantine: Declared Byzantine clients, f.
    trial_learning_rate: Of the step with which an update is tried (gamma in the paper), by
      default that of the server: the step that would be taken if the aggregate were it.
    norm_penalty: rho in the paper, by default a 200th of the trial learning rate, the ratio of
      the authors' demonstration. On the squared norm that is d times as much as in their code:
      where messages are long (many parameters, DP noise) the shortest win with it; lower it.

  Raises:
    ValueError: If f is not a whole number of at least 0, `trial_learning_rate` not a finite number
      above 0, or `norm_penalty` not one of at least 0.
  """
  checks.whole_at_least('max_byzantine', max_byzantine, 0)
  if trial_learning_rate is not None:
    checks.positive('trial_learning_rate', trial_learning_rate)
  if norm_penalty is not None:
    checks.nonnegative('norm_penalty', norm_penalty)

  def apply(
    state: Any,
    updates: signatures.Updates,
    weights: signatures.Weights,
    seed: signatures.Seed,
    root: rule.RootView,
  ) -> rule.RuleOutput:
    del weights, seed  # Zeno reads neither.
    updates = _checked(updates, max_byzantine)
    step_size = root.learning_rate if trial_learning_rate is None else trial_learning_rate
    penalty = _PENALTY_OF_LEARNING_RATE * step_size if norm_penalty is None else norm_penalty

    def loss_after(step: tf.Tensor) -> tf.Tensor:
      return tf.cast(root.loss_after(step), tf.float64)

    losses = tf.map_fn(
      lambda index: loss_after(step_size * updates[index]),
      tf.range(tf.shape(updates)[0]),  # Not of the rows, of which it would make a copy.
      fn_output_signature=tf.float64,
      parallel_iterations=1,  # One model's activations at a time.
    )
    decreases = loss_after(tf.zeros_like(updates[0])) - losses
    return rule.RuleOutput(state, *_zeno(updates, decreases, max_byzantine, penalty))

  return rule.RootedRule('zeno', lambda dimension: (), apply)
