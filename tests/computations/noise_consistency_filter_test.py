"""The filter in front of a rule, in whole learning processes on the embedded digits."""

import dataclasses

import numpy as np
import pytest

from computations import learning_process, models
from tff_robust import config
from tff_robust.data import load
from tff_robust.testing import toy_problems

NUM_CLIENTS, NUM_BYZANTINE, EXAMPLES = 11, 4, 64
FILTER = ('noise_consistency_filter',)


@pytest.fixture(scope='module')
def digits():
  return load.load_dataset('digits')


def experiment(*, aggregator='krum', steps=FILTER, epsilon=None, noise_multiplier=1.0, **training):
  training = {'algorithm': 'fed_sgd', 'batch_size': 32, **training}
  attack = config.AttackConfig()
  if epsilon is not None:
    attack = config.AttackConfig(
      attack='inner_product_manipulation',
      options={'attack_epsilon': epsilon},
      num_byzantine=NUM_BYZANTINE,
    )
  return config.ExperimentConfig(
    seed=4,
    data=config.DataConfig(num_clients=NUM_CLIENTS),
    training=config.TrainingConfig(num_rounds=1, clients_per_round=NUM_CLIENTS, **training),
    aggregation=config.AggregationConfig(
      aggregator=aggregator,
      preaggregators=steps,
      options={'max_byzantine': NUM_BYZANTINE} if aggregator == 'krum' else {},
    ),
    attack=attack,
    privacy=config.PrivacyConfig(l2_norm_clip=1.0, noise_multiplier=noise_multiplier),
  )


def logistic(digits):
  mean, std = load.channel_statistics(digits.train_x)
  return models.build_model(
    'logistic', input_shape=(8, 8, 1), num_classes=10, seed=1, input_mean=mean, input_std=std
  )


def train(chosen, digits, num_rounds, *, num_byzantine=0):
  """Returns the accuracy on the test set and what the rule measured in each round."""
  model = logistic(digits)
  process = learning_process.build_learning_process(
    chosen, model=model, client_sizes=[EXAMPLES] * NUM_CLIENTS
  )
  rows = np.arange(NUM_CLIENTS * EXAMPLES).reshape(NUM_CLIENTS, EXAMPLES)
  values = [
    toy_problems.client_value(
      digits.train_x[row],
      digits.train_y[row].astype(np.int32),
      client_id=index,
      is_byzantine=index < num_byzantine,
    )
    for index, row in enumerate(rows)
  ]
  state, measured = process.initialize(), []
  for _ in range(num_rounds):
    output = process.next(state, values)
    state = output.state
    measured.append(output.metrics['aggregator']['rule'])
  weights = process.get_model_weights(state)
  logits = model.predict_on_batch((weights.trainable, ()), digits.test_x, training=False)
  return np.mean(np.argmax(logits, axis=1) == digits.test_y), measured


@pytest.mark.parametrize(
  'training',
  [
    {},
    {'batch_sampling': 'poisson'},
    {'algorithm': 'fed_avg', 'local_epochs': 2, 'client_learning_rate': 0.1},
  ],
  ids=['fed_sgd', 'poisson', 'fed_avg'],
)
def test_messages_of_honest_clients_are_kept(training, digits):
  _, measured = train(experiment(aggregator='mean', **training), digits, 12)
  assert [int(rule['num_filtered']) for rule in measured] == [0] * 12
  assert [int(rule['num_nonfinite']) for rule in measured] == [0] * 12


@pytest.mark.parametrize(('aggregator', 'epsilon'), [('krum', 0.1), ('mean', 10.0)])
def test_rule_that_fails_alone_learns_behind_the_filter(aggregator, epsilon, digits):
  chosen = {'aggregator': aggregator, 'epsilon': epsilon, 'server_learning_rate': 1.0}
  alone, measured = train(experiment(steps=(), **chosen), digits, 15, num_byzantine=NUM_BYZANTINE)
  assert 'num_filtered' not in measured[0]
  filtered, measured = train(experiment(**chosen), digits, 15, num_byzantine=NUM_BYZANTINE)
  assert [int(rule['num_filtered']) for rule in measured] == [NUM_BYZANTINE] * 15
  assert not any(bool(rule['round_rejected']) for rule in measured)
  assert alone < 0.2
  assert filtered > 0.5


def test_copies_of_a_message_take_it_along_and_with_it_the_round(digits):
  chosen = dataclasses.replace(
    experiment(),
    attack=config.AttackConfig(
      attack='mimic', options={'attack_warmup_rounds': 1}, num_byzantine=NUM_BYZANTINE
    ),
  )
  _, measured = train(chosen, digits, 3, num_byzantine=NUM_BYZANTINE)
  assert [int(rule['num_filtered']) for rule in measured] == [NUM_BYZANTINE + 1] * 3
  assert all(bool(rule['round_rejected']) for rule in measured)


def test_sizes_of_clients_are_demanded(digits):
  with pytest.raises(ValueError, match=r'client_sizes=None: limits .* give client_sizes'):
    learning_process.build_learning_process(experiment(), model=logistic(digits))
