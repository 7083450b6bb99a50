"""An attack under trial: by messages, traced once for all row counts, or by data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_robust import checks, registry
from tff_robust.attacks import attack as attack_lib
from tff_robust.attacks import knowledge

DIMENSION = 6
NUM_CLASSES = 4


class AttackTrial:
  """An attack of the registry with defaults, or the examples of `options.OPTIONS`.

  An attack that searches against a live rule searches against the mean.

  Attributes:
    kind: What it is, for messages.
    name: Its name in the registry.
    entry: Its row of the registry.
    options: All options that it reads.
  """

  kind = 'attack'

  def __init__(self, name: str, *, given: Mapping[str, registry.OptionValue] | None = None) -> None:
    """Builds the attack.

    Args:
      name: A name in `registry.ATTACKS`.
      given: Options that differ from defaults and examples.

    Raises:
      ValueError: If the name is unknown.
    """
    checks.known_name('attack', name, registry.ATTACKS)
    self.name, self.entry = name, registry.ATTACKS[name]
    needed = set(self.entry.reads) - set(self.entry.defaults)
    examples = {option: registry.OPTIONS[option].example for option in needed}
    self.options = registry.complete_options(
      'attack', registry.ATTACKS, name, {**examples, **(given or {})}
    )
    rule = registry.build(registry.AGGREGATORS, 'mean', {}) if self.entry.takes_rule else None
    self.built = registry.build(
      registry.ATTACKS, name, self.options, rule=rule, num_classes=NUM_CLASSES
    )
    self._traced: Any = None

  @property
  def views(self) -> tuple[str, ...]:
    """What it is tried with: the first view of honest messages that it allows, and of its own."""
    option, others = self.entry.knowledge_with or ('', ())
    also = others if option and self.options[option] is not None else ()
    allowed = (*self.entry.knowledge, *also)
    firsts = (
      next((view for view in allowed if view in side), '')
      for side in (knowledge.HONEST, knowledge.OWN)
    )
    return tuple(view for view in firsts if view)

  def initial_state(self) -> Any:
    """Returns the state before the first round, as tensors."""
    return tf.nest.map_structure(tf.convert_to_tensor, self.built.init(DIMENSION))

  def send(
    self,
    state: Any,
    honest: np.ndarray,
    own: np.ndarray,
    round_index: int = 0,
    *,
    view: str | None = None,
  ) -> tuple[Any, tf.Tensor]:
    """Returns the next state and what the attackers send, from a graph that knows no counts.

    Args:
      state: From `initial_state` or the round before.
      honest: float32 [h, DIMENSION], what honest clients send.
      own: float32 [b, DIMENSION], what compromised clients would have sent.
      round_index: Counted from 0.
      view: Whose messages it sees, one of `views`; None for the first of them.
    """
    if self._traced is None:
      self._traced = self._trace()
    seen = honest if (view or self.views[0]) in knowledge.HONEST else own
    return self._traced(state, seen, own, tf.constant(round_index, tf.int64))

  @property
  def num_traces(self) -> int:
    """How often the attack was traced."""
    return 0 if self._traced is None else self._traced.experimental_get_tracing_count()

  def _trace(self) -> Any:
    rows = tf.TensorSpec([None, DIMENSION], tf.float32)
    state = tf.nest.map_structure(
      lambda value: tf.TensorSpec(value.shape, value.dtype), self.initial_state()
    )

    @tf.function(input_signature=[state, rows, rows, tf.TensorSpec([], tf.int64)], autograph=False)
    def run(state: Any, messages: Any, own: Any, round_index: Any) -> Any:
      view = attack_lib.View(messages, own, round_index)
      return self.built.apply(state, view, tf.stack([round_index, tf.constant(7, tf.int64)]))

    return run
