"""The decisions of one run about data, training, aggregation and privacy; free of TensorFlow."""

import dataclasses
import typing
from collections.abc import Iterable, Mapping

from tff_robust import checks, registry
from tff_robust.privacy import mechanisms

DATASETS = ('digits', 'mnist', 'fashion_mnist', 'cifar10')
MODELS = ('logistic', 'mlp', 'small', 'literal', 'xie')
PARTITIONS = ('iid', 'dirichlet', 'label_shards')
ALGORITHMS = ('fed_sgd', 'fed_avg')
BATCH_SAMPLINGS = ('shuffle', 'poisson')
CLIP_UNITS = mechanisms.CLIP_UNITS
NOISE_SCALES = mechanisms.NOISE_SCALES
NOISE_SOURCES = ('seeded', 'entropy')
AMPLIFICATIONS = ('as_sampled', 'poisson', 'none')
ACCOUNTANTS = ('pld', 'rdp', 'rdp_classic')
DEFAULT_ROOT_SIZE = 100
_MOST_EXAMPLES = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """What the clients hold.

  Attributes:
    dataset: One of `DATASETS`.
    data_dir: Prepared TFDS folder, or None to let TFDS download.
    num_clients: Clients in the population.
    partition: One of `PARTITIONS`.
    dirichlet_alpha: Concentration, for `partition='dirichlet'` only.
    shards_per_client: Label shards a client gets, for `partition='label_shards'` only.
    validation_fraction: Share of the training examples that the server holds out.
    root_size: Training examples that the server holds as its root set, for rules that look at
      one only: `DEFAULT_ROOT_SIZE` if an experiment with such a rule leaves it out. They are
      nobody else's, and no privacy statement covers them.
  """

  dataset: str = 'digits'
  data_dir: str | None = None
  num_clients: int = 25
  partition: str = 'iid'
  dirichlet_alpha: float | None = None
  shards_per_client: int | None = None
  validation_fraction: float = 0.1
  root_size: int | None = None

  def __post_init__(self) -> None:
    checks.known_name('dataset', self.dataset, DATASETS)
    checks.known_name('partition', self.partition, PARTITIONS)
    checks.at_least('num_clients', self.num_clients, 1)
    checks.in_open_unit_interval('validation_fraction', self.validation_fraction)
    checks.only_with(
      'dirichlet_alpha', self.dirichlet_alpha, self.partition, 'dirichlet', 'partition'
    )
    checks.only_with(
      'shards_per_client', self.shards_per_client, self.partition, 'label_shards', 'partition'
    )
    if self.dirichlet_alpha is not None:
      checks.positive('dirichlet_alpha', self.dirichlet_alpha)
    if self.shards_per_client is not None:
      checks.at_least('shards_per_client', self.shards_per_client, 1)
    if self.root_size is not None:
      checks.at_least('root_size', self.root_size, 1)
    if self.dataset == 'digits' and self.data_dir is not None:
      raise ValueError(
        f"data_dir={self.data_dir!r} has no effect with dataset 'digits', which is embedded;"
        ' leave it out.'
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
  """How the model is trained.

  Attributes:
    model: One of `MODELS`.
    algorithm: 'fed_sgd' (a round is one minibatch gradient of each client) or 'fed_avg'
      (a round is `local_epochs` of local SGD on each client).
    clients_per_round: Size of a round's cohort.
    num_rounds: Rounds, or None when `num_server_epochs` is given.
    num_server_epochs: Length in passes over the training set, or None.
    batch_size: Examples a minibatch; the expected size when it is a Poisson sample.
    batch_sampling: One of `BATCH_SAMPLINGS`.
    local_epochs: Passes of a client over its examples in one round ('fed_avg' only).
    client_learning_rate: Of local SGD ('fed_avg' only).
    server_learning_rate: Multiplies the aggregate; for 'fed_sgd' it is the learning rate.
    worker_momentum: beta of the running average that every client sends of its messages, at
      least 0 and below 1; 0 sends the messages themselves.
  """

  model: str = 'small'
  algorithm: str = 'fed_avg'
  clients_per_round: int = 25
  num_rounds: int | None = None
  num_server_epochs: float | None = None
  batch_size: int = 10
  batch_sampling: str = 'shuffle'
  local_epochs: int | None = None
  client_learning_rate: float | None = None
  server_learning_rate: float | None = None
  worker_momentum: float = 0.0

  def __post_init__(self) -> None:
    if self.model.endswith('_bn'):
      raise ValueError(
        f'model={self.model!r} is refused: batch normalisation couples the examples of a batch,'
        ' so per-example gradients and the privacy proof do not exist; take'
        f' model={self.model.removesuffix("_bn")!r}.'
      )
    checks.known_name('model', self.model, MODELS)
    checks.known_name('algorithm', self.algorithm, ALGORITHMS)
    checks.known_name('batch_sampling', self.batch_sampling, BATCH_SAMPLINGS)
    checks.at_least('clients_per_round', self.clients_per_round, 1)
    checks.at_least('batch_size', self.batch_size, 1)
    checks.at_most('batch_size', self.batch_size, _MOST_EXAMPLES, 'batches are counted in 32 bits')
    checks.in_half_open_unit_interval('worker_momentum', self.worker_momentum)
    if (self.num_rounds is None) == (self.num_server_epochs is None):
      if self.num_rounds is None:
        raise ValueError(
          'num_rounds and num_server_epochs are both missing: how long is the run? Give exactly'
          ' one of the two, for example num_rounds=50.'
        )
      raise ValueError(
        f'num_rounds={self.num_rounds} and num_server_epochs={self.num_server_epochs}:'
        ' give exactly one of the two.'
      )
    if self.num_rounds is not None:
      checks.at_least('num_rounds', self.num_rounds, 1)
    if self.num_server_epochs is not None:
      checks.positive('num_server_epochs', self.num_server_epochs)
    defaults: dict[str, float] = {'server_learning_rate': 0.05}
    if self.algorithm == 'fed_avg':
      defaults = {'local_epochs': 1, 'client_learning_rate': 0.05, 'server_learning_rate': 1.0}
    for name in ('local_epochs', 'client_learning_rate', 'server_learning_rate'):
      value = getattr(self, name)
      if value is None and name in defaults:
        object.__setattr__(self, name, defaults[name])
      elif value is not None and name not in defaults:
        raise ValueError(
          f'{name}={value} has no effect with algorithm {self.algorithm!r}; leave it out or take'
          " algorithm='fed_avg'."
        )
      elif value is not None:
        checks.positive(name, value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AggregationConfig:
  """How the server combines the updates.

  Attributes:
    aggregator: A name in `registry.AGGREGATORS`.
    preaggregators: Names in `registry.PREAGGREGATORS`, applied in this order before the rule.
    options: Every option that rule and pre-aggregators read, completed with defaults.
  """

  aggregator: str = 'mean'
  preaggregators: tuple[str, ...] = ()
  options: Mapping[str, registry.OptionValue | None] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    object.__setattr__(self, 'preaggregators', tuple(self.preaggregators))
    for name in self.preaggregators:
      checks.known_name('preaggregators', name, registry.PREAGGREGATORS)
    options = registry.complete_options(
      'aggregator',
      registry.AGGREGATORS,
      self.aggregator,
      self.options,
      preaggregators=self.preaggregators,
    )
    object.__setattr__(self, 'options', options)

  @property
  def needs_root(self) -> bool:
    """Whether the rule looks at a root set at the server."""
    return registry.AGGREGATORS[self.aggregator].needs_root

  @property
  def needs_noise_limits(self) -> bool:
    """Whether a pre-aggregator holds messages against the DP noise that they bear."""
    return any(registry.PREAGGREGATORS[name].takes_noise_limits for name in self.preaggregators)

  def rows_before_rule(self, num_clients: int) -> int:
    """Returns how many rows the rule gets from a round of so many clients."""
    for name in self.preaggregators:
      num_clients = registry.PREAGGREGATORS[name].rows_after(num_clients, self.options)
    return num_clients


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
  """The client-side mechanism. `l2_norm_clip=None` trains without differential privacy.

  Attributes:
    l2_norm_clip: Norm to which gradients are clipped, or None.
    noise_multiplier: Standard deviation of the noise in units of `l2_norm_clip`; with 0, which
      clips only, `delta`, `noise_source`, `amplification` and `accountant` are refused.
    clip_unit: What is clipped: each 'example' (DP-SGD), or the 'minibatch_mean' only.
    noise_scale: Where the noise enters: 'sum_then_divide' (DP-SGD), 'on_mean' or
      'per_example_sum'.
    delta: The delta of the (epsilon, delta) statement.
    noise_source: 'seeded' (reproducible, private only towards who does not know the run's
      seed) or 'entropy' (drawn afresh on every client).
    amplification: 'as_sampled' accounts for the sampling in use; 'poisson' insists on
      amplification by Poisson sampling; 'none' does without any.
    accountant: 'pld' (privacy loss distributions), 'rdp' (Renyi, the conversion of
      dp_accounting) or 'rdp_classic' (Renyi, the conversion of Mironov 2017).
  """

  l2_norm_clip: float | None = None
  noise_multiplier: float | None = None
  clip_unit: str = 'example'
  noise_scale: str = 'sum_then_divide'
  delta: float = 1e-5
  noise_source: str = 'seeded'
  amplification: str = 'as_sampled'
  accountant: str = 'pld'

  @property
  def enabled(self) -> bool:
    """Whether gradients are clipped at all."""
    return self.l2_norm_clip is not None

  def __post_init__(self) -> None:
    checks.known_name('clip_unit', self.clip_unit, CLIP_UNITS)
    checks.known_name('noise_scale', self.noise_scale, NOISE_SCALES)
    checks.known_name('dp_noise_source', self.noise_source, NOISE_SOURCES)
    checks.known_name('privacy_amplification', self.amplification, AMPLIFICATIONS)
    checks.known_name('accountant', self.accountant, ACCOUNTANTS)
    checks.in_open_unit_interval('delta', self.delta)
    if self.enabled:
      mechanisms.check_l2_norm_clip(typing.cast(float, self.l2_norm_clip))
      if self.noise_multiplier is None:
        raise ValueError(
          f'l2_norm_clip={self.l2_norm_clip} needs noise_multiplier; give 0 to clip only.'
        )
      mechanisms.check_noise_multiplier(self.noise_multiplier)
      if not self.noise_multiplier:
        unread = ('delta', 'noise_source', 'amplification', 'accountant')
        self._check_left_out(unread, 'DP noise', 'a noise_multiplier above 0')
    else:
      names = [field.name for field in dataclasses.fields(self)]
      self._check_left_out(names, 'l2_norm_clip', 'l2_norm_clip')

  def _check_left_out(self, names: Iterable[str], missing: str, cure: str) -> None:
    """Raises when one of these is given, none of which has an effect without what is missing."""
    flag = {'noise_source': 'dp_noise_source', 'amplification': 'privacy_amplification'}
    defaults = {field.name: field.default for field in dataclasses.fields(self)}
    for name in names:
      if getattr(self, name) != defaults[name]:
        raise ValueError(
          f'{flag.get(name, name)}={getattr(self, name)} has no effect without {missing}; give'
          f' {cure} or leave it out.'
        )
