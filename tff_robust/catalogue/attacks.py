"""The attacks. To add one, write its module and add a row here: see CONTRIBUTING.md."""

from collections.abc import Mapping

from tff_robust import deviations
from tff_robust import options as option_table
from tff_robust.attacks import class_maps
from tff_robust.attacks import knowledge as views
from tff_robust.catalogue import entry as entry_lib
from tff_robust.catalogue import round_sizes

_MAX_BYZANTINE = entry_lib.same_names('max_byzantine')
_EPSILON = {'attack_epsilon': 'epsilon'}
_DIRECTION = {'attack_direction': 'direction'}
_SEARCH = {'attack_evaluations': 'num_evaluations'}


def _attack(
  name: str,
  reads: Mapping[str, str],
  knowledge: tuple[str, ...] = views.ALL,
  *,
  module: str | None = None,
  takes_rule: bool = False,
  **defaults: option_table.OptionValue | None,
) -> entry_lib.Entry:
  target = f'tff_robust.attacks.{module or name}:build_{name}'
  return entry_lib.Entry(
    target,
    reads,
    defaults,
    knowledge=knowledge,
    takes_rule=takes_rule,
    deviations=deviations.ATTACKS.get(name, {}),
  )


def _data_attack(
  name: str, reads: Mapping[str, str], **defaults: option_table.OptionValue | None
) -> entry_lib.Entry:
  return entry_lib.Entry(
    f'tff_robust.attacks.{name}:build_{name}',
    reads,
    defaults,
    by_data=True,
    deviations=deviations.ATTACKS.get(name, {}),
  )


ATTACKS: dict[str, entry_lib.Entry] = {
  'inner_product_manipulation': _attack('inner_product_manipulation', _EPSILON),
  'sign_flip': _attack('sign_flip', {'attack_scale': 'scale'}, views.OWN, attack_scale=1.0),
  'a_little_is_enough': _attack(
    'a_little_is_enough',
    {'attack_deviations': 'num_deviations'},
    views.HONEST,
    attack_deviations=None,
    # Without it, the deviations follow from the number of honest clients that are seen.
  )._replace(knowledge_with=('attack_deviations', views.ALL), fewest_own_messages=2),
  'min_max': _attack('min_max', _DIRECTION, attack_direction='deviation')._replace(
    fewest_own_messages=2
  ),
  'min_sum': _attack('min_sum', _DIRECTION, attack_direction='deviation')._replace(
    fewest_own_messages=2
  ),
  'fang_krum': _attack('fang_krum', _MAX_BYZANTINE, views.HONEST)._replace(
    required_clients=round_sizes.krum
  ),
  'fang_trimmed_mean': _attack(
    'fang_trimmed_mean', {'attack_factor': 'factor'}, views.HONEST, attack_factor=2.0
  ),
  'fang_trimmed_mean_partial': _attack(
    'fang_trimmed_mean_partial', {}, views.OWN, module='fang_trimmed_mean'
  )._replace(fewest_own_messages=2),
  'optimal_ipm': _attack(
    'optimal_ipm',
    _SEARCH,
    views.HONEST[:1],
    module='optimal_attack',
    takes_rule=True,
    attack_evaluations=20,
  ),
  'optimal_alie': _attack(
    'optimal_alie',
    _SEARCH,
    views.HONEST[:1],
    module='optimal_attack',
    takes_rule=True,
    attack_evaluations=20,
  ),
  'adaptive_krum': _attack(
    'adaptive_krum',
    {**_MAX_BYZANTINE, 'attack_safety': 'safety'},
    views.HONEST[:1],
    attack_safety=0.999,
  )._replace(required_clients=round_sizes.krum),
  'mimic': _attack('mimic', {'attack_warmup_rounds': 'num_warmup_rounds'}, views.HONEST),
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
    # Without it, the noise is estimated from noisy messages.
  )._replace(
    knowledge_with=('attack_noise_stddev', views.ALL),
    fewest_own_messages=2,
    needs_no_spread_with='attack_noise_stddev',
  ),
  'gaussian': _attack(
    'gaussian', {'attack_noise_stddev': 'noise_stddev'}, views.LEAST, attack_noise_stddev=200.0
  ),
  'infinite': _attack('infinite', {}, views.LEAST),
  'nan': _attack('nan', {}, views.LEAST),
  'zero': _attack('zero', {}, views.LEAST),
  'replay': _attack('replay', {'attack_delay': 'delay'}, attack_delay=1),
  'model_replacement': _attack(
    'model_replacement',
    {
      'attack_scale': 'scale',
      'attack_l2_norm_bound': 'l2_norm_bound',
      'attack_anomaly_weight': 'anomaly_weight',
    },
    views.OWN,
    attack_l2_norm_bound=None,
    attack_anomaly_weight=0.0,
    attack_target_class=None,
    attack_poisoned_fraction=0.5,
    attack_trigger_size=3,
    attack_trigger_value=None,
  )._replace(also_by_data=('backdoor', 'attack_target_class')),
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
