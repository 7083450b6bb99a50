"""Names of rules, pre-aggregators and attacks, and the options that each one reads.

To add one, write its module and add a row here, or add it from outside by `plugins`: flag
values, messages and contract tests follow from the row. Nothing here imports TensorFlow;
`build` imports the one module that was asked for.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tff_robust import checks, deviations
from tff_robust import options as option_table
from tff_robust.attacks import class_maps
from tff_robust.attacks import knowledge as views

OptionValue = option_table.OptionValue
OPTIONS = option_table.OPTIONS


class Entry(NamedTuple):
  """One row of a registry.

  Attributes:
    target: `module:function` of the builder.
    reads: Option name to the builder's keyword argument.
    defaults: Values of the options that need not be given.
    required_clients: The smallest number of clients a round for which a rule is defined, the
      number of rows for a pre-aggregator, given its options; for attacks, the smallest round
      of the rule that they are made against.
    rows_after: For pre-aggregators: rows that come out when so many go in, given the options.
    knowledge: For attacks: the views with which the attack makes sense, the default first.
    takes_rule: For attacks: whether the builder also takes the live `rule`.
    searches_subsets: For rules: whether it searches the subsets of n - f clients; see
      `aggregators.subset_limit`.
    needs_root: For rules: whether it looks at a root set at the server. Then the builder
      returns a `RootedRule`.
    by_data: For attacks: whether compromised clients train honestly on poisoned data. Then the
      builder also takes `num_classes` and returns a transform `(x, y) -> (x, y)`, and there is
      no view to choose.
    takes_noise_limits: For pre-aggregators: whether the builder also takes `limits`, the
      thresholds that follow from the run's DP noise.
    oracle: For rules: `module:function` of the same rule in plain NumPy, written differently:
      `(rows float64 [n, d], **the builder's arguments) -> [d]`. Empty for none.
    deviations: Promises of the contract in `tff_robust.testing` that
      are not kept, by name, each with the reason. Deviations are tested like promises.
  """

  target: str
  reads: Mapping[str, str]
  defaults: Mapping[str, OptionValue | None] = {}
  required_clients: Callable[[Mapping[str, Any]], int] = lambda options: 1
  rows_after: Callable[[int, Mapping[str, Any]], int] = lambda num_rows, options: num_rows
  knowledge: tuple[str, ...] = ()
  takes_rule: bool = False
  by_data: bool = False
  searches_subsets: bool = False
  needs_root: bool = False
  takes_noise_limits: bool = False
  oracle: str = ''
  deviations: Mapping[str, str] = {}


_F = {'max_byzantine': 'max_byzantine'}


def _at_least_per_byzantine(factor: int, constant: int) -> Callable[[Mapping[str, Any]], int]:
  """Demands factor * f + constant clients."""
  return lambda options: factor * int(options['max_byzantine']) + constant


_MAJORITY = _at_least_per_byzantine(2, 1)


def _rule(
  name: str,
  reads: Mapping[str, str] = _F,
  required_clients: Callable[[Mapping[str, Any]], int] = _MAJORITY,
  *,
  oracle: str,
  module: str | None = None,
  **defaults: OptionValue | None,
) -> Entry:
  target = f'tff_robust.aggregators.{module or name}:build_{name}'
  return Entry(
    target,
    reads,
    defaults,
    required_clients,
    oracle=f'tff_robust.testing.oracles.{oracle}:{name}',
    deviations=deviations.RULES.get(name, {}),
  )


def _any_number(options: Mapping[str, Any]) -> int:
  del options
  return 1


def _same_names(*options: str) -> Mapping[str, str]:
  return {option: option for option in options}


def _more_than_it_drops(options: Mapping[str, Any]) -> int:
  max_byzantine = int(options['max_byzantine'])
  return max(2 * max_byzantine, math.floor(options['filter_factor'] * max_byzantine)) + 1


_KRUM_CLIENTS = _at_least_per_byzantine(2, 3)
_WEISZFELD = _same_names('max_byzantine', 'smoothing', 'tolerance', 'max_iterations')
_FILTER = _same_names('max_byzantine', 'num_iterations', 'num_coordinates', 'filter_factor')

AGGREGATORS: dict[str, Entry] = {
  'mean': _rule('mean', {}, _any_number, oracle='weighted_rules'),
  'krum': _rule('krum', _F, _KRUM_CLIENTS, oracle='krum_rules'),
  'multi_krum': _rule(
    'multi_krum',
    _same_names('max_byzantine', 'num_selected'),
    _KRUM_CLIENTS,
    module='krum',
    oracle='krum_rules',
  ),
  'bulyan': _rule('bulyan', _F, _at_least_per_byzantine(4, 3), oracle='krum_rules'),
  'coordinate_median': _rule('coordinate_median', oracle='coordinate_rules'),
  'trimmed_mean': _rule('trimmed_mean', oracle='coordinate_rules'),
  'meamed': _rule('meamed', oracle='coordinate_rules'),
  'phocas': _rule('phocas', oracle='coordinate_rules'),
  'geometric_median': _rule(
    'geometric_median',
    _WEISZFELD,
    smoothing=1e-6,
    tolerance=1e-6,
    max_iterations=1000,
    oracle='weighted_rules',
  ),
  'minimum_diameter_averaging': _rule('minimum_diameter_averaging', oracle='subset_rules'),
  'smea': _rule('smea', oracle='subset_rules')._replace(searches_subsets=True),
  'caf': _rule('caf', oracle='filters'),
  'comparative_gradient_elimination': _rule('comparative_gradient_elimination', oracle='filters'),
  'centered_clipping': _rule(
    'centered_clipping',
    _same_names('clip_radius', 'num_iterations'),
    _any_number,
    num_iterations=1,
    oracle='weighted_rules',
  ),
  'divide_and_conquer': _rule(
    'divide_and_conquer',
    _FILTER,
    _more_than_it_drops,
    num_iterations=1,
    num_coordinates=10_000,
    filter_factor=1.0,
    oracle='filters',
  ),
  'foolsgold': _rule('foolsgold', {}, lambda options: 2, oracle='weighted_rules'),
  'sign_majority': _rule('sign_majority', {}, _any_number, oracle='coordinate_rules'),
  'fltrust': _rule('fltrust', {}, _any_number, oracle='rooted_rules')._replace(needs_root=True),
  'zeno': _rule(
    'zeno',
    _same_names('max_byzantine', 'trial_learning_rate', 'norm_penalty'),
    _at_least_per_byzantine(1, 1),
    oracle='rooted_rules',
    trial_learning_rate=None,
    norm_penalty=None,
  )._replace(needs_root=True),
  # What public code calls Krum, for replication: see the module.
  'krum_byzfl': _rule('krum_byzfl', module='krum_variants', oracle='krum_variants'),
  'krum_calicarpa': _rule(
    'krum_calicarpa', _F, _KRUM_CLIENTS, module='krum_variants', oracle='krum_variants'
  ),
  'krum_epfml': _rule(
    'krum_epfml', _F, _at_least_per_byzantine(2, 2), module='krum_variants', oracle='krum_variants'
  ),
  'krum_alie_authors': _rule(
    'krum_alie_authors',
    _F,
    lambda options: max(2 * int(options['max_byzantine']) + 1, 2),
    module='krum_variants',
    oracle='krum_variants',
  ),
  'multi_krum_ndss21': _rule(
    'multi_krum_ndss21', _F, _KRUM_CLIENTS, module='krum_variants', oracle='krum_variants'
  ),
  'krum_flower_legacy': _rule(
    'krum_flower_legacy', _F, lambda options: 2, module='krum_variants', oracle='krum_variants'
  ),
  'krum_xie': _rule(
    'krum_xie', _F, lambda options: 3, module='krum_variants', oracle='krum_variants'
  ),
  'krum_reversed': _rule(
    'krum_reversed', _F, _KRUM_CLIENTS, module='krum_variants', oracle='krum_variants'
  ),
}


def _preaggregator(name: str, reads: Mapping[str, str]) -> Entry:
  return Entry(
    f'tff_robust.preaggregators.{name}:build_{name}',
    reads,
    deviations=deviations.PREAGGREGATORS.get(name, {}),
  )


PREAGGREGATORS: dict[str, Entry] = {
  'nearest_neighbor_mixing': _preaggregator('nearest_neighbor_mixing', _F)._replace(
    required_clients=_MAJORITY
  ),
  'bucketing': _preaggregator('bucketing', _same_names('bucket_size'))._replace(
    rows_after=lambda num_rows, options: -(-num_rows // int(options['bucket_size']))
  ),
  'static_clipping': _preaggregator('static_clipping', _same_names('max_norm')),
  'adaptive_clipping': _preaggregator('adaptive_clipping', _F)._replace(required_clients=_MAJORITY),
  'noise_consistency_filter': _preaggregator('noise_consistency_filter', {})._replace(
    takes_noise_limits=True
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
  return Entry(
    target,
    reads,
    defaults,
    knowledge=knowledge,
    takes_rule=takes_rule,
    deviations=deviations.ATTACKS.get(name, {}),
  )


def _data_attack(name: str, reads: Mapping[str, str], **defaults: OptionValue | None) -> Entry:
  return Entry(
    f'tff_robust.attacks.{name}:build_{name}',
    reads,
    defaults,
    by_data=True,
    deviations=deviations.ATTACKS.get(name, {}),
  )


_EPSILON = {'attack_epsilon': 'epsilon'}
_DIRECTION = {'attack_direction': 'direction'}
_SEARCH = {'attack_evaluations': 'num_evaluations'}

ATTACKS: dict[str, Entry] = {
  'inner_product_manipulation': _attack('inner_product_manipulation', _EPSILON),
  'sign_flip': _attack('sign_flip', {'attack_scale': 'scale'}, _OWN, attack_scale=1.0),
  'a_little_is_enough': _attack(
    'a_little_is_enough', {'attack_deviations': 'num_deviations'}, _HONEST, attack_deviations=None
  ),
  'min_max': _attack('min_max', _DIRECTION, attack_direction='deviation'),
  'min_sum': _attack('min_sum', _DIRECTION, attack_direction='deviation'),
  'fang_krum': _attack('fang_krum', _F, _HONEST)._replace(required_clients=_KRUM_CLIENTS),
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
  )._replace(required_clients=_KRUM_CLIENTS),
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
  'label_flip': _data_attack(
    'label_flip', {'attack_class_map': 'class_map'}, attack_class_map=class_maps.REVERSE
  ),
  'backdoor': _data_attack(
    'backdoor',
    {
      'attack_target_class': 'target_class',
      'attack_poisoned_fraction': 'poisoned_fraction',
      'attack_trigger_size': 'trigger_size',
      'attack_trigger_value': 'trigger_value',
    },
    attack_poisoned_fraction=0.5,
    attack_trigger_size=3,
    attack_trigger_value=None,
  ),
}


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
