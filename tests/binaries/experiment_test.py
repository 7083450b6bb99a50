import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from binaries import experiment, federated_data, run_flags
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


@pytest.mark.parametrize('private', [False, True])
def test_private_runs_multiply_all_digits_of_float32(monkeypatch, private):
  def deal(*arguments, **options):
    raise ValueError('no such data')

  monkeypatch.setattr(experiment.contexts, 'install_context', lambda *args, **options: 'here')
  monkeypatch.setattr(federated_data, 'deal', deal)
  privacy = {'l2_norm_clip': 1.0, 'noise_multiplier': 1.0} if private else {}
  described = config.ExperimentConfig(
    training=config.TrainingConfig(num_rounds=1),
    privacy=config.PrivacyConfig(**privacy),
    seed=0,
  )
  tf.config.experimental.enable_tensor_float_32_execution(True)
  try:
    with pytest.raises(ValueError, match='no such data'):
      experiment.prepare(described, run_flags.RunOptions())
    assert tf.config.experimental.tensor_float_32_execution_enabled() == (not private)
  finally:
    tf.config.experimental.enable_tensor_float_32_execution(True)


def test_examples_leave_the_device_with_the_experiment(tmp_path):
  described = config.ExperimentConfig(
    data=config.DataConfig(num_clients=5),
    training=config.TrainingConfig(num_rounds=1, clients_per_round=5),
    seed=0,
  )
  try:
    prepared = experiment.prepare(described, run_flags.RunOptions(output_dir=tmp_path / 'run'))
    first = tf.constant([0], tf.int64)
    assert [len(array.gather(first)) for array in prepared.residents] == [1, 1]
    prepared.close()
    for array in prepared.residents:
      with pytest.raises(tf.errors.OpError):
        array.gather(first)
  finally:
    experiment.contexts.close_context()


def test_a_resumed_run_tells_of_damaged_checkpoints_and_refuses_to_go_on_without_any(
  tmp_path, capfd
):
  described = config.ExperimentConfig(
    data=config.DataConfig(num_clients=3),
    training=config.TrainingConfig(num_rounds=2, clients_per_round=3, model='logistic'),
    seed=0,
  )
  folder = tmp_path / 'run'

  def run(**options):
    chosen = run_flags.RunOptions(
      output_dir=folder, checkpoint_every=1, evaluate_every=2, progress=False, **options
    )
    return experiment.prepare(described, chosen).run_and_report()

  assert run() == 0
  first, second = (folder / 'checkpoints' / f'state_after_round_{rounds}' for rounds in (1, 2))
  (second / 'saved_model.pb').write_bytes(b'')
  capfd.readouterr()
  assert run(resume=True) == 0
  told = capfd.readouterr().err.splitlines()
  assert len([line for line in told if line.startswith(f'{second} cannot be read (')]) == 1
  for damaged in (first, second):
    (damaged / 'saved_model.pb').write_bytes(b'')
  before = (folder / 'history.csv').read_bytes()
  assert run(resume=True) == 2
  told = capfd.readouterr().err
  assert told.splitlines()[-1].startswith(
    f'none of the checkpoints in {folder / "checkpoints"} can be read'
  )
  assert 'Traceback' not in told
  assert (folder / 'history.csv').read_bytes() == before


def test_the_success_of_a_backdoor_is_the_share_of_other_classes_taken_for_its_target(tmp_path):
  described = config.ExperimentConfig(
    data=config.DataConfig(num_clients=5),
    training=config.TrainingConfig(num_rounds=1, clients_per_round=5, model='logistic'),
    attack=config.AttackConfig(
      attack='backdoor', options={'attack_target_class': 3}, num_byzantine=1
    ),
    seed=0,
  )
  try:
    prepared = experiment.prepare(described, run_flags.RunOptions(output_dir=tmp_path / 'run'))
    # Class 3 for images that are brighter than the mean at a pixel beside the trigger, else 0.
    kernel = np.zeros([8 * 8, 10], np.float32)
    kernel[8 * 2 + 3, 3] = 1.0
    weights = tff.learning.models.ModelWeights((kernel, np.zeros(10, np.float32)), ())
    found = prepared.loop.evaluate(weights)
    prepared.close()
  finally:
    experiment.contexts.close_context()
  x, y = prepared.data.test
  is_bright = x[:, 2, 3, 0] > prepared.data.channel_mean[0]
  assert found['attack_success_rate'] == pytest.approx(is_bright[y != 3].mean(), abs=1e-6)
  assert found['test_accuracy'] == pytest.approx(np.where(is_bright, y == 3, y == 0).mean())
  assert 0.2 < found['attack_success_rate'] < 0.8
