"""The flags of an experiment, and the way from flag values to an `ExperimentConfig`.

The only place where flags of an experiment are defined: one for each row of
`experiment_settings.SETTINGS`, whose defaults are read from the dataclasses of
`tff_robust.config`, and one for each row of `registry.OPTIONS`, so that a new option of a rule
or an attack needs nothing here.
"""

import dataclasses
import secrets
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from binaries import experiment_settings
from tff_robust import config, registry
from tff_robust.program import cohorts, guarantees, schedule

_SECTIONS: Mapping[str, Any] = {
  'data': config.DataConfig,
  'training': config.TrainingConfig,
  'aggregation': config.AggregationConfig,
  'attack': config.AttackConfig,
  'privacy': config.PrivacyConfig,
}


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


def _defaults_by_algorithm(setting: experiment_settings.Setting) -> str:
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
  for setting in experiment_settings.SETTINGS:
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
  return (*(setting.flag for setting in experiment_settings.SETTINGS), *registry.OPTIONS, 'seed')


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
  for setting in experiment_settings.SETTINGS:
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
  for setting in experiment_settings.SETTINGS:
    if setting.flag == flag:
      return getattr(getattr(experiment, setting.section), setting.field)
  return {**experiment.aggregation.options, **experiment.attack.options}.get(flag)


def resumed(
  stored: config.ExperimentConfig, flag_values: flags.FlagValues = flags.FLAGS
) -> config.ExperimentConfig:
  """Returns a stored configuration, to go on with; the data may lie in another folder now.

  Raises:
    ValueError: When another flag that was given differs from it.
  """
  for name in names():
    if name == 'data_dir':
      continue
    flag, value = flag_values[name], _value_in(name, stored)
    given = tuple(flag.value) if isinstance(flag.value, list) else flag.value
    if flag.present and given != value:
      raise ValueError(
        f'--{name}={flag.value} differs from the run to resume, which has {name}={value}; leave'
        ' it out, or start another run in another --output_dir.'
      )
  if not flag_values['data_dir'].present:
    return stored
  data = dataclasses.replace(stored.data, data_dir=flag_values['data_dir'].value)
  return dataclasses.replace(stored, data=data)


def check_without_data(experiment: config.ExperimentConfig) -> None:
  """Raises ValueError for what does not fit in any data set; free of TensorFlow."""
  cohorts.build_sampler(experiment)
  guarantees.check_cohort_risk(experiment)
  schedule.check_rounds(experiment)
