"""What every aggregation rule promises, as checks that a rule of one's own can be put to.

  from tff_robust.testing import rule_contract

  rule_contract.check('my_rule')                      # every promise
  rule_contract.check('my_rule', 'keeps_row_order')   # one of rule_contract.PROMISES

A broken promise raises AssertionError and says which, at which f, n and seed of the rows. A
rule that does not keep a promise by its nature says so, with the reason, in its row of the
registry (`registry.Entry.deviations`); a deviation has to show, or it is an error as well.

Cases are drawn from fixed seeds with NumPy, so that nothing but the library is needed; most
of the promises are also put to hypothesis in the library's own tests.
"""

from collections.abc import Callable, Iterator, Mapping

from tff_robust.testing import contract, rule_defences, rule_promises, rule_trial

Trial = rule_trial.RuleTrial

PROMISES: Mapping[str, Callable[[Trial], None]] = contract.named(
  rule_promises.answers_in_form,
  rule_promises.equals_its_oracle,
  rule_promises.equals_its_eager_self,
  rule_promises.repeats_itself,
  rule_promises.keeps_its_state,
  rule_promises.keeps_row_order,
  rule_promises.moves_with_the_origin,
  rule_promises.moves_with_the_scale,
  rule_promises.ignores_weights,
  rule_promises.returns_a_shared_row,
  rule_promises.stays_within_the_rows,
  rule_defences.survives_far_rows,
  rule_defences.drops_nonfinite_rows,
  rule_defences.lowers_f_by_what_it_drops,
  rule_defences.rejects_hopeless_rounds,
  rule_defences.is_defined_from_its_bound,
  rule_defences.refuses_a_negative_f,
)


def check(rule: str | Trial, promise: str | None = None) -> None:
  """Checks one promise of a rule, or all of them.

  Args:
    rule: A name in `registry.AGGREGATORS`, or a `RuleTrial`, which keeps its graphs.
    promise: A name in `PROMISES`, or None for all.

  Raises:
    AssertionError: If a promise is broken and is no deviation of the rule, or is kept and is
      said to be one.
    ValueError: If a name is unknown.
  """
  contract.check(Trial(rule) if isinstance(rule, str) else rule, PROMISES, promise)


def findings(rule: str | Trial) -> Iterator[tuple[str, str | None]]:
  """Yields every promise and, where `check` fails on it, what it says; None where it holds."""
  yield from contract.findings(Trial(rule) if isinstance(rule, str) else rule, PROMISES)
