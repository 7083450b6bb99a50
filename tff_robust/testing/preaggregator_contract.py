"""What every pre-aggregator promises, as checks that one of one's own can be put to.

  from tff_robust.testing import preaggregator_contract

  preaggregator_contract.check('my_step')    # a name in `registry.PREAGGREGATORS`

As in `rule_contract`, breaches are AssertionErrors in one sentence, deviations are named in
the row of the registry and have to show, and cases are drawn with NumPy.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_robust import checks, registry
from tff_robust.preaggregators import preaggregator
from tff_robust.privacy import message_noise, noise_limits
from tff_robust.testing import contract

_CLIENTS, _F, _D = 12, 2, 9
# What the rows of `_stack` are: unit noise around a point that is not zero.
_NOISE = message_noise.MessageNoise(noise_stddev=1.0, independent_bound=1.0)


class PreAggregatorTrial:
  """A pre-aggregator with f = 2 and defaults, or the examples of `options.OPTIONS`.

  Attributes:
    kind: What it is, for messages.
    name: Its name in the registry.
    entry: Its row of the registry.
    options: All options that it reads.
    built: The pre-aggregator.
  """

  kind = 'pre-aggregator'

  def __init__(self, name: str) -> None:
    """Builds the pre-aggregator; raises ValueError if the name is unknown."""
    checks.known_name('preaggregators', name, registry.PREAGGREGATORS)
    self.name, self.entry = name, registry.PREAGGREGATORS[name]
    needed = set(self.entry.reads) - set(self.entry.defaults)
    self.options = registry.complete_options(
      'preaggregators',
      registry.PREAGGREGATORS,
      name,
      {option: registry.OPTIONS[option].example for option in needed},
    )
    limits = noise_limits.noise_limits([_NOISE], dimension=_D, num_clients=_CLIENTS)
    self.built: preaggregator.PreAggregator = registry.build(
      registry.PREAGGREGATORS, name, self.options, noise_limits=limits
    )
    self._traced = tf.function(
      self.built.apply,
      input_signature=[
        tf.TensorSpec([None, _D]),
        tf.TensorSpec([None]),
        tf.TensorSpec([2], tf.int64),
      ],
      autograph=False,
    )

  def apply(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows and weights from a graph that does not know n."""
    arguments = tf.constant(rows), tf.ones(len(rows)), tf.constant([1, 2], tf.int64)
    new_rows, weights = self._traced(*arguments)
    return new_rows.numpy(), weights.numpy()


Trial = PreAggregatorTrial


def _stack(seed: int = 0) -> np.ndarray:
  return (np.random.default_rng(seed).normal(size=[_CLIENTS, _D]) + 0.3).astype(np.float32)


def _demand(kept: bool, trial: Trial, sentence: str) -> None:
  if not kept:
    raise AssertionError(f'pre-aggregator {trial.name!r} with n={_CLIENTS}: {sentence}')


def _near(found: np.ndarray, expected: np.ndarray) -> bool:
  return np.allclose(found, expected, rtol=1e-4, atol=1e-5)


def answers_in_form(trial: Trial) -> None:
  """As many float32 rows and weights come out as the registry counts, all finite."""
  rows, weights = trial.apply(_stack())
  expected = trial.entry.rows_after(_CLIENTS, trial.options)
  _demand(trial.built.name == trial.name, trial, f'it calls itself {trial.built.name!r}.')
  _demand(
    rows.shape == (expected, _D) and weights.shape == (expected,),
    trial,
    f'{rows.shape[0]} rows and {weights.shape[0]} weights come out, and the registry says'
    f' {expected}.',
  )
  _demand(
    len(rows) == _CLIENTS or not trial.built.keeps_rows,
    trial,
    f'{len(rows)} rows come out, and keeps_rows=True says that row i belongs to client i; give'
    ' keeps_rows=False.',
  )
  _demand(rows.dtype == weights.dtype == np.float32, trial, 'what comes out is not float32.')
  _demand(bool(np.isfinite(rows).all()), trial, 'finite rows become others.')


def equals_its_eager_self(trial: Trial) -> None:
  """Traced without knowing n, it answers as it does eagerly, and again the same."""
  rows = _stack()
  seed = tf.constant([1, 2], tf.int64)
  eager, _ = trial.built.apply(tf.constant(rows), tf.ones(len(rows)), seed)
  first, second = trial.apply(rows)[0], trial.apply(rows)[0]
  _demand(_near(first, np.asarray(eager)), trial, 'traced and eager answers differ.')
  _demand(first.tobytes() == second.tobytes(), trial, 'two answers with one seed differ.')


def keeps_row_order(trial: Trial) -> None:
  """The order of rows changes the order of what comes out, and nothing else."""
  rows = _stack()
  order = np.random.default_rng(1).permutation(len(rows))
  first, second = trial.apply(rows)[0], trial.apply(rows[order])[0]
  expected = first[order] if len(first) == len(rows) else first
  _demand(_near(second, expected), trial, 'rows in another order become other rows.')


def moves_with_the_origin(trial: Trial) -> None:
  """A shift of all rows shifts what comes out."""
  rows, shift = _stack(), np.linspace(-3, 3, _D, dtype=np.float32)
  _demand(
    _near(trial.apply(rows + shift)[0], trial.apply(rows)[0] + shift),
    trial,
    'with all rows shifted, what comes out is not shifted as well.',
  )


def moves_with_the_scale(trial: Trial) -> None:
  """A factor on all rows is a factor on what comes out."""
  rows = _stack()
  _demand(
    _near(trial.apply(8 * rows)[0] / 8, trial.apply(rows)[0]),
    trial,
    'with all rows times 8, what comes out is not 8 times itself.',
  )


def returns_a_shared_row(trial: Trial) -> None:
  """Where all rows agree, only that row comes out."""
  rows = np.tile(_stack()[:1], [_CLIENTS, 1])
  found = trial.apply(rows)[0]
  _demand(
    _near(found, np.broadcast_to(rows[0], found.shape)), trial, 'rows that agree become others.'
  )


def lengthens_no_row(trial: Trial) -> None:
  """No row that comes out is longer than the longest that went in."""
  for seed in range(3):
    rows = _stack(seed)
    longest = np.linalg.norm(rows, axis=1).max()
    found = np.linalg.norm(trial.apply(rows)[0], axis=1).max()
    _demand(found <= longest * 1.00001, trial, f'a row of length {found} comes out.')


def confines_far_rows(trial: Trial) -> None:
  """F far rows make at most f rows that are longer than every other that went in, or no number."""
  for value in (1e6, 1e30, -3e38):
    rows = _stack()
    rows[:_F] = value
    longest = np.linalg.norm(rows[_F:], axis=1).max()
    found = np.linalg.norm(trial.apply(rows)[0].astype(np.float64), axis=1)
    spoiled = int(np.sum(~(found <= longest * 1.00001)))  # A length that is NaN counts as well.
    _demand(spoiled <= _F, trial, f'{_F} rows at {value:g} make {spoiled} rows long, or no number.')


def confines_nonfinite_rows(trial: Trial) -> None:
  """T rows with a NaN or an infinity, up to f, make from 1 to t such rows, for the rule to drop."""
  for bad in (np.nan, np.inf, -np.inf):
    for count in range(1, _F + 1):
      rows = _stack()
      rows[-count:, 2] = bad
      spoiled = int(np.sum(~np.isfinite(trial.apply(rows)[0]).all(axis=1)))
      _demand(
        1 <= spoiled <= count, trial, f'{count} rows that hold {bad} make {spoiled} of their kind.'
      )


PROMISES: Mapping[str, Callable[[Any], None]] = contract.named(
  answers_in_form,
  equals_its_eager_self,
  keeps_row_order,
  moves_with_the_origin,
  moves_with_the_scale,
  returns_a_shared_row,
  lengthens_no_row,
  confines_far_rows,
  confines_nonfinite_rows,
)


def check(step: str | Trial, promise: str | None = None) -> None:
  """Checks one promise of a pre-aggregator, or all of them.

  Args:
    step: A name in `registry.PREAGGREGATORS`, or a trial, which keeps its graph.
    promise: A name in `PROMISES`, or None for all.

  Raises:
    AssertionError: If a promise is broken and is no deviation, or is kept and is said to be one.
    ValueError: If a name is unknown.
  """
  contract.check(Trial(step) if isinstance(step, str) else step, PROMISES, promise)
