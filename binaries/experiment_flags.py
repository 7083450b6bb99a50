"""The flags of an experiment, and the way from flag values to an `ExperimentConfig`.

The only place where flags of an experiment are defined. Defaults are read from the
dataclasses of `tff_robust.config`, and each row of `registry.OPTIONS` is a flag, so a
new option of a rule or an attack needs nothing here.
"""

import dataclasses
import secrets
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from tff_robust import config, registry
from tff_robust.program import cohorts, guarantees, schedule

_SECTIONS: Mapping[str, Any] = {
  'data': config.DataConfig,
  'training': config.TrainingConfig,
  'aggregation': config.AggregationConfig,
  'attack': config.AttackConfig,
  'privacy': config.PrivacyConfig,
}


class Setting(NamedTuple):
  """A flag that sets one field of one section of the configuration.

  Attributes:
    flag: Name of the flag.
    section: Field of `ExperimentConfig`.
    field: Field of the section.
    help: What the flag means, for `--help`.
    choices: The values that are allowed, where they are names.
  """

  flag: str
  section: str
  field: str
  help: str
  choices: tuple[str, ...] = ()


SETTINGS: tuple[Setting, ...] = (
  Setting('dataset', 'data', 'dataset', 'What to learn.', config.DATASETS),
  Setting(
    'data_dir', 'data', 'data_dir', 'Folder of prepared TFDS data; without it, TFDS downloads.'
  ),
  Setting('num_clients', 'data', 'num_clients', 'Clients in the population.'),
  Setting('partition', 'data', 'partition', 'How clients share the examples.', config.PARTITIONS),
  Setting(
    'dirichlet_alpha',
    'data',
    'dirichlet_alpha',
    'Concentration of the labels of a client, for --partition=dirichlet.',
  ),
  Setting(
    'shards_per_client',
    'data',
    'shards_per_client',
    'Label shards that a client gets, for --partition=label_shards.',
  ),
  Setting(
    'validation_fraction',
    'data',
    'validation_fraction',
    'Share of the training examples that the server holds out for validation.',
  ),
  Setting(
    'root_size',
    'data',
    'root_size',
    'Training examples that the server holds as its root set, which no privacy statement covers;'
    f' left out, {config.DEFAULT_ROOT_SIZE}. Read by --aggregator='
    f'{"|".join(name for name, entry in registry.AGGREGATORS.items() if entry.needs_root)}.',
  ),
  Setting('model', 'training', 'model', 'Which model to train.', config.MODELS),
  Setting(
    'algorithm',
    'training',
    'algorithm',
    'A round is one minibatch gradient of each client (fed_sgd), or local epochs of SGD on'
    ' each client (fed_avg).',
    config.ALGORITHMS,
  ),
  Setting(
    'clients_per_round', 'training', 'clients_per_round', 'Clients in the cohort of a round.'
  ),
  Setting('num_rounds', 'training', 'num_rounds', 'Rounds; give this or --num_server_epochs.'),
  Setting(
    'num_server_epochs',
    'training',
    'num_server_epochs',
    'Passes over the training set, all clients together, instead of --num_rounds.',
  ),
  Setting(
    'batch_size',
    'training',
    'batch_size',
    'Examples in a minibatch; its expected size with --batch_sampling=poisson.',
  ),
  Setting(
    'batch_sampling',
    'training',
    'batch_sampling',
    'Batches cut from shuffled examples, or every example drawn by itself.',
    config.BATCH_SAMPLINGS,
  ),
  Setting(
    'local_epochs',
    'training',
    'local_epochs',
    'Passes of a client over its examples in a round.',
  ),
  Setting(
    'client_learning_rate',
    'training',
    'client_learning_rate',
    'Learning rate of local SGD.',
  ),
  Setting(
    'server_learning_rate',
    'training',
    'server_learning_rate',
    'Multiplies the aggregate; for --algorithm=fed_sgd it is the learning rate.',
  ),
  Setting(
    'worker_momentum',
    'training',
    'worker_momentum',
    'Share of its last message in what a client sends: a running average over its rounds; 0 is'
    ' without.',
  ),
  Setting(
    'aggregator',
    'aggregation',
    'aggregator',
    'Rule that combines the updates.',
    tuple(registry.AGGREGATORS),
  ),
  Setting(
    'preaggregators',
    'aggregation',
    'preaggregators',
    'Transformations of the updates before the rule, in order, with commas between them.',
    tuple(registry.PREAGGREGATORS),
  ),
  Setting(
    'attack',
    'attack',
    'attack',
    'What Byzantine clients send.',
    (config.NO_ATTACK, *registry.ATTACKS),
  ),
  Setting('num_byzantine', 'attack', 'num_byzantine', 'Clients that are Byzantine in fact.'),
  Setting(
    'byzantine_placement',
    'attack',
    'placement',
    'Whether --num_byzantine counts the Byzantine clients of each cohort or of the population.',
    config.PLACEMENTS,
  ),
  Setting(
    'cohort_risk',
    'attack',
    'cohort_risk',
    'What to do, with --byzantine_placement=population, about cohorts with more Byzantine clients'
    ' than --max_byzantine.',
    config.COHORT_RISKS,
  ),
  Setting('attack_knowledge', 'attack', 'knowledge', 'What the adversary sees.', config.KNOWLEDGE),
  Setting(
    'attack_start',
    'attack',
    'start',
    'First attacked round, or server epoch, counted from 0.',
  ),
  Setting(
    'attack_start_unit',
    'attack',
    'start_unit',
    'Unit of --attack_start and --attack_stop.',
    config.START_UNITS,
  ),
  Setting(
    'attack_stop',
    'attack',
    'stop',
    'First round, or server epoch, after the attack; left out, it has no end.',
  ),
  Setting('attack_every', 'attack', 'every', 'Rounds from one attacked round to the next.'),
  Setting(
    'byzantine_dp_noise',
    'attack',
    'byzantine_dp_noise',
    'Whether Byzantine clients add the DP noise of an honest message to theirs.',
  ),
  Setting(
    'l2_norm_clip',
    'privacy',
    'l2_norm_clip',
    'Norm to which gradients are clipped; without it, training is not private.',
  ),
  Setting(
    'noise_multiplier',
    'privacy',
    'noise_multiplier',
    'Standard deviation of the DP noise in units of --l2_norm_clip.',
  ),
  Setting(
    'clip_unit',
    'privacy',
    'clip_unit',
    'What is clipped: each gradient of an example, or the mean of the minibatch only.',
    config.CLIP_UNITS,
  ),
  Setting(
    'noise_scale',
    'privacy',
    'noise_scale',
    'Where the noise enters: on the sum, which is then divided by the batch size; on the mean;'
    ' or once for each example of an undivided sum.',
    config.NOISE_SCALES,
  ),
  Setting('delta', 'privacy', 'delta', 'Delta of the (epsilon, delta) statement.'),
  Setting(
    'dp_noise_source',
    'privacy',
    'noise_source',
    'DP noise from the seed of the run (reproducible), or from the entropy of each client.',
    config.NOISE_SOURCES,
  ),
  Setting(
    'privacy_amplification',
    'privacy',
    'amplification',
    'Whether the accounting uses the sampling of the batches as it is, insists on Poisson'
    ' sampling, or does without amplification.',
    config.AMPLIFICATIONS,
  ),
  Setting(
    'accountant', 'privacy', 'accountant', 'How privacy losses are composed.', config.ACCOUNTANTS
  ),
)


def _kind(annotation: Any) -> type:
  """Returns the plain type of a field, without its `| None`."""
  if isinstance(annotation, types.UnionType):
    (annotation,) = (part for part in annotation.__args__ if part is not type(None))
  return typing.cast(type, typing.get_origin(annotation) or annotation)


def _definer(kind: type) -> Callable[..., Any]:
  return {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
  }[kind]


def _defaults_by_algorithm(setting: Setting) -> str:
  """Returns a phrase with the values that a field takes when it is left out, if any."""
  phrases = []
  for algorithm in config.ALGORITHMS if setting.section == 'training' else ():
    training = config.TrainingConfig(num_rounds=1, algorithm=algorithm)
    left_out = {field.name: field.default for field in dataclasses.fields(training)}
    value = getattr(training, setting.field)
    if left_out[setting.field] is None and value is not None and setting.field != 'num_rounds':
      phrases.append(f'{value} with --algorithm={algorithm}')
  return f' Left out: {", ".join(phrases)}.' if phrases else ''


def _readers(option: str) -> str:
  """Returns a phrase that names the rules and attacks that read an option."""
  tables = {
    '--aggregator': registry.AGGREGATORS,
    '--preaggregators': registry.PREAGGREGATORS,
    '--attack': registry.ATTACKS,
  }
  phrases = []
  for chooser, table in tables.items():
    names = [name for name, entry in table.items() if option in entry.reads]
    if names:
      phrases.append(f'{chooser}={"|".join(names)}')
  return ' and '.join(phrases)


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines every flag of an experiment on `flag_values`."""
  for setting in SETTINGS:
    field = {field.name: field for field in dataclasses.fields(_SECTIONS[setting.section])}[
      setting.field
    ]
    choices = f' One of: {", ".join(setting.choices)}.' if setting.choices else ''
    define = _definer(_kind(field.type))
    text = f'{setting.help}{choices}{_defaults_by_algorithm(setting)}'
    define(setting.flag, field.default, text, flag_values=flag_values)
  for name, option in registry.OPTIONS.items():
    text = f'{option.help} Read by {_readers(name)}.'
    _definer(option.kind)(name, None, text, flag_values=flag_values)
  flags.DEFINE_integer(
    'seed',
    None,
    'Seed of every random draw; left out, it is drawn from the operating system and recorded.',
    lower_bound=0,
    flag_values=flag_values,
  )


def names() -> tuple[str, ...]:
  """Returns the name of every flag of an experiment."""
  return (*(setting.flag for setting in SETTINGS), *registry.OPTIONS, 'seed')


def _sections_of_option(option: str, chosen: Mapping[str, Sequence[str]]) -> list[str]:
  """Returns the sections of the configuration to which an option belongs.

  What is in use and reads it decides. When nothing does, the configuration has to say so,
  for a kind of thing that could have read it.
  """
  tables: Mapping[str, Mapping[str, registry.Entry]] = {
    'aggregation': {**registry.PREAGGREGATORS, **registry.AGGREGATORS},
    'attack': registry.ATTACKS,
  }
  reading = [
    section
    for section, table in tables.items()
    if any(name in table and option in table[name].reads for name in chosen[section])
  ]
  able = [
    section
    for section, table in tables.items()
    if any(option in entry.reads for entry in table.values())
  ]
  return reading or able[:1]


def config_from_flags(flag_values: flags.FlagValues = flags.FLAGS) -> config.ExperimentConfig:
  """Returns the configuration that the flags describe.

  Raises:
    ValueError: When a value is not allowed, or has no effect beside the others.
  """
  sections: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
  for setting in SETTINGS:
    sections[setting.section][setting.field] = flag_values[setting.flag].value
  chosen = {
    'aggregation': [
      *sections['aggregation']['preaggregators'],
      sections['aggregation']['aggregator'],
    ],
    'attack': [sections['attack']['attack']],
  }
  options: dict[str, dict[str, registry.OptionValue]] = {name: {} for name in chosen}
  for name in registry.OPTIONS:
    value = flag_values[name].value
    for section in _sections_of_option(name, chosen) if value is not None else ():
      options[section][name] = value
  for section, values in options.items():
    sections[section]['options'] = values
  seed = flag_values['seed'].value
  return config.ExperimentConfig(
    seed=secrets.randbits(63) if seed is None else seed,
    **{name: _SECTIONS[name](**values) for name, values in sections.items()},
  )


def _value_in(flag: str, experiment: config.ExperimentConfig) -> Any:
  """Returns the value that a flag has in a configuration; None when it plays no part."""
  if flag == 'seed':
    return experiment.seed
  for setting in SETTINGS:
    if setting.flag == flag:
      return getattr(getattr(experiment, setting.section), setting.field)
  return {**experiment.aggregation.options, **experiment.attack.options}.get(flag)


def check_agrees(
  stored: config.ExperimentConfig, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
  """Raises ValueError when a flag that was given differs from a stored configuration."""
  for name in names():
    flag, value = flag_values[name], _value_in(name, stored)
    given = tuple(flag.value) if isinstance(flag.value, list) else flag.value
    if flag.present and given != value:
      raise ValueError(
        f'--{name}={flag.value} differs from the run to resume, which has {name}={value}; leave'
        ' it out, or start another run in another --output_dir.'
      )


def check_without_data(experiment: config.ExperimentConfig) -> None:
  """Raises ValueError for what does not fit in any data set; free of TensorFlow."""
  cohorts.build_sampler(experiment)
  guarantees.check_cohort_risk(experiment)
  schedule.check_rounds(experiment)
