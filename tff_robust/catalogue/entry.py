"""What a row of a table says about a rule, a pre-aggregator or an attack."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tff_robust import options as option_table


class Entry(NamedTuple):
  """One row of a table.

  Attributes:
    target: `module:function` of the builder.
    reads: Option name to the builder's keyword argument.
    defaults: Values of the options that need not be given.
    required_clients: The smallest number of clients a round for which a rule is defined, the
      number of rows for a pre-aggregator, given its options; for attacks, the smallest round
      of the rule that they are made against.
    rows_after: For pre-aggregators: rows that come out when so many go in, given the options.
    knowledge: For attacks: the views with which the attack makes sense, the default first.
    knowledge_with: For attacks: an option, and the views with which the attack makes sense when
      that is given. None for none.
    fewest_own_messages: For attacks: how many Byzantine clients it takes if they see only their own
      messages; fewer would not carry it out. See `fewest_own`.
    needs_no_spread_with: For attacks: an option with which one of them suffices. Empty for none.
    takes_rule: For attacks: whether the builder also takes the live `rule`.
    searches_subsets: For rules: whether it searches the subsets of n - f clients; see
      `aggregators.subset_limit`.
    needs_root: For rules: whether it looks at a root set at the server. Then the builder
      returns a `RootedRule`.
    by_data: For attacks: whether compromised clients train honestly on poisoned data. Then the
      builder also takes `num_classes` and returns a transform `(x, y) -> (x, y)`, and there is
      no view to choose.
    also_by_data: For attacks by messages: the attack by data that compromised clients carry out
      besides when an option is given, and that option. The other options of that attack are then
      read as well. None for none.
    takes_noise_limits: For pre-aggregators: whether the builder also takes `limits`, the
      thresholds that follow from the run's DP noise.
    oracle: For rules: `module:function` of the same rule in plain NumPy, written differently:
      `(rows float64 [n, d], **the builder's arguments) -> [d]`. Empty for none.
    deviations: Promises of the contract in `tff_robust.testing` that
      are not kept, by name, each with the reason. Deviations are tested like promises.
  """

  target: str
  reads: Mapping[str, str]
  defaults: Mapping[str, option_table.OptionValue | None] = {}
  required_clients: Callable[[Mapping[str, Any]], int] = lambda options: 1
  rows_after: Callable[[int, Mapping[str, Any]], int] = lambda num_rows, options: num_rows
  knowledge: tuple[str, ...] = ()
  knowledge_with: tuple[str, tuple[str, ...]] | None = None
  fewest_own_messages: int = 1
  needs_no_spread_with: str = ''
  takes_rule: bool = False
  by_data: bool = False
  also_by_data: tuple[str, str] | None = None
  searches_subsets: bool = False
  needs_root: bool = False
  takes_noise_limits: bool = False
  oracle: str = ''
  deviations: Mapping[str, str] = {}

  def fewest_own(self, options: Mapping[str, Any]) -> int:
    """Returns how many Byzantine clients an attack takes with these options on its own messages."""
    spared = self.needs_no_spread_with and options.get(self.needs_no_spread_with) is not None
    return 1 if spared else self.fewest_own_messages


def same_names(*options: str) -> Mapping[str, str]:
  """Returns what an entry reads whose builder has arguments of the names of its options."""
  return {option: option for option in options}
