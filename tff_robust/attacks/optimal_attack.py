"""Attacks that try their step on the very rule that they attack."""

from typing import Any

import tensorflow as tf

from tff_robust import checks, signatures
from tff_robust.aggregators import rule as rule_lib
from tff_robust.attacks import attack, line_search, perturbation

IPM_NAME = 'optimal_ipm'
ALIE_NAME = 'optimal_alie'


def optimal_step(
  honest: signatures.Updates,
  direction: tf.Tensor,
  base: tf.Tensor,
  rule: rule_lib.AggregationRule,
  state: Any,
  seed: signatures.Seed,
  *,
  num_byzantine: Any,
  num_evaluations: int = 20,
) -> tf.Tensor:
  """Returns the step t for which base + t * direction moves the rule's output furthest.

  Harm is the distance of the aggregate to the mean of the finite honest rows.

  Args:
    honest: float32 [h, d], as sent.
    direction: float64 [d].
    base: float64 [d].
    rule: The rule under attack, with its pre-aggregators.
    state: The rule's state, as the attackers believe it to be.
    seed: int64 [2], for a rule that draws.
    num_byzantine: Colluders, b. In the trial they come last, where they lose ties.
    num_evaluations: How often the rule is tried.

  Returns:
    float64 [], at least 0.
  """
  center = attack.finite_mean(honest)

  def harm(step: tf.Tensor) -> tf.Tensor:
    sent = attack.repeat_row(base + step * direction, num_byzantine)
    aggregate = _apply(rule, state, honest, sent, seed).aggregate
    return tf.norm(tf.cast(aggregate, tf.float64) - center)

  return line_search.line_search(harm, num_evaluations=num_evaluations)


def build_optimal_ipm(
  *, rule: rule_lib.AggregationRule, num_evaluations: int = 20
) -> attack.Attack:
  """Returns inner product manipulation with the epsilon that harms `rule` most.

  In a trial all clients count alike: attackers do not know the others' numbers of examples, which
  of our rules only the mean reads.

  Youssef Allouah, Sadegh Farhadkhani, Rachid Guerraoui, Nirupam Gupta, Rafael Pinot,
  John Stephan, "Fixing by Mixing: A Recipe for Optimal Byzantine ML under
  Heterogeneity", AISTATS 2023, https://arxiv.org/abs/2302.01772. Attackers know the
  rule and its options. Of a rule that draws they know the distribution, not the draw;
  the state of a rule that has one they advance by their own trial, as if they had
  attacked in every round.

  Args:
    rule: The whole pipeline under attack: pre-aggregators and rule.
    num_evaluations: How often the pipeline is tried in a round, at least 1.

  Raises:
    ValueError: If `num_evaluations` is less than 1.
  """
  return _build(IPM_NAME, rule, num_evaluations)


def build_optimal_alie(
  *, rule: rule_lib.AggregationRule, num_evaluations: int = 20
) -> attack.Attack:
  """Returns A Little Is Enough with the z that harms `rule` most; see `build_optimal_ipm`."""
  return _build(ALIE_NAME, rule, num_evaluations)


def _build(name: str, rule: rule_lib.AggregationRule, num_evaluations: int) -> attack.Attack:
  checks.at_least('attack_evaluations', num_evaluations, 1)

  def apply(state: Any, view: attack.View, seed: signatures.Seed) -> tuple[Any, signatures.Updates]:
    honest = view.messages
    count = attack.num_byzantine(view)
    rows = attack.finite_rows(honest)
    center, _ = attack.center_and_deviation(rows)
    if name == IPM_NAME:
      base, direction = tf.zeros_like(center), -center
    else:
      base, direction = center, perturbation.direction(rows, 'deviation')

    def respond() -> tuple[Any, signatures.Updates]:
      step = optimal_step(
        honest,
        direction,
        base,
        rule,
        state,
        seed,
        num_byzantine=count,
        num_evaluations=num_evaluations,
      )
      sent = attack.repeat_row(base + step * direction, count)
      return _apply(rule, state, honest, sent, seed).state, sent

    def stay_silent() -> tuple[Any, signatures.Updates]:
      return state, attack.repeat_row(tf.zeros_like(center), count)

    return tf.cond((count > 0) & (tf.shape(rows)[0] > 0), respond, stay_silent)

  return attack.Attack(name, ('honest_messages',), rule.init, apply)


def _apply(
  rule: rule_lib.AggregationRule,
  state: Any,
  honest: signatures.Updates,
  sent: signatures.Updates,
  seed: signatures.Seed,
) -> rule_lib.RuleOutput:
  updates = tf.concat([honest, sent], axis=0)
  weights = tf.ones([tf.shape(updates)[0]], tf.float32)
  return rule.apply(state, updates, weights, seed)
