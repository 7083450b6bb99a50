"""The rules. To add one, write its module and add a row here: see CONTRIBUTING.md."""

from collections.abc import Callable, Mapping
from typing import Any

from tff_robust import deviations
from tff_robust import options as option_table
from tff_robust.catalogue import entry as entry_lib
from tff_robust.catalogue import round_sizes

_MAX_BYZANTINE = entry_lib.same_names('max_byzantine')
_WEISZFELD = entry_lib.same_names('max_byzantine', 'smoothing', 'tolerance', 'max_iterations')
_FILTER = entry_lib.same_names(
  'max_byzantine', 'num_iterations', 'num_coordinates', 'filter_factor'
)


def _rule(
  name: str,
  reads: Mapping[str, str] = _MAX_BYZANTINE,
  required_clients: Callable[[Mapping[str, Any]], int] = round_sizes.majority,
  *,
  oracle: str,
  module: str | None = None,
  **defaults: option_table.OptionValue | None,
) -> entry_lib.Entry:
  target = f'tff_robust.aggregators.{module or name}:build_{name}'
  return entry_lib.Entry(
    target,
    reads,
    defaults,
    required_clients,
    oracle=f'tff_robust.testing.oracles.{oracle}:{name}',
    deviations=deviations.RULES.get(name, {}),
  )


def _krum_variant(
  name: str, required_clients: Callable[[Mapping[str, Any]], int]
) -> entry_lib.Entry:
  module = 'krum_variants'
  return _rule(name, _MAX_BYZANTINE, required_clients, module=module, oracle=module)


AGGREGATORS: dict[str, entry_lib.Entry] = {
  'mean': _rule('mean', {}, round_sizes.any_number, oracle='weighted_rules'),
  'krum': _rule('krum', _MAX_BYZANTINE, round_sizes.krum, oracle='krum_rules'),
  'multi_krum': _rule(
    'multi_krum',
    entry_lib.same_names('max_byzantine', 'num_selected'),
    round_sizes.krum,
    module='krum',
    oracle='krum_rules',
  ),
  'bulyan': _rule(
    'bulyan', _MAX_BYZANTINE, round_sizes.at_least_per_byzantine(4, 3), oracle='krum_rules'
  ),
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
    entry_lib.same_names('clip_radius', 'num_iterations'),
    round_sizes.any_number,
    num_iterations=1,
    oracle='weighted_rules',
  ),
  'divide_and_conquer': _rule(
    'divide_and_conquer',
    _FILTER,
    round_sizes.more_than_it_drops,
    num_iterations=1,
    num_coordinates=10_000,
    filter_factor=1.0,
    oracle='filters',
  ),
  'foolsgold': _rule('foolsgold', {}, round_sizes.at_least(2), oracle='weighted_rules'),
  'sign_majority': _rule('sign_majority', {}, round_sizes.any_number, oracle='coordinate_rules'),
  'fltrust': _rule('fltrust', {}, round_sizes.any_number, oracle='rooted_rules')._replace(
    needs_root=True
  ),
  'zeno': _rule(
    'zeno',
    entry_lib.same_names('max_byzantine', 'trial_learning_rate', 'norm_penalty'),
    round_sizes.at_least_per_byzantine(1, 1),
    oracle='rooted_rules',
    trial_learning_rate=None,
    norm_penalty=None,
  )._replace(needs_root=True),
  # What public code calls Krum, for replication: see the module.
  'krum_byzfl': _krum_variant('krum_byzfl', round_sizes.majority),
  'krum_calicarpa': _krum_variant('krum_calicarpa', round_sizes.krum),
  'krum_epfml': _krum_variant('krum_epfml', round_sizes.at_least_per_byzantine(2, 2)),
  'krum_alie_authors': _krum_variant(
    'krum_alie_authors', lambda options: max(round_sizes.majority(options), 2)
  ),
  'multi_krum_ndss21': _krum_variant('multi_krum_ndss21', round_sizes.krum),
  'krum_flower_legacy': _krum_variant('krum_flower_legacy', round_sizes.at_least(2)),
  'krum_xie': _krum_variant('krum_xie', round_sizes.at_least(3)),
  'krum_reversed': _krum_variant('krum_reversed', round_sizes.krum),
}
