import pathlib

import pytest
from absl import flags

import binaries
from binaries import experiment_flags
from tff_robust import config

FOLDER = pathlib.Path(binaries.__file__).parent / 'flagfiles'
FILES = sorted(FOLDER.glob('*.flags'))


def experiment_of(path):
  flag_values = flags.FlagValues()
  experiment_flags.define_flags(flag_values)
  flag_values(['experiment', f'--flagfile={path}'])
  return experiment_flags.config_from_flags(flag_values)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_flag_file_describes_a_valid_reproducible_run(path):
  experiment = experiment_of(path)
  experiment_flags.check_without_data(experiment)
  assert experiment.seed == 1
  assert f'--flagfile=binaries/flagfiles/{path.name} ' in path.read_text()
  assert experiment.data.data_dir is None


def test_the_control_differs_from_the_attacked_run_in_the_rule_alone():
  attacked = experiment_of(FOLDER / 'cifar10_krum_ipm.flags').to_json()
  control = experiment_of(FOLDER / 'cifar10_mean_ipm.flags').to_json()
  rule = {'aggregator': 'krum', 'options': {'max_byzantine': 11}}
  assert attacked['aggregation'] == {**control['aggregation'], **rule}
  assert control.pop('aggregation')['aggregator'] == 'mean'
  assert attacked.pop('aggregation')['aggregator'] == 'krum'
  assert attacked == control


def test_literal_mechanism_is_the_one_of_algorithm_3():
  privacy = experiment_of(FOLDER / 'paper_literal.flags').privacy
  assert (privacy.clip_unit, privacy.noise_scale) == ('minibatch_mean', 'on_mean')
  assert (privacy.clip_unit, privacy.noise_scale) != (
    config.PrivacyConfig().clip_unit,
    config.PrivacyConfig().noise_scale,
  )
