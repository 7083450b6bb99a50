import pytest

from binaries import privacy_report
from tff_robust import config
from tff_robust.program import cohorts


def statement(aggregator, root_size=None):
  experiment = config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(num_clients=5, root_size=root_size),
    training=config.TrainingConfig(num_rounds=4, clients_per_round=5, batch_size=10),
    aggregation=config.AggregationConfig(aggregator=aggregator),
    privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=1.0),
  )
  return privacy_report.statement(experiment, cohorts.build_sampler(experiment), [40] * 5, 4)


def test_statement_says_that_the_root_set_is_not_covered():
  rooted, averaging = statement('fltrust', root_size=60), statement('mean')
  about_root = [text for text in rooted.assumptions if 'root set' in text]
  assert len(about_root) == 1
  assert "60 examples of the server's root set" in about_root[0]
  assert not [text for text in averaging.assumptions if 'root set' in text]
  # What the server holds changes nothing for a client.
  assert rooted.main.epsilon == pytest.approx(averaging.main.epsilon)
  assert rooted.main.epsilon > 0
