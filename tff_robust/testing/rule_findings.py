"""What is found about a rule by trying it: against its oracle, its promises and its bound."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tff_robust.resilience import kappa_search, robustness
from tff_robust.testing import rule_contract, rule_trial

_DIMENSION = 8
# Off an oracle by more, in units of the largest entry, a rule is another rule.
MOST_OFF = 1e-3


class Findings(NamedTuple):
  """One row of the report on rules.

  Attributes:
    rule: Name in the registry.
    oracle_stacks: Random stacks on which rule and oracle were compared, 0 without an oracle.
    oracle_deviation: Largest difference to the oracle in any coordinate, in units of the
      largest entry of the stack; None without an oracle.
    promises: Promises of the contract.
    broken: Those that are broken, with what was found.
    deviations: Those that the rule does not keep by its nature, with the reason.
    kappa_clients: n of the search for large kappa.
    kappa_byzantine: Its f.
    kappa_bound: The published bound there, None where there is none.
    kappa_found: The largest that was found; None for a rule that looks at a root set, whose
      answer hangs on that as much as on the rows.
  """

  rule: str
  oracle_stacks: int
  oracle_deviation: float | None
  promises: int
  broken: Mapping[str, str]
  deviations: Mapping[str, str]
  kappa_clients: int
  kappa_byzantine: int
  kappa_bound: float | None
  kappa_found: float | None

  @property
  def passed(self) -> bool:
    """Whether every promise is kept or explained, no bound exceeded, and the oracle met."""
    bound = float('inf') if self.kappa_bound is None else self.kappa_bound
    keeps_bound = self.kappa_found is None or self.kappa_found <= bound
    return not self.broken and keeps_bound and self.meets_oracle

  @property
  def meets_oracle(self) -> bool:
    """Whether the rule is no further off its oracle than `MOST_OFF`, or has none."""
    return (self.oracle_deviation or 0.0) <= MOST_OFF


def oracle_deviation(trial: rule_trial.RuleTrial, *, num_stacks: int, seed: int) -> float | None:
  """Returns the largest relative difference of rule and oracle on random stacks.

  Args:
    trial: The rule.
    num_stacks: How many; n, f and the rows' shape and scale are drawn for each.
    seed: Of all draws.

  Returns:
    In units of the largest entry of the stack, infinite where one of the two is no number; None if
    the rule has no oracle.
  """
  rng = np.random.default_rng(seed)
  worst = 0.0
  for _ in range(num_stacks):
    f = int(rng.integers(3))
    n = max(trial.required_clients(f), 2 * f + 1) + int(rng.integers(6))
    rows = rng.normal(size=[n, _DIMENSION]) * np.exp(rng.normal(size=_DIMENSION))
    rows += rng.normal(size=_DIMENSION)
    rows[:f] *= 10.0 ** rng.uniform(-1, 1)
    rows = rows.astype(np.float32)
    expected = trial.oracle(rows, f)
    if expected is None:
      return None
    difference = float(np.abs(trial.apply(rows, f).aggregate - expected).max() / np.abs(rows).max())
    # A NaN is neither smaller nor larger than anything.
    worst = max(worst, difference) if np.isfinite(difference) else np.inf
  return worst


def examine(
  rule: str, *, num_stacks: int, num_clients: int, max_byzantine: int, seed: int
) -> Findings:
  """Tries a rule.

  Args:
    rule: Name in the registry.
    num_stacks: Stacks for the oracle; the search for large kappa applies the rule as often.
    num_clients: n of that search, at least what the rule demands.
    max_byzantine: f of that search.
    seed: Of all draws.
  """
  contract = dict(rule_contract.findings(rule))
  trial = rule_trial.RuleTrial(rule, dimension=_DIMENSION)
  deviation = oracle_deviation(trial, num_stacks=num_stacks, seed=seed)
  num_clients = max(num_clients, trial.required_clients(max_byzantine))
  found = kappa_search.search(
    lambda rows: trial.apply(rows, max_byzantine).aggregate,
    num_clients=num_clients,
    max_byzantine=max_byzantine,
    num_evaluations=num_stacks,
    seed=seed,
    dimension=_DIMENSION,
    against_top_eigenvalue=rule in robustness.AGAINST_TOP_EIGENVALUE,
  )
  bound = robustness.BOUNDS.get(rule)
  return Findings(
    rule=rule,
    oracle_stacks=0 if deviation is None else num_stacks,
    oracle_deviation=deviation,
    promises=len(contract),
    broken={promise: said for promise, said in contract.items() if said},
    deviations=dict(trial.entry.deviations),
    kappa_clients=num_clients,
    kappa_byzantine=max_byzantine,
    kappa_bound=bound and bound(num_clients=num_clients, max_byzantine=max_byzantine),
    kappa_found=None if trial.entry.needs_root else found.kappa,
  )
