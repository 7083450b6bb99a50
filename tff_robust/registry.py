"""Names of rules, pre-aggregators and attacks, and the options that each one reads.

To add one, write its module and add a row here: flag values, messages and contract
tests follow from the row. Nothing here imports TensorFlow; `build` imports the one
module that was asked for.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tff_robust import checks
from tff_robust.attacks import knowledge as views

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


def _one_of(*names: str) -> Callable[[str, Any], None]:
  def check(name: str, value: Any) -> None:
    checks.known_name(name, value, names)

  return check


OPTIONS: Mapping[str, Option] = {
  'max_byzantine': Option(
    int, 'Byzantine clients a round that the rule is declared to tolerate (f).', _at_least(0)
  ),
  'num_selected': Option(int, 'Rows that Multi-Krum averages (m).', _at_least(1)),
  'attack_epsilon': Option(
    float, 'Factor of the manipulation: send -factor * mean.', checks.nonnegative
  ),
  'attack_scale': Option(
    float, 'Factor by which attackers scale their update.', checks.nonnegative
  ),
  'attack_deviations': Option(
    float, 'Standard deviations by which attackers leave the mean.', checks.finite
  ),
  'attack_direction': Option(
    str,
    'Along which attackers leave the mean: unit (against it), deviation or sign.',
    _one_of('unit', 'deviation', 'sign'),
  ),
  'attack_safety': Option(
    float,
    'Share of the exact breaking point that adaptive attackers dare to use.',
    checks.in_open_unit_interval,
  ),
  'attack_factor': Option(
    float, 'How far beyond the extreme honest values attackers draw theirs.', _at_least(1)
  ),
  'attack_noise_stddev': Option(
    float,
    'Standard deviation of each coordinate of the noise that attackers send.',
    checks.nonnegative,
  ),
  'attack_shared_noise': Option(
    float, 'Share of their noise energy that colluders draw in common.', checks.in_unit_interval
  ),
  'attack_l2_norm_bound': Option(
    float, 'Largest norm of a row that attackers send.', checks.positive
  ),
  'attack_delay': Option(int, 'Rounds after which attackers replay a message.', _at_least(1)),
  'attack_warmup_rounds': Option(
    int, 'Rounds from the first in which attackers only learn whom to mimic.', _at_least(1)
  ),
  'attack_evaluations': Option(
    int, "Trials of the attackers' line search against the live rule.", _at_least(1)
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
    knowledge: For attacks: the views with which the attack makes sense, the default first.
    takes_rule: For attacks: whether the builder also takes the live `rule`.
  """

  target: str
  reads: Mapping[str, str]
  defaults: Mapping[str, OptionValue | None] = {}
  required_clients: Callable[[Mapping[str, Any]], int] = lambda options: 1
  knowledge: tuple[str, ...] = ()
  takes_rule: bool = False


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

_HONEST = views.HONEST
_OWN = views.OWN


def _attack(
  name: str,
  reads: Mapping[str, str],
  knowledge: tuple[str, ...] = views.ALL,
  *,
  module: str | None = None,
  takes_rule: bool = False,
  **defaults: OptionValue | None,
) -> Entry:
  target = f'tff_robust.attacks.{module or name}:build_{name}'
  return Entry(target, reads, defaults, knowledge=knowledge, takes_rule=takes_rule)


_EPSILON = {'attack_epsilon': 'epsilon'}
_DIRECTION = {'attack_direction': 'direction'}
_SEARCH = {'attack_evaluations': 'num_evaluations'}

ATTACKS: Mapping[str, Entry] = {
  'inner_product_manipulation': _attack('inner_product_manipulation', _EPSILON),
  'sign_flip': _attack('sign_flip', {'attack_scale': 'scale'}, _OWN, attack_scale=1.0),
  'a_little_is_enough': _attack(
    'a_little_is_enough', {'attack_deviations': 'num_deviations'}, _HONEST, attack_deviations=None
  ),
  'min_max': _attack('min_max', _DIRECTION, attack_direction='deviation'),
  'min_sum': _attack('min_sum', _DIRECTION, attack_direction='deviation'),
  'fang_krum': _attack('fang_krum', _F, _HONEST),
  'fang_trimmed_mean': _attack(
    'fang_trimmed_mean', {'attack_factor': 'factor'}, _HONEST, attack_factor=2.0
  ),
  'fang_trimmed_mean_partial': _attack(
    'fang_trimmed_mean_partial', {}, _OWN, module='fang_trimmed_mean'
  ),
  'optimal_ipm': _attack(
    'optimal_ipm',
    _SEARCH,
    _HONEST[:1],
    module='optimal_attack',
    takes_rule=True,
    attack_evaluations=20,
  ),
  'optimal_alie': _attack(
    'optimal_alie',
    _SEARCH,
    _HONEST[:1],
    module='optimal_attack',
    takes_rule=True,
    attack_evaluations=20,
  ),
  'adaptive_krum': _attack(
    'adaptive_krum', {**_F, 'attack_safety': 'safety'}, _HONEST[:1], attack_safety=0.999
  ),
  'mimic': _attack('mimic', {'attack_warmup_rounds': 'num_warmup_rounds'}, _HONEST),
  'noise_matched_ipm': _attack(
    'noise_matched_ipm',
    {
      **_EPSILON,
      'attack_shared_noise': 'shared_noise',
      'attack_noise_stddev': 'noise_stddev',
    },
    ('honest_messages', 'own_messages'),
    attack_shared_noise=0.5,
    attack_noise_stddev=None,
  ),
  'gaussian': _attack(
    'gaussian', {'attack_noise_stddev': 'noise_stddev'}, attack_noise_stddev=200.0
  ),
  'infinite': _attack('infinite', {}),
  'nan': _attack('nan', {}),
  'zero': _attack('zero', {}),
  'replay': _attack('replay', {'attack_delay': 'delay'}, attack_delay=1),
  'model_replacement': _attack(
    'model_replacement',
    {'attack_scale': 'scale', 'attack_l2_norm_bound': 'l2_norm_bound'},
    _OWN,
    attack_l2_norm_bound=None,
  ),
}


def complete_options(
  kind: str, table: Mapping[str, Entry], name: str, given: Mapping[str, OptionValue | None]
) -> dict[str, OptionValue | None]:
  """Returns all options of an entry, checked: those given and the entry's defaults.

  None is the value of an option that may be left out and was.

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
    if options[option] is not None:
      OPTIONS[option].check(option, options[option])
  return options


def build(
  table: Mapping[str, Entry],
  name: str,
  options: Mapping[str, OptionValue | None],
  *,
  rule: Any = None,
) -> Any:
  """Imports the builder of `name` and calls it with its options bound.

  Args:
    table: `AGGREGATORS` or `ATTACKS`.
    name: A name in the table.
    options: Every option that the entry reads, as from `complete_options`.
    rule: The live `AggregationRule`, for attacks that search against it.

  Returns:
    What the builder returns: an `AggregationRule` or an `Attack`.
  """
  entry = table[name]
  module_name, function_name = entry.target.split(':')
  builder = getattr(importlib.import_module(module_name), function_name)
  arguments: dict[str, Any] = {entry.reads[option]: options[option] for option in entry.reads}
  if entry.takes_rule:
    arguments['rule'] = rule
  return builder(**arguments)
