"""Sign majority: each coordinate by vote (signSGD with majority vote).

Jeremy Bernstein, Jiawei Zhao, Kamyar Azizzadenesheli, Anima Anandkumar, "signSGD with
Majority Vote is Communication Efficient and Fault Tolerant", ICLR 2019, algorithm 1.
https://arxiv.org/abs/1810.05291
"""

import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import column_blocks, demands, finite_rows, rule


def _sign_majority(updates: signatures.Updates) -> finite_rows.Outcome:
  updates = demands.enough_clients(updates, rule='sign_majority', max_byzantine=0, required=1)

  def of_block(block: tf.Tensor) -> tf.Tensor:
    return tf.sign(tf.reduce_sum(tf.sign(block), axis=0))

  return finite_rows.aggregate(
    updates, lambda kept, _: (column_blocks.map_columns(of_block, kept), {})
  )


def sign_majority(updates: signatures.Updates) -> signatures.Aggregate:
  """The sign of the sum of the signs, in each coordinate.

  The step has the same length whatever the updates' lengths: it needs a server learning
  rate of its own. A tied vote is 0. Rows with a NaN or an infinity do not vote. Entries below
  2**-126 may count as zero, and abstain.

  Args:
    updates: float32 [n, d].

  Returns:
    float32 [d] of -1, 0 and 1; all zeros if no row is finite.

  Guarantees:
    f Byzantine rows decide a coordinate only where the honest vote is within f of a tie.
  """
  return _sign_majority(updates)[0]


def build_sign_majority() -> rule.AggregationRule:
  """Returns the rule `sign_majority`."""
  return finite_rows.build_rule('sign_majority', lambda updates, seed: _sign_majority(updates))
