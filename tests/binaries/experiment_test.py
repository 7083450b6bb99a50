import pytest

from binaries import experiment, run_flags
from tff_robust import config


def test_onednn_is_chosen_before_the_data_set_imports_tensorflow(monkeypatch):
  order = []
  monkeypatch.setattr(experiment.devices, 'prepare', lambda: order.append('prepare'))

  def load_dataset(*arguments, **options):
    order.append('load')
    raise ValueError('no such data')

  monkeypatch.setattr(experiment.load, 'load_dataset', load_dataset)
  described = config.ExperimentConfig(training=config.TrainingConfig(num_rounds=1), seed=0)
  with pytest.raises(ValueError, match='no such data'):
    experiment.prepare(described, run_flags.RunOptions())
  assert order == ['prepare', 'load']
