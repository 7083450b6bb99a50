"""Order statistics of each coordinate from rows that a sorting network sorts."""

import tensorflow as tf

from tff_robust.aggregators import ranks_by_selection, sorting_network


class RanksBySorting:
  """The order statistics of a block of updates; see `order_statistics.Ranks`."""

  def __init__(self, block: tf.Tensor, size: int) -> None:
    """Sorts the columns of a block.

    Args:
      block: float32 [n, width], finite.
      size: Of the network, at least n.
    """
    self._block = block
    self._size = size
    self._num_rows = tf.shape(block)[0]
    # The sorted rows begin here, behind rows of minus infinity and in front of rows of
    # infinity: as many of each as leave the upper middle in the middle of the network.
    self._first = size // 2 - self._num_rows // 2
    padded = tf.cond(tf.equal(self._num_rows, size), lambda: block, self._pad)
    self._ascending = sorting_network.sort(tf.unstack(padded, num=size))

  def _pad(self) -> tf.Tensor:
    width = tf.shape(self._block)[1]
    num_above = self._size - self._num_rows - self._first
    below = tf.fill([self._first, width], float('-inf'))
    above = tf.fill([num_above, width], float('inf'))
    return tf.concat([below, self._block, above], axis=0)

  def median(self) -> tf.Tensor:
    """Returns float64 [width]: the median, for even n the mean of the two middle values."""
    middle = self._size // 2
    upper = self._ascending[middle]
    # Takes one of the two whole, without a look at its entries.
    lower = tf.raw_ops.Select(
      condition=tf.equal(self._num_rows % 2, 1), x=upper, y=self._ascending[max(middle - 1, 0)]
    )
    return (tf.cast(lower, tf.float64) + tf.cast(upper, tf.float64)) / 2

  def trimmed_mean(self, num_trimmed: tf.Tensor) -> tf.Tensor:
    """Returns float64 [width]: the mean without the `num_trimmed` values at either end."""
    positions = tf.range(self._size) - self._first
    stays = (positions >= num_trimmed) & (positions < self._num_rows - num_trimmed)
    nothing = tf.zeros_like(self._ascending[0])
    total = tf.zeros_like(nothing, tf.float64)
    for row, row_stays in zip(self._ascending, tf.unstack(stays, num=self._size), strict=True):
      total += tf.cast(tf.raw_ops.Select(condition=row_stays, x=row, y=nothing), tf.float64)
    return total / tf.cast(self._num_rows - 2 * num_trimmed, tf.float64)

  def mean_around(self, centre: tf.Tensor, num_averaged: tf.Tensor) -> tf.Tensor:
    """Returns float64 [width]: the mean of the `num_averaged` values closest to `centre`.

    They are neighbours in the sorted rows. Values equally far from the centre that compete
    for the last places share them equally.

    Args:
      centre: float64 [width].
      num_averaged: int32 [].
    """
    ascending = tf.stack(self._ascending)[self._first : self._first + self._num_rows]
    # Offsets from the centre are small where the values themselves are large.
    offsets = tf.cast(ascending, tf.float64) - centre
    num_dropped = self._num_rows - num_averaged
    # The lowest value goes while it is further away than the first one too many above.
    below, above = -offsets[:num_dropped], offsets[num_averaged:]
    goes = below > above
    stays = tf.fill([num_averaged, tf.shape(offsets)[1]], True)
    averaged = tf.concat([~goes, stays], axis=0) & tf.concat([stays, goes], axis=0)
    tied = tf.reduce_any(tf.equal(below, above) & tf.not_equal(above, 0.0))

    def mean() -> tf.Tensor:
      total = tf.reduce_sum(tf.where(averaged, offsets, tf.constant(0.0, tf.float64)), axis=0)
      return centre + total / tf.cast(num_averaged, tf.float64)

    selection = ranks_by_selection.RanksBySelection(self._block)
    return tf.cond(tied, lambda: selection.mean_around(centre, num_averaged), mean)
