import numpy as np

from tff_robust import seeds


def test_draws_differ_between_seeds_purposes_and_indices_and_repeat_otherwise():
  def draw(*key):
    return seeds.host_generator(*key).integers(0, 2**62)

  purpose = seeds.Purpose
  keys = [
    (1, purpose.COHORT, 0),
    (1, purpose.COHORT, 1),
    (2, purpose.COHORT, 0),
    (1, purpose.PARTITION, 0),
    (1, purpose.COHORT),
  ]
  assert len({draw(*key) for key in keys}) == len(keys)
  assert draw(*keys[0]) == draw(*keys[0])


def test_fold_tells_purposes_rounds_and_clients_apart():
  root = seeds.tensor_seed(7)
  folded = {
    tuple(np.asarray(seeds.fold(root, purpose, round_index, client)).tolist())
    for purpose in (seeds.Purpose.BATCHES, seeds.Purpose.DP_NOISE)
    for round_index in range(4)
    for client in range(5)
  }
  assert len(folded) == 40
  order = seeds.fold(root, 1, 2), seeds.fold(root, 2, 1)
  assert not np.array_equal(*map(np.asarray, order))


def test_tensor_seed_is_two_int64_words_that_differ_between_runs():
  first, second = seeds.tensor_seed(0), seeds.tensor_seed(1)
  assert first.dtype == np.int64
  assert first.shape == (2,)
  assert not np.array_equal(first, second)
