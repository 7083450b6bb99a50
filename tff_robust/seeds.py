"""Every random draw of a run, folded from one run seed.

A draw belongs to a purpose, a round and, on clients, a client id and a local step.
Inside TensorFlow a seed is an int64 [2] tensor consumed by `tf.random.stateless_*`;
on the host it feeds a NumPy generator. Nothing here keeps state, so a resumed run
draws exactly what the uninterrupted one would have drawn.
"""

import enum
from typing import Any

import numpy as np


class Purpose(enum.IntEnum):
  """What a draw is for. Values are part of a run's identity: never renumber them."""

  INITIAL_WEIGHTS = 1
  VALIDATION_SPLIT = 2
  PARTITION = 3
  BYZANTINE_CLIENTS = 4
  COHORT = 5
  BATCHES = 6
  DP_NOISE = 7
  ATTACK = 8
  RULE = 9
  ROOT_SET = 10
  ROOT_BATCHES = 11


def host_generator(run_seed: int, purpose: Purpose, *indices: int) -> np.random.Generator:
  """Returns a NumPy generator for one purpose.

  Args:
    run_seed: The seed of the run, a nonnegative integer.
    purpose: What the draw is for.
    *indices: Nonnegative integers that tell draws of one purpose apart, for example
      the round.
  """
  sequence = np.random.SeedSequence(run_seed, spawn_key=(int(purpose), *indices))
  return np.random.Generator(np.random.PCG64(sequence))


def tensor_seed(run_seed: int) -> np.ndarray:
  """Returns the run seed as the int64 [2] array from which clients and server fold."""
  words = np.random.SeedSequence(run_seed).generate_state(2, np.uint64)
  return words.view(np.int64)


def fold(seed: Any, *indices: Any) -> Any:
  """Folds integers (Python ints or int64 scalars, in order) into an int64 [2] seed.

  Args:
    seed: int64 [2].
    *indices: What tells this draw apart: a `Purpose`, a round, a client id, a step.

  Returns:
    int64 [2].
  """
  import tensorflow as tf  # pylint: disable=g-import-not-at-top

  for index in indices:
    seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(index, tf.int64))
  return seed
