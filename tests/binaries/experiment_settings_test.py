import dataclasses

from binaries import experiment_settings
from tff_robust import config


def test_every_field_of_the_configuration_has_one_flag():
  settings = [(s.section, s.field) for s in experiment_settings.SETTINGS]
  sections = {f.name: f.type for f in dataclasses.fields(config.ExperimentConfig)}
  fields = [
    (name, field.name)
    for name, section in sections.items()
    if dataclasses.is_dataclass(section)
    for field in dataclasses.fields(section)
    if field.name != 'options'
  ]
  assert sorted(settings) == sorted(fields)


def test_flags_have_names_of_their_own_and_say_what_they_mean():
  settings = experiment_settings.SETTINGS
  assert len({setting.flag for setting in settings}) == len(settings)
  assert all(setting.help.endswith('.') for setting in settings)
