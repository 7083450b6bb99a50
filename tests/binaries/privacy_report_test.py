import pytest

from binaries import privacy_report
from tff_robust import config
from tff_robust.program import cohorts


def sizes_statement(sizes, *, num_rounds=50, privacy=None, **training):
  experiment = config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(num_clients=len(sizes)),
    training=config.TrainingConfig(
      num_rounds=num_rounds, clients_per_round=len(sizes), batch_size=10, **training
    ),
    privacy=config.PrivacyConfig(
      **{'l2_norm_clip': 1.0, 'noise_multiplier': 1.0, 'accountant': 'rdp', **(privacy or {})}
    ),
  )
  return privacy_report.statement(experiment, cohorts.build_sampler(experiment), sizes, num_rounds)


def epsilons(found):
  return {
    (figure.view, figure.accountant, figure.delta): figure.epsilon
    for figure in found.figures
    if figure.epsilon is not None
  }


@pytest.mark.parametrize(('noise_source', 'counted'), [('entropy', 53), ('seeded', 50)])
def test_rounds_done_twice_count_twice_where_noise_is_not_the_same_again(noise_source, counted):
  def count(repeated):
    experiment = config.ExperimentConfig(
      seed=1,
      data=config.DataConfig(num_clients=3),
      training=config.TrainingConfig(num_rounds=50, clients_per_round=3, batch_size=10),
      privacy=config.PrivacyConfig(
        l2_norm_clip=1.0, noise_multiplier=1.0, accountant='rdp', noise_source=noise_source
      ),
    )
    sampler = cohorts.build_sampler(experiment)
    found = privacy_report.statement(
      experiment, sampler, [40] * 3, 50, num_repeated_rounds=repeated
    )
    return {figure.participation_count for figure in found.figures}

  assert count(0) == {50}
  assert count(3) == {counted}


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


def test_accountants_and_deltas_that_rank_sizes_differently_each_get_the_worst():
  # 41 examples are the worst by Renyi at a delta of 1e-6, 17 in most other figures.
  sizes = [41, 42, 17]
  options = {
    'num_rounds': 3,
    'privacy': {'noise_multiplier': 0.5, 'accountant': 'pld'},
    'algorithm': 'fed_avg',
    'batch_sampling': 'poisson',
  }
  alone = [epsilons(sizes_statement([size] * 3, **options)) for size in sizes]
  together = epsilons(sizes_statement(sizes, **options))
  worst = {key: max(one[key] for one in alone) for key in together}
  assert together == pytest.approx(worst)
  key = 'example', 'pld', 1e-5
  assert together[key] == pytest.approx(alone[2][key])
  assert together[key] > 1.03 * alone[0][key]


def test_the_worst_of_many_sizes_is_found_where_renyi_bounds_are_far_off():
  # By Renyi, ten examples are only the tenth worst; they are all used, and that bound is tight.
  sizes = [10, *range(461, 542, 10)]
  options = {
    'num_rounds': 1,
    'privacy': {'noise_multiplier': 0.45, 'accountant': 'pld'},
    'algorithm': 'fed_avg',
    'batch_sampling': 'poisson',
  }
  key, by_renyi = ('example', 'pld', 1e-5), ('example', 'rdp', 1e-5)
  alone = {size: epsilons(sizes_statement([size] * 2, **options)) for size in (10, 461, 541)}
  together = epsilons(sizes_statement(sizes, **options))
  assert alone[10][by_renyi] < alone[461][by_renyi]
  assert together[key] == pytest.approx(alone[10][key])
  assert together[key] > 1.04 * alone[541][key]


def test_delta_is_held_against_the_largest_client():
  def about_delta(sizes):
    training = {'algorithm': 'fed_avg', 'batch_sampling': 'shuffle'}
    found = sizes_statement(sizes, num_rounds=1, privacy={'delta': 1e-2}, **training)
    return [text for text in found.assumptions if 'not below' in text]

  (sentence,) = about_delta([50, 5000])
  assert '1/5000' in sentence
  (sentence,) = about_delta([200, 5000])
  assert '1/5000' in sentence
  assert not about_delta([50, 60])


@pytest.mark.parametrize(
  ('knowledge', 'has_figure'),
  [('honest_messages', True), ('own_clean', True), ('honest_clean', False)],
)
def test_an_adversary_who_sees_gradients_before_their_noise_leaves_no_figure(knowledge, has_figure):
  found = statement(
    'mean',
    attack=config.AttackConfig(
      attack='inner_product_manipulation',
      options={'attack_epsilon': 0.5},
      num_byzantine=1,
      knowledge=knowledge,
    ),
  )
  assert all((figure.epsilon is not None) == has_figure for figure in found.figures)
  assert ('honest_clean' in found.table()) == (not has_figure)


def test_statement_says_that_the_statistics_of_the_features_are_not_covered():
  (sentence,) = [text for text in statement('mean').assumptions if 'standardised' in text]
  assert 'without noise' in sentence


def statement(aggregator, root_size=None, attack=None):
  experiment = config.ExperimentConfig(
    seed=1,
    data=config.DataConfig(num_clients=5, root_size=root_size),
    training=config.TrainingConfig(num_rounds=4, clients_per_round=5, batch_size=10),
    aggregation=config.AggregationConfig(aggregator=aggregator),
    attack=attack or config.AttackConfig(),
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
