"""Names of rules, pre-aggregators and attacks, and the options that each one reads.

To add one, write its module and add a row here: flag values, messages and contract
tests follow from the row. Nothing here imports TensorFlow; `build` imports the one
module that was asked for.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tff_robust import checks

OptionValue = int | float | str


class Option(NamedTuple):
  """An option of rules or attacks, which is also the command-line flag of that name.

  Attributes:
    kind: int, float or str.
    help: One line for `--help`, in words.
    check: Called with the option's name and value; raises ValueError.
  """

  kind: type
  help: str
  check: Callable[[str, Any], None]


def _at_least(minimum: float) -> Callable[[str, Any], None]:
  return lambda name, value: checks.at_least(name, value, minimum)


OPTIONS: Mapping[str, Option] = {
  'max_byzantine': Option(
    int, 'Byzantine clients a round that the rule is declared to tolerate (f).', _at_least(0)
  ),
  'num_selected': Option(int, 'Rows that Multi-Krum averages (m).', _at_least(1)),
  'attack_epsilon': Option(
    float, 'Factor of the inner-product manipulation: send -factor * mean.', checks.nonnegative
  ),
  'attack_scale': Option(
    float, 'Factor by which a sign-flipping client scales its update.', checks.nonnegative
  ),
}


class Entry(NamedTuple):
  """One row of a registry.

  Attributes:
    target: `module:function` of the builder.
    reads: Option name to the builder's keyword argument.
    defaults: Values of the options that need not be given.
    required_clients: For rules: the smallest number of clients a round for which the
      rule is defined, given its options.
  """

  target: str
  reads: Mapping[str, str]
  defaults: Mapping[str, OptionValue] = {}
  required_clients: Callable[[Mapping[str, Any]], int] = lambda options: 1


def _krum_clients(options: Mapping[str, Any]) -> int:
  return 2 * int(options['max_byzantine']) + 3


_F = {'max_byzantine': 'max_byzantine'}

AGGREGATORS: Mapping[str, Entry] = {
  'mean': Entry('tff_robust.aggregators.mean:build_mean', {}),
  'krum': Entry('tff_robust.aggregators.krum:build_krum', _F, {}, _krum_clients),
  'multi_krum': Entry(
    'tff_robust.aggregators.krum:build_multi_krum',
    {**_F, 'num_selected': 'num_selected'},
    {},
    _krum_clients,
  ),
}

ATTACKS: Mapping[str, Entry] = {
  'inner_product_manipulation': Entry(
    'tff_robust.attacks.inner_product_manipulation:build_inner_product_manipulation',
    {'attack_epsilon': 'epsilon'},
  ),
  'sign_flip': Entry(
    'tff_robust.attacks.sign_flip:build_sign_flip',
    {'attack_scale': 'scale'},
    {'attack_scale': 1.0},
  ),
}


def complete_options(
  kind: str, table: Mapping[str, Entry], name: str, given: Mapping[str, OptionValue]
) -> dict[str, OptionValue]:
  """Returns all options of an entry, checked: those given and the entry's defaults.

  Args:
    kind: What the table holds, for messages: 'aggregator' or 'attack'.
    table: `AGGREGATORS` or `ATTACKS`.
    name: A name in the table.
    given: Options that the user gave, by name.

  Raises:
    ValueError: When the name is unknown, an option has no effect with it, a needed
      option is missing, or a value is not allowed.
  """
  checks.known_name(kind, name, table)
  entry = table[name]
  checks.no_unread_options(kind, name, given, entry.reads)
  options = {**entry.defaults, **given}
  for option in entry.reads:
    if option not in options:
      raise ValueError(f'{kind} {name!r} needs {option}: {OPTIONS[option].help}')
    OPTIONS[option].check(option, options[option])
  return options


def build(table: Mapping[str, Entry], name: str, options: Mapping[str, OptionValue]) -> Any:
  """Imports the builder of `name` and calls it with its options bound.

  Args:
    table: `AGGREGATORS` or `ATTACKS`.
    name: A name in the table.
    options: Every option that the entry reads, as from `complete_options`.

  Returns:
    What the builder returns: an `AggregationRule` or an `Attack`.
  """
  entry = table[name]
  module_name, function_name = entry.target.split(':')
  builder = getattr(importlib.import_module(module_name), function_name)
  return builder(**{entry.reads[option]: options[option] for option in entry.reads})
