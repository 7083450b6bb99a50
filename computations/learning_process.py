"""Federated SGD and federated averaging, composed from client work, attack and rule.

The composition is TFF's own (`tff.learning.templates.compose_learning_process`) with TFF's
broadcast distributor and optimizer finalizer; only client work and aggregation are ours. A
rule that looks at a root set takes `rooted_learning_process.compose` in its place.
"""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow_federated as tff

from computations import (
  aggregation,
  byzantine_client_work,
  client_values,
  dp_client_work,
  local_training,
  models,
  root_set,
  rooted_learning_process,
  worker_momentum,
)
from computations import weights as weights_lib
from tff_robust import config as config_lib
from tff_robust import registry
from tff_robust.aggregators import rule as rule_lib
from tff_robust.attacks import attack as attack_lib
from tff_robust.attacks import attack_schedule
from tff_robust.preaggregators import preaggregator
from tff_robust.privacy import dp_gradient, message_noise, noise_limits

Composer = Callable[..., tff.learning.templates.LearningProcess]


def build_learning_process(
  config: config_lib.ExperimentConfig,
  *,
  model: tff.learning.models.FunctionalModel,
  schedule: attack_schedule.AttackSchedule | None = None,
  source: client_values.ExampleSource | None = None,
  root: root_set.RootSet | None = None,
  client_sizes: Sequence[int] | None = None,
) -> tff.learning.templates.LearningProcess:
  """Builds the whole training process of an experiment.

  Args:
    config: The decisions of the run. Everything about training, aggregation, attack and
      privacy is read from it; data and cohorts are the program's business.
    model: The model to train.
    schedule: In which rounds the attack is on; in all of them by default.
    source: Where the examples are; by default every client brings its own as a sequence.
    root: The examples that the server holds, given exactly when the rule looks at them.
    client_sizes: Examples of each client of the population. Read, and needed, by
      pre-aggregators that hold messages against the DP noise that they bear.

  Returns:
    A process whose `next` takes its state and, at clients, what the source takes: by default
    `<examples=<x,y>*,identity=<client_id=int64,is_byzantine=bool>*>`. Its metrics hold
    `client_work` (`loss_sum` and `num_examples` over honest clients) and `aggregator`
    (`rule` and `observer`, see `computations.aggregation`; the observer measures the inner
    products of the messages when the run has a certificate to compute from them).

  Raises:
    ValueError: If the rule looks at a root set and there is none, or the other way round.
  """
  training = local_training.LocalTraining(
    algorithm=config.training.algorithm,
    batch_size=config.training.batch_size,
    batch_sampling=config.training.batch_sampling,
    local_epochs=config.training.local_epochs or 1,
    learning_rate=config.training.client_learning_rate or 1.0,
  )
  mechanism = build_mechanism(config)
  limits = None
  if config.aggregation.needs_noise_limits:
    limits = build_noise_limits(
      config, dimension=models.num_parameters(model), client_sizes=client_sizes
    )
  rule = build_rule(config.aggregation, limits)
  attack = config.attack
  built: attack_lib.Attack | None = None
  if attack.knowledge is not None and attack.num_byzantine:
    built = registry.build(registry.ATTACKS, attack.attack, attack.options, rule=rule)

  def client_work(
    mechanism: dp_gradient.GradientMechanism | None, noise_source: str
  ) -> tff.learning.templates.ClientWorkProcess:
    work = dp_client_work.build_dp_client_work(
      model,
      training=training,
      seed=config.seed,
      mechanism=mechanism,
      noise_source=noise_source,
      source=source,
      anomaly_weight=0.0 if built is None else built.anomaly_weight,
      schedule=schedule,
    )
    return with_worker_momentum(work, config)

  work = client_work(mechanism, config.privacy.noise_source)
  if built is not None and attack.knowledge is not None:
    clean_work = None
    if attack.knowledge.endswith('_clean') or attack.byzantine_dp_noise:
      silent = mechanism and dataclasses.replace(mechanism, noise_multiplier=0.0)
      clean_work = client_work(silent, 'seeded')
    work = byzantine_client_work.build_byzantine_client_work(
      work,
      attack=built,
      knowledge=attack.knowledge,
      schedule=schedule or attack_schedule.AttackSchedule(),
      seed=config.seed,
      clean_work=clean_work,
      byzantine_dp_noise=attack.byzantine_dp_noise,
    )
  server_learning_rate = config.training.server_learning_rate or 1.0
  message_type = dp_client_work.message_type(model)
  weights_type = weights_lib.weights_type(model)
  if isinstance(rule, rule_lib.RootedRule):
    if root is None:
      raise ValueError(f'rule {rule.name!r} looks at a root set; give root.')
    aggregator = aggregation.build_rooted_aggregation(
      rule,
      look=root_set.build_look(
        model, root, training=training, mechanism=mechanism, learning_rate=server_learning_rate
      ),
      message_type=message_type,
      weights_type=weights_type,
      seed=config.seed,
    )
    composer = rooted_learning_process.compose
  else:
    if root is not None:
      raise ValueError(f'root has no effect with rule {rule.name!r}; leave it out.')
    aggregator = aggregation.build_aggregation(
      rule,
      message_type=message_type,
      trainable_type=weights_type.trainable,
      seed=config.seed,
      with_gram=config.has_krum_certificate,
    )
    composer = tff.learning.templates.compose_learning_process
  return compose(
    model, work, aggregator, server_learning_rate=server_learning_rate, composer=composer
  )


def with_worker_momentum(
  work: tff.learning.templates.ClientWorkProcess, config: config_lib.ExperimentConfig
) -> tff.learning.templates.ClientWorkProcess:
  """Returns client work that sends momenta where the run asks for them, else `work` itself."""
  if not config.training.worker_momentum:
    return work
  return worker_momentum.build_worker_momentum(
    work, num_clients=config.data.num_clients, momentum=config.training.worker_momentum
  )


def build_rule(
  aggregation_config: config_lib.AggregationConfig,
  limits: noise_limits.NoiseLimits | None = None,
) -> rule_lib.AggregationRule | rule_lib.RootedRule:
  """Returns the rule of a run with its pre-aggregators before it.

  Args:
    aggregation_config: Which rule and pre-aggregators.
    limits: For pre-aggregators that hold messages against the DP noise that they bear.
  """
  options = aggregation_config.options
  rule = registry.build(registry.AGGREGATORS, aggregation_config.aggregator, options)
  steps = [
    registry.build(registry.PREAGGREGATORS, name, options, noise_limits=limits)
    for name in aggregation_config.preaggregators
  ]
  return preaggregator.compose(steps, rule) if steps else rule


def build_noise_limits(
  config: config_lib.ExperimentConfig,
  *,
  dimension: int,
  client_sizes: Sequence[int] | None,
) -> noise_limits.NoiseLimits:
  """Returns what honest messages of a run almost never do.

  Args:
    config: The decisions of the run, with DP noise.
    dimension: Coordinates of a message.
    client_sizes: Examples of each client of the population.

  Raises:
    ValueError: Without DP noise, or without `client_sizes`.
  """
  mechanism, training = build_mechanism(config), config.training
  if mechanism is None or client_sizes is None:
    missing = 'l2_norm_clip' if mechanism is None else 'client_sizes'
    raise ValueError(f'{missing}=None: limits on honest messages follow from it; give {missing}.')
  messages = message_noise.honest_messages(
    mechanism,
    algorithm=training.algorithm,
    client_sizes=client_sizes,
    batch_sampling=training.batch_sampling,
    local_epochs=training.local_epochs or 1,
    learning_rate=training.client_learning_rate or 1.0,
    tail_probability=noise_limits.message_tail_probability(training.clients_per_round),
  )
  return noise_limits.noise_limits(
    messages, dimension=dimension, num_clients=training.clients_per_round
  )


def build_mechanism(config: config_lib.ExperimentConfig) -> dp_gradient.GradientMechanism | None:
  """Returns the mechanism that clips and noises gradients, or None without privacy."""
  privacy = config.privacy
  if privacy.l2_norm_clip is None or privacy.noise_multiplier is None:
    return None
  return dp_gradient.GradientMechanism(
    l2_norm_clip=privacy.l2_norm_clip,
    noise_multiplier=privacy.noise_multiplier,
    expected_batch_size=config.training.batch_size,
    clip_unit=privacy.clip_unit,
    noise_scale=privacy.noise_scale,
  )


def compose(
  model: tff.learning.models.FunctionalModel,
  client_work: tff.learning.templates.ClientWorkProcess,
  aggregator: tff.templates.AggregationProcess,
  *,
  server_learning_rate: float,
  composer: Composer = tff.learning.templates.compose_learning_process,
) -> tff.learning.templates.LearningProcess:
  """Composes the parts into a learning process with a plain SGD server.

  An aggregate that holds a NaN leaves the model where it was (TFF's finalizer).

  Args:
    model: The model to train.
    client_work: What clients do.
    aggregator: How their messages are combined.
    server_learning_rate: Multiplies the aggregate, which is then subtracted.
    composer: TFF's composition, or `rooted_learning_process.compose` for an aggregator that
      is also given the model.
  """
  weights_type = weights_lib.weights_type(model)

  return composer(
    weights_lib.initial_weights(model),
    tff.learning.templates.build_broadcast_process(weights_type),
    client_work,
    aggregator,
    tff.learning.templates.build_apply_optimizer_finalizer(
      tff.learning.optimizers.build_sgdm(server_learning_rate), weights_type
    ),
  )
