"""A root set for trials: its loss is known, and so is the step that lowers it most."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tff_robust import signatures
from tff_robust.aggregators import rule as rule_lib

# The server would send numbers between these, in equal steps from the first coordinate on.
_FIRST, _LAST = 0.75, 1.5
# That many times its update would lower its loss most.
_BEST = 3.0


class TrialRoot(NamedTuple):
  """What a server would hold whose clients had better send `update`.

  Attributes:
    update: float64 [d], what the server itself would send.
  """

  update: np.ndarray

  def loss_after(self, step: np.ndarray) -> float:
    """Returns half of the squared distance from a step, float64 [d], to three updates."""
    return float(np.sum((step - _BEST * self.update) ** 2)) / 2


def build_trial_root(dimension: int) -> TrialRoot:
  """Returns a root set for updates of d coordinates."""
  return TrialRoot(np.linspace(_FIRST, _LAST, dimension))


def bind(rule: rule_lib.RootedRule) -> rule_lib.AggregationRule:
  """Returns the rule bound to the same root set, for updates of any dimension."""

  def apply(
    state: Any, updates: signatures.Updates, weights: signatures.Weights, seed: signatures.Seed
  ) -> rule_lib.RuleOutput:
    update = tf.linspace(tf.constant(_FIRST, tf.float64), _LAST, tf.shape(updates)[1])
    root = rule_lib.RootView(
      tf.cast(update, tf.float32),
      lambda step: tf.nn.l2_loss(tf.cast(step, tf.float64) - _BEST * update),
    )
    return rule.apply(state, updates, weights, seed, root)

  return rule_lib.AggregationRule(rule.name, rule.init, apply)
