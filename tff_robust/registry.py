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

  None is the value of an option that may be left out and was.

  Args:
    kind: What the table holds, for messages: 'aggregator' or 'attack'.
    table: `AGGREGATORS` or `ATTACKS`.
    name: A name in the table.
    given: Options that the user gave, by name.
    preaggregators: Names of those before a rule, which read from the same options.

  Raises:
    ValueError: When the name is unknown, an option has no effect with it, a needed
      option is missing, or a value is not allowed.
  """
  checks.known_name(kind, name, table)
  readers = [(f'pre-aggregator {step!r}', PREAGGREGATORS[step]) for step in preaggregators]
  readers.append((f'{kind} {name!r}', table[name]))
  options = dict(given)
  for _, entry in readers:
    options = {**entry.defaults, **options}
  checks.no_unread_options(
    [reader for reader, _ in readers],
    given,
    [option for _, entry in readers for option in entry.reads],
  )
  for reader, entry in readers:
    for option in entry.reads:
      if option not in options:
        raise ValueError(f'{reader} needs {option}: {OPTIONS[option].help}')
      if options[option] is not None:
        OPTIONS[option].check(option, options[option])
  return options


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
