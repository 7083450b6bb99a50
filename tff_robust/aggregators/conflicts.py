"""Choosing rows of which no two are in conflict, exactly.

Leaving out at most f of n rows so that no conflict remains is the vertex cover problem.
It is hard in n, but for a small f a search that branches on the row with the most
conflicts is short: either that row goes, or all rows in conflict with it go.
"""

import tensorflow as tf

# A search that is undecided between more ways than this is given up with an error.
_MAX_BRANCHES = 2**18


def _can_resolve(conflicts: tf.Tensor, rows: tf.Tensor, num_removed: tf.Tensor) -> tf.Tensor:
  """Returns bool []: whether leaving out so many of `rows` leaves no conflict.

  All branches of the search advance together, one removal or more at a time.

  Args:
    conflicts: float32 [n, n], symmetric, 1 for a conflict.
    rows: bool [n], the rows to choose from.
    num_removed: int32 [], how many may be left out.
  """

  def branch(
    rows: tf.Tensor, budgets: tf.Tensor, found: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    present = tf.cast(rows, tf.float32)
    degrees = tf.matmul(present, conflicts) * present
    worst = tf.reduce_max(degrees, axis=1)
    found = tf.reduce_any(tf.equal(worst, 0.0))
    # Each removal resolves at most `worst` conflicts.
    hopeful = tf.reduce_sum(degrees, axis=1) / 2 <= tf.cast(budgets, tf.float32) * worst
    rows, budgets, degrees = (tf.boolean_mask(x, hopeful) for x in (rows, budgets, degrees))
    pivot = tf.argmax(degrees, axis=1)
    is_pivot = tf.one_hot(pivot, tf.shape(rows)[1], on_value=True, off_value=False)
    is_rival = tf.gather(conflicts, pivot) * tf.cast(rows, tf.float32) > 0
    num_rivals = tf.math.count_nonzero(is_rival, axis=1, dtype=tf.int32)
    # Of two rows in conflict with each other only, it does not matter which one goes.
    worthwhile = (num_rivals > 1) & (budgets >= num_rivals)
    without_rivals = tf.boolean_mask(rows & ~is_rival, worthwhile)
    rows = tf.concat([rows & ~is_pivot, without_rivals], axis=0)
    spent = tf.boolean_mask(budgets - num_rivals, worthwhile)
    budgets = tf.concat([budgets - 1, spent], axis=0)
    manageable = tf.debugging.Assert(
      tf.shape(rows)[0] <= _MAX_BRANCHES,
      [
        f'minimum_diameter_averaging is undecided between more than {_MAX_BRANCHES} ways to leave'
        ' out rows; lower max_byzantine or use another aggregator.'
      ],
    )
    with tf.control_dependencies([manageable]):
      return tf.identity(rows), budgets, found

  return tf.while_loop(
    lambda rows, budgets, found: ~found & (tf.shape(rows)[0] > 0),
    branch,
    (rows[tf.newaxis, :], num_removed[tf.newaxis], tf.constant(False)),
    shape_invariants=(
      tf.TensorShape([None, None]),
      tf.TensorShape([None]),
      tf.TensorShape([]),
    ),
  )[2]


def can_resolve(conflicts: tf.Tensor, num_removed: tf.Tensor) -> tf.Tensor:
  """Returns bool []: whether leaving out `num_removed` rows leaves no two in conflict.

  Args:
    conflicts: bool [n, n], symmetric with a False diagonal.
    num_removed: int32 [].
  """
  everyone = tf.fill(tf.shape(conflicts)[:1], True)
  return _can_resolve(tf.cast(conflicts, tf.float32), everyone, num_removed)


def first_without_conflict(conflicts: tf.Tensor, num_removed: tf.Tensor) -> tf.Tensor:
  """Returns bool [n]: n - num_removed rows without conflict, of smallest indices.

  Of all such choices, the lexicographically first.

  Args:
    conflicts: bool [n, n], symmetric with a False diagonal.
    num_removed: int32 [], with which `can_resolve` holds.
  """
  num_rows = tf.shape(conflicts)[0]
  weights = tf.cast(conflicts, tf.float32)
  indices = tf.range(num_rows)
  num_chosen = num_rows - num_removed

  def decide(index: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    trial = chosen | tf.equal(indices, index)
    rivals = tf.reduce_any(conflicts & trial[:, tf.newaxis], axis=0)
    passed_over = (indices < index) & ~chosen
    num_gone = tf.math.count_nonzero(rivals | passed_over, dtype=tf.int32)
    consistent = ~tf.reduce_any(rivals & trial) & (num_gone <= num_removed)
    undecided = (indices > index) & ~rivals
    possible = tf.cond(
      consistent,
      lambda: _can_resolve(weights, undecided, num_removed - num_gone),
      lambda: tf.constant(False),
    )
    return index + 1, tf.where(possible, trial, chosen)

  def unfinished(index: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(chosen, dtype=tf.int32) < num_chosen

  _, chosen = tf.while_loop(
    unfinished,
    decide,
    (tf.constant(0), tf.fill([num_rows], False)),
    shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
  )
  return chosen
