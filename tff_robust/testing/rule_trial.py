"""A rule under trial: built for any f, traced once for all row counts."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tff_robust import checks, registry
from tff_robust.aggregators import rule as rule_lib
from tff_robust.testing import trial_root

SEED = (1, 2)


class Output(NamedTuple):
  """What a rule answered, as NumPy.

  Attributes:
    aggregate: float32 [d].
    measurements: Arrays by name.
  """

  aggregate: np.ndarray
  measurements: Mapping[str, np.ndarray]


class RuleTrial:
  """Applies a rule of the registry to stacks of rows, for any declared f.

  The options that the rule reads have their defaults, or the examples of
  `options.OPTIONS`; f is chosen in each call where the rule reads `max_byzantine`. A rule that
  looks at a root set is given that of `trial_root`.

  Attributes:
    kind: What it is, for messages.
    name: Its name in the registry.
    entry: Its row of the registry.
    dimension: d of all stacks that `apply` is given, or None for any.
  """

  kind = 'rule'

  def __init__(
    self,
    name: str,
    *,
    dimension: int | None = 37,
    given: Mapping[str, registry.OptionValue] | None = None,
  ) -> None:
    """Prepares a trial; nothing is built yet.

    Args:
      name: A name in `registry.AGGREGATORS`.
      dimension: d of all stacks, or None for any; rules that need to know it need it here.
      given: Options that differ from defaults and examples.

    Raises:
      ValueError: If the name is unknown.
    """
    checks.known_name('aggregator', name, registry.AGGREGATORS)
    self.name, self.entry, self.dimension = name, registry.AGGREGATORS[name], dimension
    self._given = dict(given or {})
    self._traced: dict[int, Callable[..., Any]] = {}

  @property
  def reads_f(self) -> bool:
    """Whether the rule is told how many Byzantine clients to tolerate."""
    return 'max_byzantine' in self.entry.reads

  def options(self, f: int) -> dict[str, registry.OptionValue | None]:
    """Returns every option of the rule at this f."""
    needed = set(self.entry.reads) - set(self.entry.defaults)
    given = {name: registry.OPTIONS[name].example for name in needed} | self._given
    if self.reads_f:
      given['max_byzantine'] = f
    return registry.complete_options('aggregator', registry.AGGREGATORS, self.name, given)

  def rule(self, f: int) -> rule_lib.AggregationRule:
    """Builds the rule for f."""
    return self.build(self.options(f))

  def build(self, options: Mapping[str, registry.OptionValue | None]) -> rule_lib.AggregationRule:
    """Builds the rule from options that nobody has checked."""
    rule = registry.build(registry.AGGREGATORS, self.name, options)
    return trial_root.bind(rule) if isinstance(rule, rule_lib.RootedRule) else rule

  def required_clients(self, f: int) -> int:
    """Returns the smallest round for which the rule says that it is defined."""
    return self.entry.required_clients(self.options(f))

  def num_rows(self, f: int) -> int:
    """Returns a row count at which the rule is well defined and has an honest majority."""
    return max(self.required_clients(f), 2 * f + 3) + 4

  def apply(
    self, rows: Any, f: int, *, weights: Any = None, seed: tuple[int, int] = SEED
  ) -> Output:
    """Applies the rule in its first round, in a graph that does not know n."""
    state = self.first_state(f, np.shape(rows)[1])
    return self.follow(state, rows, f, weights=weights, seed=seed)[1]

  def first_state(self, f: int, dimension: int) -> Any:
    """Returns the rule's state before its first round, as tensors."""
    return tf.nest.map_structure(tf.convert_to_tensor, self.rule(f).init(dimension))

  def follow(
    self, state: Any, rows: Any, f: int, *, weights: Any = None, seed: tuple[int, int] = SEED
  ) -> tuple[Any, Output]:
    """Applies the rule in the round that follows a state, in a graph that does not know n.

    Returns:
      The next state and what the rule answered.
    """
    rows = np.asarray(rows, np.float32)
    if f not in self._traced:
      self._traced[f] = self._trace(self.rule(f))
    if weights is None:
      weights = np.ones(len(rows), np.float32)
    following, aggregate, measurements = self._traced[f](
      state,
      rows,
      np.asarray(weights, np.float32),
      tf.constant(seed, tf.int64),
    )
    measured = {name: value.numpy() for name, value in measurements.items()}
    return following, Output(aggregate.numpy(), measured)

  def apply_eagerly(self, rows: Any, f: int, *, seed: tuple[int, int] = SEED) -> Output:
    """Applies the rule in its first round to rows whose number is known."""
    rows, rule = np.asarray(rows, np.float32), self.rule(f)
    output = rule.apply(
      rule.init(rows.shape[1]),
      tf.constant(rows),
      tf.ones([len(rows)]),
      tf.constant(seed, tf.int64),
    )
    return Output(
      np.asarray(output.aggregate),
      {name: np.asarray(value) for name, value in output.measurements.items()},
    )

  def oracle(self, rows: Any, f: int) -> np.ndarray | None:
    """Returns what the rule's oracle answers, float64 [d]; None if it has none."""
    if not self.entry.oracle:
      return None
    module_name, function_name = self.entry.oracle.split(':')
    function = getattr(importlib.import_module(module_name), function_name)
    options = self.options(f)
    arguments: dict[str, Any] = {
      self.entry.reads[option]: options[option] for option in self.entry.reads
    }
    wide = np.asarray(rows, np.float32).astype(np.float64)
    if self.entry.needs_root:
      arguments['root'] = trial_root.build_trial_root(wide.shape[1])
    return np.asarray(function(wide, **arguments))

  def _trace(self, rule: rule_lib.AggregationRule) -> Callable[..., Any]:
    width = self.dimension

    def any_size(value: Any) -> tf.TensorSpec:
      shape = value.shape if width is not None else [None] * value.shape.rank
      return tf.TensorSpec(shape, value.dtype)

    state = tf.nest.map_structure(tf.convert_to_tensor, rule.init(width or 1))

    @tf.function(
      input_signature=[
        tf.nest.map_structure(any_size, state),
        tf.TensorSpec([None, width]),
        tf.TensorSpec([None]),
        tf.TensorSpec([2], tf.int64),
      ],
      autograph=False,
    )
    def apply(state: Any, rows: Any, weights: Any, seed: Any) -> Any:
      output = rule.apply(state, rows, weights, seed)
      return output.state, output.aggregate, dict(output.measurements)

    return apply
