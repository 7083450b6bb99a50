"""Types that rules, attacks and factories share.

Letters in shape comments: n clients of a round, f of them declared Byzantine at
most (`max_byzantine`), h honest, b Byzantine in fact (`num_byzantine`), d
coordinates of a flattened update.
"""

from typing import TypeAlias

import tensorflow as tf

# float32 [n, d], one row a client. A rule gives the same aggregate in any row order.
Updates: TypeAlias = tf.Tensor
# float32 [n], nonnegative: the number of examples behind each row. Only means read it.
Weights: TypeAlias = tf.Tensor
# float32 [d]
Aggregate: TypeAlias = tf.Tensor
# int64 [2], for tf.random.stateless_*
Seed: TypeAlias = tf.Tensor
