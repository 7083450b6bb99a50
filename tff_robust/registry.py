"""Names of rules, pre-aggregators and attacks, what each one reads, and how it is built.

To add one, add a row to a table of `tff_robust.catalogue`, or add it from outside of this
package by `plugins`: flag values, messages and contract tests follow from the row. Nothing here
imports TensorFlow; `build` imports the one module that was asked for.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from tff_robust import checks
from tff_robust import options as option_table
from tff_robust.catalogue import aggregators, attacks, preaggregators
from tff_robust.catalogue import entry as entry_lib

Entry = entry_lib.Entry
OptionValue = option_table.OptionValue
OPTIONS = option_table.OPTIONS
AGGREGATORS = aggregators.AGGREGATORS
PREAGGREGATORS = preaggregators.PREAGGREGATORS
ATTACKS = attacks.ATTACKS


def complete_options(
  kind: str,
  table: Mapping[str, Entry],
  name: str,
  given: Mapping[str, OptionValue | None],
  *,
  preaggregators: Sequence[str] = (),
) -> dict[str, OptionValue | None]:
  """Returns all options of an entry, checked: those given and the entry's defaults.

  None is the value of an option that may be left out and was; only such an option may be given
  as None.

  Args:
    kind: What the table holds, for messages: 'aggregator' or 'attack'.
    table: `AGGREGATORS` or `ATTACKS`.
    name: A name in the table.
    given: Options that the user gave, by name.
    preaggregators: Names of those before a rule, which read from the same options.

  Raises:
    ValueError: When the name is unknown, an option has no effect with it, a needed
      option is missing, or a value is not allowed or not of the option's kind.
  """
  checks.known_name(kind, name, table)
  readers = [(f'pre-aggregator {step!r}', PREAGGREGATORS[step]) for step in preaggregators]
  readers.append((f'{kind} {name!r}', table[name]))
  options = dict(given)
  filled: dict[str, str] = {}
  for reader, entry in readers:
    for option, default in entry.defaults.items():
      if option not in options:
        options[option], filled[option] = default, reader
      elif option in filled and options[option] != default:
        raise ValueError(
          f'{option} is {options[option]} by default for {filled[option]} and {default} for'
          f' {reader}; give {option}.'
        )
  checks.no_unread_options(
    [reader for reader, _ in readers],
    given,
    [option for _, entry in readers for option in options_of(table, entry)],
  )
  for reader, entry in readers:
    for option in options_of(table, entry):
      value = options.get(option)
      if value is None and option in entry.defaults:
        default = entry.defaults[option]
        if default is None:
          continue
        raise ValueError(f'{option}=None is no value; leave it out for the {default} of {reader}.')
      if value is None:
        raise ValueError(f'{reader} needs {option}: {OPTIONS[option].help}')
      checks.of_kind(option, value, OPTIONS[option].kind)
      OPTIONS[option].check(option, value)
  return options


def options_of(table: Mapping[str, Entry], entry: Entry) -> tuple[str, ...]:
  """Returns what an entry reads, and the attack by data that it may come with."""
  besides = table[entry.also_by_data[0]].reads if entry.also_by_data else ()
  return (*entry.reads, *besides)


def build(
  table: Mapping[str, Entry],
  name: str,
  options: Mapping[str, OptionValue | None],
  *,
  rule: Any = None,
  num_classes: int | None = None,
  noise_limits: Any = None,
) -> Any:
  """Imports the builder of `name` and calls it with its options bound.

  Args:
    table: `AGGREGATORS`, `PREAGGREGATORS` or `ATTACKS`.
    name: A name in the table.
    options: Every option that the entry reads, as from `complete_options`.
    rule: The live `AggregationRule`, for attacks that search against it.
    num_classes: Classes of the data set, for attacks by data.
    noise_limits: The `NoiseLimits` of the run, for pre-aggregators that hold messages
      against its DP noise.

  Returns:
    What the builder returns: an `AggregationRule` or a `RootedRule`, a `PreAggregator`, an
    `Attack`, or for an attack by data a transform `(x, y) -> (x, y)`.
  """
  entry = table[name]
  module_name, function_name = entry.target.split(':')
  builder = getattr(importlib.import_module(module_name), function_name)
  arguments: dict[str, Any] = {entry.reads[option]: options[option] for option in entry.reads}
  if entry.takes_rule:
    arguments['rule'] = rule
  if entry.by_data:
    arguments['num_classes'] = num_classes
  if entry.takes_noise_limits:
    arguments['limits'] = noise_limits
  return builder(**arguments)
