"""What the sections of a configuration demand of each other; free of TensorFlow."""

from collections.abc import Mapping

from tff_robust import attack_config, checks, config_sections, registry
from tff_robust.aggregators import subset_limit


def check(
  *,
  data: config_sections.DataConfig,
  training: config_sections.TrainingConfig,
  aggregation: config_sections.AggregationConfig,
  attack: attack_config.AttackConfig,
  privacy: config_sections.PrivacyConfig,
) -> None:
  """Checks the sections of an experiment, each right by itself, against each other.

  Raises:
    ValueError: When two of them contradict each other, or a value has no effect beside the others.
  """
  _check_numbers_of_clients(data, training, attack)
  _check_round_of_attack(training, aggregation, attack)
  _check_training_of_attackers(training, attack)
  _check_rows_of_preaggregators(training, aggregation)
  _check_root(data, aggregation, attack)
  _check_rows_of_rule(training, aggregation)
  _check_privacy(training, attack, privacy)
  _check_noise_limits(training, aggregation, privacy)


def _check_numbers_of_clients(
  data: config_sections.DataConfig,
  training: config_sections.TrainingConfig,
  attack: attack_config.AttackConfig,
) -> None:
  """Raises where a cohort or the Byzantine clients exceed those that there are."""
  cohort, population = training.clients_per_round, data.num_clients
  if cohort > population:
    raise ValueError(
      f'clients_per_round={cohort} exceeds num_clients={population}; lower it or raise num_clients.'
    )
  in_cohort = attack.placement == 'cohort'
  limit, unit = (cohort, 'clients_per_round') if in_cohort else (population, 'num_clients')
  if attack.num_byzantine > limit:
    raise ValueError(f'num_byzantine={attack.num_byzantine} exceeds {unit}={limit}; lower it.')


def _check_round_of_attack(
  training: config_sections.TrainingConfig,
  aggregation: config_sections.AggregationConfig,
  attack: attack_config.AttackConfig,
) -> None:
  """Raises where an attack is not defined for so many clients, or has no effect on the rule."""
  if attack.attack != attack_config.NO_ATTACK:
    checks.enough_clients(
      attack.attack,
      training.clients_per_round,
      _integer(attack.options, 'max_byzantine'),
      registry.ATTACKS[attack.attack].required_clients(attack.options),
      kind='attack',
    )
  if attack.cohort_risk != 'warn' and 'max_byzantine' not in aggregation.options:
    raise ValueError(
      f'cohort_risk={attack.cohort_risk} has no effect with aggregator'
      f' {aggregation.aggregator!r}, which is told no max_byzantine; leave it out.'
    )


def _check_training_of_attackers(
  training: config_sections.TrainingConfig, attack: attack_config.AttackConfig
) -> None:
  """Raises for a penalty on leaving the broadcast model where no client leaves it."""
  weight = attack.options.get('attack_anomaly_weight')
  if weight and training.algorithm != 'fed_avg':
    raise ValueError(
      f'attack_anomaly_weight={weight} penalises how far attackers train away from the broadcast'
      f' model, and with algorithm={training.algorithm!r} nobody does; leave it out or take'
      " algorithm='fed_avg'."
    )


def _check_rows_of_preaggregators(
  training: config_sections.TrainingConfig,
  aggregation: config_sections.AggregationConfig,
) -> None:
  """Raises where a pre-aggregator is not defined for so many rows."""
  options = aggregation.options
  cohort = rows = training.clients_per_round
  for name in aggregation.preaggregators:
    step = registry.PREAGGREGATORS[name]
    checks.enough_clients(
      name,
      rows,
      _integer(options, 'max_byzantine'),
      step.required_clients(options),
      counted='clients_per_round' if rows == cohort else 'rows after the steps before it',
      kind='pre-aggregator',
    )
    rows = step.rows_after(rows, options)


def _check_root(
  data: config_sections.DataConfig,
  aggregation: config_sections.AggregationConfig,
  attack: attack_config.AttackConfig,
) -> None:
  """Raises for a root set that nobody reads, and for attacks that cannot try a rule with one."""
  aggregator, root_size = aggregation.aggregator, data.root_size
  if not aggregation.needs_root:
    if root_size is not None:
      rooted = [name for name, entry in registry.AGGREGATORS.items() if entry.needs_root]
      raise ValueError(
        f'root_size={root_size} has no effect with aggregator {aggregator!r}, which looks at no'
        f' root set; leave it out or take one of: {", ".join(rooted)}.'
      )
    return
  if attack.attack != attack_config.NO_ATTACK and registry.ATTACKS[attack.attack].takes_rule:
    raise ValueError(
      f'attack {attack.attack!r} tries its step on the rule, but aggregator {aggregator!r} answers'
      ' with the root set, which only the server holds; take another attack or another aggregator.'
    )


def _check_rows_of_rule(
  training: config_sections.TrainingConfig,
  aggregation: config_sections.AggregationConfig,
) -> None:
  """Raises where the rule is not defined for the rows that reach it, or cannot select as many."""
  aggregator, options = aggregation.aggregator, aggregation.options
  entry = registry.AGGREGATORS[aggregator]
  max_byzantine = _integer(options, 'max_byzantine')
  cohort = training.clients_per_round
  rows = aggregation.rows_before_rule(cohort)
  counted = 'clients_per_round' if rows == cohort else 'rows after pre-aggregation'
  required = entry.required_clients(options)
  cure = 'raise clients_per_round'
  if rows != cohort and 'bucket_size' in options:
    cure += ' or lower bucket_size'
  checks.enough_clients(aggregator, rows, max_byzantine, required, counted=counted, cure=cure)
  if entry.searches_subsets:
    subset_limit.check(aggregator, num_clients=rows, max_byzantine=max_byzantine)
  allowed = rows - max_byzantine
  if 'num_selected' in options and _integer(options, 'num_selected') > allowed:
    raise ValueError(
      f'num_selected={options["num_selected"]} must be at most {counted} -'
      f' max_byzantine = {allowed}.'
    )


def _check_privacy(
  training: config_sections.TrainingConfig,
  attack: attack_config.AttackConfig,
  privacy: config_sections.PrivacyConfig,
) -> None:
  """Raises for amplification without its sampling, and for noise to copy where there is none."""
  if privacy.amplification == 'poisson' and training.batch_sampling != 'poisson':
    raise ValueError(
      "privacy_amplification='poisson' needs batch_sampling='poisson', but batches are"
      ' shuffled; change one of the two.'
    )
  if attack.byzantine_dp_noise and not privacy.noise_multiplier:
    raise ValueError(
      'byzantine_dp_noise=True has no effect without DP noise; give l2_norm_clip and'
      ' noise_multiplier or leave it out.'
    )


def _check_noise_limits(
  training: config_sections.TrainingConfig,
  aggregation: config_sections.AggregationConfig,
  privacy: config_sections.PrivacyConfig,
) -> None:
  """Raises where messages are to be held against DP noise that they do not bear."""
  steps = aggregation.preaggregators
  for name in steps:
    if not registry.PREAGGREGATORS[name].takes_noise_limits:
      continue
    if not privacy.noise_multiplier:
      raise ValueError(
        f'preaggregators={name} holds messages against their DP noise, and there is none; give'
        ' l2_norm_clip and a noise_multiplier above 0, or leave it out.'
      )
    if training.worker_momentum:
      raise ValueError(
        f'worker_momentum={training.worker_momentum} mixes the DP noise of many rounds in a'
        f' message, which preaggregators={name} holds against the noise of one; give up one of'
        ' the two.'
      )
    if name in steps[1:]:
      raise ValueError(
        f'preaggregators={",".join(steps)}: {name} knows the noise of messages only as clients'
        ' send them; name it once, and first.'
      )


def _integer(options: Mapping[str, registry.OptionValue | None], name: str) -> int:
  """Returns an option as an integer, 0 where it is not read."""
  return int(options.get(name) or 0)
