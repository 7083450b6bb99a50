"""Every rule and every pre-aggregator of the registry trains, from configuration to picture."""

import json

import pytest

from binaries import experiment, run_flags
from tff_robust import config, registry
from tff_robust.program import history
from tff_robust.runtime import contexts

pytestmark = pytest.mark.slow


def options_of(*entries):
  needed = {option for entry in entries for option in set(entry.reads) - set(entry.defaults)}
  return {option: registry.OPTIONS[option].example for option in needed} | (
    {'max_byzantine': 2} if 'max_byzantine' in needed else {}
  )


def train(folder, *, aggregator, preaggregators=(), privacy=None):
  entries = [registry.PREAGGREGATORS[name] for name in preaggregators]
  described = config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(dataset='digits', num_clients=13),
    training=config.TrainingConfig(
      model='logistic', algorithm='fed_sgd', clients_per_round=13, num_rounds=2, batch_size=20
    ),
    aggregation=config.AggregationConfig(
      aggregator=aggregator,
      preaggregators=preaggregators,
      options=options_of(registry.AGGREGATORS[aggregator], *entries),
    ),
    attack=config.AttackConfig(
      attack='inner_product_manipulation',
      options={'attack_epsilon': 0.5},
      num_byzantine=2,
      start=1,
    ),
    privacy=privacy or config.PrivacyConfig(),
  )
  options = run_flags.RunOptions(output_dir=folder, progress=False)
  try:
    _, status = experiment.prepare(described, options).run()
  finally:
    contexts.close_context()
  assert status == 0
  assert json.loads((folder / 'summary.json').read_text())['status'] == 'completed'
  assert (folder / 'curves.png').stat().st_size > 10_000
  return history.read(folder / history.FILE_NAME)


@pytest.mark.parametrize('aggregator', registry.AGGREGATORS)
def test_every_rule_trains(tmp_path, aggregator):
  rows = train(tmp_path / 'run', aggregator=aggregator)
  assert [row['round'] for row in rows] == [0, 1, 2]
  assert rows[0]['aggregate_norm'] > 0
  assert rows[1]['attack_active'] == 1


@pytest.mark.parametrize('name', registry.PREAGGREGATORS)
def test_every_preaggregator_trains_before_a_rule(tmp_path, name):
  noisy = config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=1.0)
  rows = train(
    tmp_path / 'run',
    aggregator='coordinate_median',
    preaggregators=(name,),
    privacy=noisy if registry.PREAGGREGATORS[name].takes_noise_limits else None,
  )
  assert rows[0]['aggregate_norm'] > 0
