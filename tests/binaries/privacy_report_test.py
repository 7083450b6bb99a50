import pytest

from binaries import privacy_report
from tff_robust import config
from tff_robust.program import cohorts


def sizes_statement(sizes, **training):
  experiment = config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(num_clients=len(sizes)),
    training=config.TrainingConfig(
      num_rounds=50, clients_per_round=len(sizes), batch_size=10, **training
    ),
    privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=1.0, accountant='rdp'),
  )
  return privacy_report.statement(experiment, cohorts.build_sampler(experiment), sizes, 50)


def epsilons(found):
  return {
    (figure.view, figure.accountant): figure.epsilon
    for figure in found.figures
    if figure.epsilon is not None
  }


# By size of the client: sampling favours many examples, the number of steps few.
@pytest.mark.parametrize(
  'training',
  [
    {'algorithm': 'fed_avg', 'batch_sampling': 'shuffle'},
    {'algorithm': 'fed_avg', 'batch_sampling': 'poisson'},
    {'algorithm': 'fed_sgd', 'batch_sampling': 'poisson', 'server_learning_rate': 0.1},
  ],
)
def test_every_figure_is_that_of_the_worst_size_for_it(training):
  sizes = [10, 11, 60]
  alone = [epsilons(sizes_statement([size] * 3, **training)) for size in sizes]
  together = epsilons(sizes_statement(sizes, **training))
  assert len(together) >= 3
  for key, epsilon in together.items():
    assert epsilon == pytest.approx(max(one[key] for one in alone))
  # A control: no size alone is the worst in all figures of all these trainings.
  if training['batch_sampling'] == 'poisson':
    assert not any(one == together for one in alone)


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
