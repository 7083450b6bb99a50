"""Squared Euclidean distances between updates, exact where rules depend on it.

The only distance code of the package. Ordinary pairs cost one float64 Gram matrix,
accumulated over blocks of columns. Where the Gram matrix cannot be trusted (pairs so
close that the subtraction of large inner products would cancel, and rows so small
that a processor may flush their entries to zero) the pair is settled by differences
of its two rows in float64, and identical rows are recognised and share one row of
distances, so that ties are ties.

A float32 Gram matrix of raw vectors is not an option: with updates of norm 50 that
differ by 0.01 it is wrong in the first digit.
"""

import functools

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import column_blocks

# A squared distance below this fraction of the squared norms of its rows is settled by
# differences: above it, the Gram matrix has about nine digits.
_CANCELLATION = 1e-6
# Entries below 2**-126 may be flushed to zero before they reach the Gram matrix. Their
# share of a squared distance is beyond the eighth digit when the squared norms exceed
# this figure for each coordinate.
_SMALL_PER_COORDINATE = 1e-49
_SMALLEST_DENORMAL = 2.0**-149
# A matrix product makes much of what is in the cache: wide blocks suit it.
PRODUCT_COLUMNS = 8_192
# From so many rows on, products that are left out save more than it costs to cut rows in halves.
_FEWEST_HALVED = 64
# Float32 sums over so few columns are wrong by at most about 3e-5 of their terms.
_FLOAT32_COLUMNS = column_blocks.FEWEST_COLUMNS
# What is read once and multiplied fast spends less time between blocks that are this large.
_ENTRIES_PER_BLOCK = 700_000
_FLOAT32_ROUNDING = 2.0**-24


def _to_float64(values: tf.Tensor) -> tf.Tensor:
  """Widens float32 to float64, denormals included, whatever the processor's flush mode."""
  bits = tf.bitcast(values, tf.int32)
  magnitude_bits = tf.bitwise.bitwise_and(bits, 0x7FFFFFFF)
  denormal = tf.cast(magnitude_bits, tf.float64) * tf.constant(_SMALLEST_DENORMAL, tf.float64)
  denormal = tf.where(bits < 0, -denormal, denormal)
  return tf.where(magnitude_bits < 0x00800000, denormal, tf.cast(values, tf.float64))


def _from_halves(own: tuple[tf.Tensor, tf.Tensor], across: tf.Tensor) -> tf.Tensor:
  """Returns inner products of rows from those within each half and of the first with the second."""
  upper = tf.concat([own[0], across], axis=1)
  return tf.concat([upper, tf.concat([tf.transpose(across), own[1]], axis=1)], axis=0)


def _self_product(rows: tf.Tensor) -> tf.Tensor:
  """Returns the inner products of float64 rows, of many rows each pair of halves once."""
  num_rows = tf.shape(rows)[0]
  half = tf.where(num_rows < _FEWEST_HALVED, 0, num_rows // 2)
  first, second = rows[:half], rows[half:]
  own = tuple(tf.matmul(part, part, transpose_b=True) for part in (first, second))
  return _from_halves(own, tf.matmul(first, second, transpose_b=True))


def _float32_self_product(rows: tf.Tensor) -> tf.Tensor:
  """Returns the inner products of float32 rows in float64, each pair of halves once.

  Products are summed in float32 over `_FLOAT32_COLUMNS` columns, and these sums over the block.
  """
  num_rows, width = tf.unstack(tf.shape(rows))
  half = (num_rows + 1) // 2
  missing = [2 * half - num_rows, -width % _FLOAT32_COLUMNS]
  rows = tf.cond(
    tf.reduce_any(tf.stack(missing) > 0),
    lambda: tf.pad(rows, [[0, missing[0]], [0, missing[1]]]),
    lambda: rows,
  )
  # One copy, in which each half is in one piece.
  parts = tf.transpose(tf.reshape(rows, [2, half, -1, _FLOAT32_COLUMNS]), [0, 2, 1, 3])
  own = tf.reduce_sum(tf.matmul(parts, parts, transpose_b=True), axis=1)
  across = tf.reduce_sum(tf.matmul(parts[0], parts[1], transpose_b=True), axis=0)
  own, across = tf.cast(own, tf.float64), tf.cast(across, tf.float64)
  return _from_halves((own[0], own[1]), across)[:num_rows, :num_rows]


def gram(updates: signatures.Updates) -> tf.Tensor:
  """Returns the float64 [n, n] inner products."""
  num_rows = tf.shape(updates)[0]
  initial = tf.zeros([num_rows, num_rows], tf.float64)
  initial = tf.ensure_shape(initial, [updates.shape[0], updates.shape[0]])
  return column_blocks.total(
    lambda block: _self_product(tf.cast(block, tf.float64)),
    updates,
    initial=initial,
    columns_per_block=PRODUCT_COLUMNS,
  )


def _from_gram(gram: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the squared distances that a Gram matrix implies, and which to trust."""
  gram = (gram + tf.transpose(gram)) / 2
  squared_norms = tf.linalg.diag_part(gram)
  norms = squared_norms[:, tf.newaxis] + squared_norms[tf.newaxis, :]
  squared = tf.linalg.set_diag(tf.maximum(norms - 2 * gram, 0.0), tf.zeros_like(squared_norms))
  return squared, squared >= _CANCELLATION * norms


def _settle(updates: signatures.Updates, squared: tf.Tensor, close: tf.Tensor) -> tf.Tensor:
  """Corrects the distances of close pairs by measuring them from one of their rows.

  Each row in turn becomes the origin of the rows close to it. Their differences from
  it, taken in float64, give all distances to it without cancellation, and most of the
  distances among them; the pairs that are close even from there wait for their turn.

  Args:
    updates: float32 [n, d].
    squared: float64 [n, n], distances from the Gram matrix.
    close: bool [n, n], symmetric: pairs whose entry of `squared` is not to be trusted.

  Returns:
    float64 [n, n] in which identical rows have distance exactly zero and equal rows.
  """
  num_rows = tf.shape(updates)[0]
  indices = tf.range(num_rows)

  def differences_gram(members: tf.Tensor) -> tf.Tensor:
    rows = tf.gather(updates, members)

    def block_gram(block: tf.Tensor) -> tf.Tensor:
      wide = _to_float64(block)
      return _self_product(wide - wide[:1])

    size = tf.size(members)
    return column_blocks.total(block_gram, rows, initial=tf.zeros([size, size], tf.float64))

  def settle_origin(
    origin: tf.Tensor, squared: tf.Tensor, close: tf.Tensor, representative: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    is_own = tf.equal(representative, indices)
    is_open = close[origin] & is_own & is_own[origin] & (indices > origin)
    others = tf.cast(tf.where(is_open)[:, 0], tf.int32)

    def settled() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
      members = tf.concat([[origin], others], 0)
      measured, trusted = _from_gram(differences_gram(members))
      pairs = tf.stack(tf.meshgrid(members, members, indexing='ij'), axis=-1)
      known = tf.where(trusted, measured, tf.gather_nd(squared, pairs))
      still_close = ~trusted & tf.gather_nd(close, pairs)
      identical = tf.boolean_mask(members, tf.equal(measured[0], 0.0))[1:]
      return (
        tf.tensor_scatter_nd_update(squared, pairs, known),
        tf.tensor_scatter_nd_update(close, pairs, still_close),
        tf.tensor_scatter_nd_update(
          representative, identical[:, tf.newaxis], tf.fill(tf.shape(identical), origin)
        ),
      )

    squared, close, representative = tf.cond(
      tf.size(others) > 0, settled, lambda: (squared, close, representative)
    )
    return origin + 1, squared, close, representative

  _, squared, _, representative = tf.while_loop(
    lambda origin, *_: origin < num_rows,
    settle_origin,
    (tf.constant(0), squared, close, indices),
    shape_invariants=(
      tf.TensorShape([]),
      squared.shape,
      squared.shape,
      tf.TensorShape([updates.shape[0]]),
    ),
    parallel_iterations=1,
  )
  return tf.gather(tf.gather(squared, representative, axis=0), representative, axis=1)


def squared_distances(updates: signatures.Updates) -> tf.Tensor:
  """Squared Euclidean distances between all pairs of updates.

  Args:
    updates: float32 [n, d].

  Returns:
    float64 [n, n], symmetric and nonnegative, with a zero diagonal. Identical rows have
    distance exactly 0 and equal distances to all others. Every pair with a row that
    holds a NaN or an infinity, and that row's diagonal entry, is +inf.

  Guarantees:
    About eight correct digits for any finite float32 input, from denormals to the
    largest value, at no more memory than a second stack of updates, in O(n**2 d) time
    for n rows that are far apart, identical, or gathered around a few points.

  Raises:
    ValueError: If `updates` is known not to be a matrix.
  """
  return _measure(updates)[0]


def _measure(updates: signatures.Updates) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Returns `squared_distances`, the Gram matrix, and bool []: it alone was not to be trusted."""
  updates = tf.convert_to_tensor(updates, tf.float32)
  checks.rank_two('updates', updates.shape)
  products = gram(updates)
  squared_norms = tf.linalg.diag_part(products)
  finite = tf.math.is_finite(squared_norms)
  finite_pairs = finite[:, tf.newaxis] & finite[tf.newaxis, :]
  squared, trusted = _from_gram(tf.where(finite_pairs, products, 0.0))
  squared_norms = tf.where(finite, squared_norms, 0.0)
  norms = squared_norms[:, tf.newaxis] + squared_norms[tf.newaxis, :]
  small = _SMALL_PER_COORDINATE * tf.cast(tf.shape(updates)[1], tf.float64)
  close = finite_pairs & (~trusted | (norms < small))
  close = tf.linalg.set_diag(close, tf.zeros_like(finite))
  some_close = tf.reduce_any(close)
  squared = tf.cond(some_close, lambda: _settle(updates, squared, close), lambda: squared)
  infinity = tf.constant(float('inf'), tf.float64)
  return tf.where(finite_pairs, squared, infinity), products, some_close


def bounds(updates: signatures.Updates) -> tuple[tf.Tensor, tf.Tensor]:
  """Bounds of the squared distances, from one float32 product that is several times faster.

  The rows are multiplied in float32 over few columns at a time, and blocks of columns are added
  up in float64. Where they have more in common than apart, in the first columns, they are centred
  on one of them before that. Rounding is bounded in the worst case: of w products by w roundings
  of the sum of their magnitudes, which Cauchy and Schwarz bound by the rows' norms; p sums of a
  block, the norms themselves and the centring add p and a little. A processor's product is
  assumed; some accelerators round float32 to fewer digits.

  Args:
    updates: float32 [n, d].

  Returns:
    Two float64 [n, n], below and above the squared distances. Where a row is not finite, or
    so large that its square is not, they need not be: a NaN or an infinity tells.
  """
  num_rows = tf.shape(updates)[0]
  origin, is_closer = _closer_origin(updates[:, :_FLOAT32_COLUMNS])

  def block_gram(block: tf.Tensor) -> tf.Tensor:
    rows = tf.cond(is_closer, lambda: block - tf.gather(block, [origin]), lambda: block)
    return _float32_self_product(rows)

  products = column_blocks.total(
    block_gram,
    updates,
    initial=tf.zeros([num_rows, num_rows], tf.float64),
    entries_per_block=_ENTRIES_PER_BLOCK,
  )
  squared_norms = tf.linalg.diag_part(products)
  norms = squared_norms[:, tf.newaxis] + squared_norms[tf.newaxis, :]
  width = tf.cast(tf.shape(updates)[1], tf.float64)
  sums = column_blocks.MOST_COLUMNS // _FLOAT32_COLUMNS
  rounding = 2.1 * (_FLOAT32_COLUMNS + sums + 32) * _FLOAT32_ROUNDING
  # Products below 2**-126 may be flushed to zero.
  error = rounding * norms + tf.constant(2.0**-120, tf.float64) * width
  squared = norms - products - tf.transpose(products)
  return tf.maximum(squared - error, 0.0), squared + error


def _closer_origin(updates: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns a central row, int32 [], and whether most rows are closer to it than to zero."""
  products = gram(updates)
  squared = _from_gram(products)[0]
  origin = central_row(squared)
  half = (tf.shape(updates)[0] + 1) // 2

  def middle(values: tf.Tensor) -> tf.Tensor:
    return tf.sort(values)[half - 1]

  return origin, middle(squared[origin]) < middle(tf.linalg.diag_part(products))


def from_rows(updates: signatures.Updates, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Squared distances of some rows from all, and whether all of them are to be trusted.

  Args:
    updates: float32 [n, d], finite.
    rows: int32 [c], at least one.

  Returns:
    float64 [c, n], infinite for a row and itself, and bool []: as accurate as
    `squared_distances`, unless some rows are so close that differences must settle it.
  """
  num_rows, num_chosen = tf.shape(updates)[0], tf.size(rows)

  def block_products(block: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(block, tf.float64)

    def one_by_one(count: int) -> tf.Tensor:
      chosen = [rows[tf.minimum(position, num_chosen - 1)] for position in range(count)]
      return tf.stack([tf.linalg.matvec(wide, wide[row]) for row in chosen])[:num_chosen]

    def together() -> tf.Tensor:
      return tf.transpose(tf.matmul(wide, tf.gather(wide, rows), transpose_b=True))

    # Mostly two or three rows compete. A product with one needs no second copy of all.
    few = [functools.partial(one_by_one, count) for count in (2, 3, 4)]
    across = tf.switch_case(tf.clip_by_value(num_chosen, 2, 5) - 2, [*few, together])
    # Not by a norm: its root is not exact where sums are, and ties would not be ties.
    squared_norms = tf.reduce_sum(tf.square(wide), axis=1)
    return tf.concat([across, squared_norms[tf.newaxis]], axis=0)

  products = column_blocks.total(
    block_products,
    updates,
    initial=tf.zeros([num_chosen + 1, num_rows], tf.float64),
    entries_per_block=_ENTRIES_PER_BLOCK,
  )
  squared_norms = products[-1]
  norms = tf.gather(squared_norms, rows)[:, tf.newaxis] + squared_norms[tf.newaxis, :]
  squared = norms - 2 * products[:-1]
  own = tf.equal(rows[:, tf.newaxis], tf.range(num_rows)[tf.newaxis, :])
  squared = tf.where(own, tf.constant(float('inf'), tf.float64), squared)
  small = _SMALL_PER_COORDINATE * tf.cast(tf.shape(updates)[1], tf.float64)
  trusted = (squared >= _CANCELLATION * norms) & (norms >= small)
  return squared, tf.reduce_all(trusted | own)


def central_row(squared: tf.Tensor) -> tf.Tensor:
  """Returns int32 []: the row with the closest majority, of finite rows.

  The row whose (n // 2 + 1)-th smallest distance, its own zero included, is smallest:
  with a majority of honest rows it is within reach of them, wherever the others are.

  Args:
    squared: float64 [n, n], squared distances.
  """
  majority = tf.shape(squared)[0] // 2 + 1
  radius = -tf.math.top_k(-squared, k=majority).values[:, -1]
  return tf.argmin(radius, output_type=tf.int32)


def central_gram(updates: signatures.Updates) -> tf.Tensor:
  """Inner products of the rows' differences from one that is central among them.

  Every affine combination of the rows can be measured with these, without touching
  the d coordinates again: with coefficients a that add up to 1, the squared distance
  of the combination from row i is (a - e_i)^T G (a - e_i).

  Args:
    updates: float32 [n, d], finite.

  Returns:
    float64 [n, n].
  """
  squared, products, some_close = _measure(updates)
  origin = central_row(squared)

  def from_products() -> tf.Tensor:
    symmetric = (products + tf.transpose(products)) / 2
    across = symmetric[origin]
    # In this order the origin's own row and column are exactly zero.
    around = (symmetric - across[tf.newaxis, :]) - (across - across[origin])[:, tf.newaxis]
    return (around + tf.transpose(around)) / 2

  # Where rows are close beside their norms, the differences themselves must be multiplied.
  return tf.cond(some_close, lambda: _gram_around(updates, origin), from_products)


def _gram_around(updates: signatures.Updates, origin: tf.Tensor) -> tf.Tensor:

  def block_gram(block: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(block, tf.float64)
    return _self_product(wide - tf.gather(wide, [origin]))

  num_rows = tf.shape(updates)[0]
  products = column_blocks.total(
    block_gram,
    updates,
    initial=tf.zeros([num_rows, num_rows], tf.float64),
    columns_per_block=PRODUCT_COLUMNS,
  )
  return (products + tf.transpose(products)) / 2
