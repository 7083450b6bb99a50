"""What every attack promises: shapes, numbers, and that it harms.

  from tff_robust.testing import attack_contract

  attack_contract.check('my_attack')                      # every promise
  attack_contract.check('my_attack', 'harms_the_mean')    # one of promises_of('my_attack')

As in `rule_contract`, breaches are AssertionErrors in one sentence, deviations of an attack
are named in its row of the registry and have to show, and cases are drawn with NumPy.
Attacks by messages and attacks by data promise different things.
"""

from collections.abc import Callable, Mapping

from tff_robust import registry
from tff_robust.testing import attack_trial, contract, data_attack_promises, message_attack_promises

Trial = attack_trial.AttackTrial

MESSAGE_PROMISES: Mapping[str, Callable[[Trial], None]] = contract.named(
  message_attack_promises.answers_in_form,
  message_attack_promises.sends_nothing_without_attackers,
  message_attack_promises.sends_finite_rows_although_it_sees_others,
  message_attack_promises.does_not_overflow,
  message_attack_promises.repeats_itself,
  message_attack_promises.names_its_views,
  message_attack_promises.harms_the_mean,
)
DATA_PROMISES: Mapping[str, Callable[[Trial], None]] = contract.named(
  data_attack_promises.answers_in_form,
  data_attack_promises.leaves_no_data_alone,
  data_attack_promises.repeats_itself,
  data_attack_promises.harms_the_mean,
)


def promises_of(name: str) -> Mapping[str, Callable[[Trial], None]]:
  """Returns the promises of an attack, by messages or by data."""
  return DATA_PROMISES if registry.ATTACKS[name].by_data else MESSAGE_PROMISES


def check(attack: str | Trial, promise: str | None = None) -> None:
  """Checks one promise of an attack, or all of them.

  Args:
    attack: A name in `registry.ATTACKS`, or an `AttackTrial`, which keeps its graph.
    promise: A name in `promises_of(name)`, or None for all.

  Raises:
    AssertionError: If a promise is broken and is no deviation of the attack, or is kept and is
      said to be one.
    ValueError: If a name is unknown.
  """
  trial = Trial(attack) if isinstance(attack, str) else attack
  contract.check(trial, promises_of(trial.name), promise)
