"""The decisions of one run as frozen plain values.

Free of TensorFlow. A section (`config_sections`, `attack_config`) is checked when it is made, and
an experiment holds its sections against each other (`config_agreement`); what depends on the
data (sizes of clients, server epochs in rounds) is checked by the program.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tff_robust import attack_config, checks, config_agreement, config_sections
from tff_robust.attack_config import AttackConfig as AttackConfig
from tff_robust.config_sections import AggregationConfig as AggregationConfig
from tff_robust.config_sections import DataConfig as DataConfig
from tff_robust.config_sections import PrivacyConfig as PrivacyConfig
from tff_robust.config_sections import TrainingConfig as TrainingConfig

DATASETS = config_sections.DATASETS
MODELS = config_sections.MODELS
PARTITIONS = config_sections.PARTITIONS
ALGORITHMS = config_sections.ALGORITHMS
BATCH_SAMPLINGS = config_sections.BATCH_SAMPLINGS
NO_ATTACK = attack_config.NO_ATTACK
PLACEMENTS = attack_config.PLACEMENTS
COHORT_RISKS = attack_config.COHORT_RISKS
START_UNITS = attack_config.START_UNITS
KNOWLEDGE = attack_config.KNOWLEDGE
CLIP_UNITS = config_sections.CLIP_UNITS
NOISE_SCALES = config_sections.NOISE_SCALES
NOISE_SOURCES = config_sections.NOISE_SOURCES
AMPLIFICATIONS = config_sections.AMPLIFICATIONS
ACCOUNTANTS = config_sections.ACCOUNTANTS
DEFAULT_ROOT_SIZE = config_sections.DEFAULT_ROOT_SIZE


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
  """Everything that determines the result of a run."""

  seed: int
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
  aggregation: AggregationConfig = dataclasses.field(default_factory=AggregationConfig)
  attack: AttackConfig = dataclasses.field(default_factory=AttackConfig)
  privacy: PrivacyConfig = dataclasses.field(default_factory=PrivacyConfig)

  def __post_init__(self) -> None:
    checks.at_least('seed', self.seed, 0)
    config_agreement.check(
      data=self.data,
      training=self.training,
      aggregation=self.aggregation,
      attack=self.attack,
      privacy=self.privacy,
    )
    if self.aggregation.needs_root and self.data.root_size is None:
      completed = dataclasses.replace(self.data, root_size=DEFAULT_ROOT_SIZE)
      object.__setattr__(self, 'data', completed)

  @property
  def has_krum_certificate(self) -> bool:
    """Whether it can be computed when Krum selects the attackers: see `program.certificates`.

    It can when Krum sees the messages themselves and all attackers send the same multiple of
    the mean that they know, which noise of their own would spoil.
    """
    return (
      self.aggregation.aggregator == 'krum'
      and not self.aggregation.preaggregators
      and self.attack.attack == 'inner_product_manipulation'
      and not self.attack.byzantine_dp_noise
    )

  def is_same_run(self, other: 'ExperimentConfig') -> bool:
    """Tells whether two configurations agree on all but the folder in which the data lie."""
    data = dataclasses.replace(other.data, data_dir=self.data.data_dir)
    return self == dataclasses.replace(other, data=data)

  def to_json(self) -> dict[str, Any]:
    """Returns the configuration as nested plain values."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> 'ExperimentConfig':
    """Returns the configuration that `to_json` wrote."""
    sections = {field.name: field.type for field in dataclasses.fields(cls)}
    built = {}
    for name, value in values.items():
      section = sections[name]
      is_section = isinstance(section, type) and dataclasses.is_dataclass(section)
      built[name] = section(**value) if is_section and isinstance(section, type) else value
    return cls(**built)
