"""What is timed, as plain values that travel to another process. No TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any

# The images of all works, and their classes.
IMAGE_SHAPE = (32, 32, 3)
NUM_CLASSES = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundWork:
  """One round of training.

  Attributes:
    implementation: 'ours' (`computations.learning_process`), 'tff' (`tff.learning`) or
      'by_hand' (a `tf.function`, or plain PyTorch).
    algorithm: 'fed_sgd' or 'fed_avg'.
    num_clients: Clients of the round.
    num_batches: Batches that a client holds; FedSGD uses one.
    batch_size: Examples of a batch.
    resident: Whether examples stay on the device and clients bring indices.
    private: Whether each example's gradient is clipped and the sum noised.
    hidden_units: Width of the one hidden layer; 0 is the network of four convolutions.
    per_example: How PyTorch gets a gradient for each example: 'vmap' or 'opacus'.
  """

  implementation: str
  algorithm: str = 'fed_sgd'
  num_clients: int = 25
  num_batches: int = 1
  batch_size: int = 10
  resident: bool = False
  private: bool = False
  hidden_units: int = 0
  per_example: str = 'vmap'


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatherWork:
  """Bringing rows to the server and choosing one by Krum.

  Attributes:
    implementation: 'ours' (rows start at clients) or 'by_hand' (the rule on the stack).
    num_clients: Rows, n.
    dimension: Columns, d.
  """

  implementation: str
  num_clients: int
  dimension: int

  @property
  def max_byzantine(self) -> int:
    """The most that Krum allows, f = (n - 3) // 2."""
    return (self.num_clients - 3) // 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleWork:
  """One aggregation by a rule, or one run of a pre-aggregator.

  Attributes:
    implementation: 'ours', 'matmul' (one float32 product of the stack with itself, to compare
      with) or one of `peer_rules.IMPLEMENTATIONS`.
    kind: 'aggregator' or 'preaggregator'.
    rule: Name in the registry.
    options: Its options, by name.
    num_clients: Rows, n.
    dimension: Columns, d.
  """

  implementation: str
  kind: str
  rule: str
  options: Mapping[str, Any]
  num_clients: int
  dimension: int


Work = RoundWork | GatherWork | RuleWork


def hidden_units(num_parameters: float) -> int:
  """Returns the width at which the dense network has about `num_parameters` weights."""
  inputs = IMAGE_SHAPE[0] * IMAGE_SHAPE[1] * IMAGE_SHAPE[2]
  return max(1, round((num_parameters - NUM_CLASSES) / (inputs + 1 + NUM_CLASSES)))


def to_json(work: Work) -> dict[str, Any]:
  """Returns the work as plain values with the name of its class."""
  return {'class': type(work).__name__, **dataclasses.asdict(work)}


def from_json(values: Mapping[str, Any]) -> Work:
  """Returns the work that `to_json` wrote."""
  fields = dict(values)
  kind = {known.__name__: known for known in (RoundWork, GatherWork, RuleWork)}[fields.pop('class')]
  return kind(**fields)
