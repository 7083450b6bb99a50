"""The fields of a configuration that are flags, each with its name and what it means."""

from typing import NamedTuple

from tff_robust import config, registry


class Setting(NamedTuple):
  """A flag that sets one field of one section of the configuration.

  Attributes:
    flag: Name of the flag.
    section: Field of `ExperimentConfig`.
    field: Field of the section.
    help: What the flag means, for `--help`.
    choices: The values that are allowed, where they are names.
  """

  flag: str
  section: str
  field: str
  help: str
  choices: tuple[str, ...] = ()


SETTINGS: tuple[Setting, ...] = (
  Setting('dataset', 'data', 'dataset', 'What to learn.', config.DATASETS),
  Setting(
    'data_dir', 'data', 'data_dir', 'Folder of prepared TFDS data; without it, TFDS downloads.'
  ),
  Setting('num_clients', 'data', 'num_clients', 'Clients in the population.'),
  Setting('partition', 'data', 'partition', 'How clients share the examples.', config.PARTITIONS),
  Setting(
    'dirichlet_alpha',
    'data',
    'dirichlet_alpha',
    'Concentration of the labels of a client, for --partition=dirichlet.',
  ),
  Setting(
    'shards_per_client',
    'data',
    'shards_per_client',
    'Label shards that a client gets, for --partition=label_shards.',
  ),
  Setting(
    'validation_fraction',
    'data',
    'validation_fraction',
    'Share of the training examples that the server holds out for validation.',
  ),
  Setting(
    'root_size',
    'data',
    'root_size',
    'Training examples that the server holds as its root set, which no privacy statement covers;'
    f' left out, {config.DEFAULT_ROOT_SIZE}. Read by --aggregator='
    f'{"|".join(name for name, entry in registry.AGGREGATORS.items() if entry.needs_root)}.',
  ),
  Setting('model', 'training', 'model', 'Which model to train.', config.MODELS),
  Setting(
    'algorithm',
    'training',
    'algorithm',
    'A round is one minibatch gradient of each client (fed_sgd), or local epochs of SGD on'
    ' each client (fed_avg).',
    config.ALGORITHMS,
  ),
  Setting(
    'clients_per_round', 'training', 'clients_per_round', 'Clients in the cohort of a round.'
  ),
  Setting('num_rounds', 'training', 'num_rounds', 'Rounds; give this or --num_server_epochs.'),
  Setting(
    'num_server_epochs',
    'training',
    'num_server_epochs',
    'Passes over the training set, all clients together, instead of --num_rounds.',
  ),
  Setting(
    'batch_size',
    'training',
    'batch_size',
    'Examples in a minibatch; its expected size with --batch_sampling=poisson.',
  ),
  Setting(
    'batch_sampling',
    'training',
    'batch_sampling',
    'Batches cut from shuffled examples, or every example drawn by itself.',
    config.BATCH_SAMPLINGS,
  ),
  Setting(
    'local_epochs',
    'training',
    'local_epochs',
    'Passes of a client over its examples in a round.',
  ),
  Setting(
    'client_learning_rate',
    'training',
    'client_learning_rate',
    'Learning rate of local SGD.',
  ),
  Setting(
    'server_learning_rate',
    'training',
    'server_learning_rate',
    'Multiplies the aggregate; for --algorithm=fed_sgd it is the learning rate.',
  ),
  Setting(
    'worker_momentum',
    'training',
    'worker_momentum',
    'beta of the running average that a client sends: beta times its last message plus 1 - beta'
    ' times the new one; 0 sends the new one.',
  ),
  Setting(
    'aggregator',
    'aggregation',
    'aggregator',
    'Rule that combines the updates.',
    tuple(registry.AGGREGATORS),
  ),
  Setting(
    'preaggregators',
    'aggregation',
    'preaggregators',
    'Transformations of the updates before the rule, in order, with commas between them.',
    tuple(registry.PREAGGREGATORS),
  ),
  Setting(
    'attack',
    'attack',
    'attack',
    'What Byzantine clients send.',
    (config.NO_ATTACK, *registry.ATTACKS),
  ),
  Setting('num_byzantine', 'attack', 'num_byzantine', 'Clients that are Byzantine in fact.'),
  Setting(
    'byzantine_placement',
    'attack',
    'placement',
    'Whether --num_byzantine counts the Byzantine clients of each cohort or of the population.',
    config.PLACEMENTS,
  ),
  Setting(
    'cohort_risk',
    'attack',
    'cohort_risk',
    'What to do, with --byzantine_placement=population, about cohorts with more Byzantine clients'
    ' than --max_byzantine.',
    config.COHORT_RISKS,
  ),
  Setting('attack_knowledge', 'attack', 'knowledge', 'What the adversary sees.', config.KNOWLEDGE),
  Setting(
    'attack_start',
    'attack',
    'start',
    'First attacked round, or server epoch, counted from 0.',
  ),
  Setting(
    'attack_start_unit',
    'attack',
    'start_unit',
    'Unit of --attack_start and --attack_stop.',
    config.START_UNITS,
  ),
  Setting(
    'attack_stop',
    'attack',
    'stop',
    'First round, or server epoch, after the attack; left out, it has no end.',
  ),
  Setting('attack_every', 'attack', 'every', 'Rounds from one attacked round to the next.'),
  Setting(
    'byzantine_dp_noise',
    'attack',
    'byzantine_dp_noise',
    'Whether Byzantine clients add the DP noise of an honest message to theirs.',
  ),
  Setting(
    'l2_norm_clip',
    'privacy',
    'l2_norm_clip',
    'Norm to which gradients are clipped; without it, training is not private.',
  ),
  Setting(
    'noise_multiplier',
    'privacy',
    'noise_multiplier',
    'Standard deviation of the DP noise in units of --l2_norm_clip.',
  ),
  Setting(
    'clip_unit',
    'privacy',
    'clip_unit',
    'What is clipped: each gradient of an example, or the mean of the minibatch only.',
    config.CLIP_UNITS,
  ),
  Setting(
    'noise_scale',
    'privacy',
    'noise_scale',
    'Where the noise enters: on the sum, which is then divided by the batch size; on the mean;'
    ' or once for each example of an undivided sum.',
    config.NOISE_SCALES,
  ),
  Setting('delta', 'privacy', 'delta', 'Delta of the (epsilon, delta) statement.'),
  Setting(
    'dp_noise_source',
    'privacy',
    'noise_source',
    'DP noise from the seed of the run (reproducible), or from the entropy of each client.',
    config.NOISE_SOURCES,
  ),
  Setting(
    'privacy_amplification',
    'privacy',
    'amplification',
    'Whether the accounting uses the sampling of the batches as it is, insists on Poisson'
    ' sampling, or does without amplification.',
    config.AMPLIFICATIONS,
  ),
  Setting(
    'accountant', 'privacy', 'accountant', 'How privacy losses are composed.', config.ACCOUNTANTS
  ),
)
