"""What a section of a report consists of, and what it is measured with."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from binaries.benchmarks import contender as contender_lib
from binaries.benchmarks import contender_set, race


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aim:
  """A bound on the median of an entry: `entry <= factor * reference`."""

  entry: str
  reference: str
  factor: float


@dataclasses.dataclass(kw_only=True)
class Section:
  """A table of the report.

  Attributes:
    name: As in `suites.SUITES`.
    title: Of the table.
    timings: Its rows.
    aims: Bounds between its rows.
    facts: Lines below the table.
    figures: Further figures as plain values.
    contenders: What the processes that did the works say about themselves, by name.
    load_average: When the section ended.
  """

  name: str
  title: str
  timings: list[race.Timing] = dataclasses.field(default_factory=list)
  aims: list[Aim] = dataclasses.field(default_factory=list)
  facts: list[str] = dataclasses.field(default_factory=list)
  figures: dict[str, Any] = dataclasses.field(default_factory=dict)
  contenders: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
  load_average: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How to measure.

  Attributes:
    device: 'auto', 'cpu' or 'gpu:N'.
    repetitions: Of a short work; long ones get fewer.
    smoke: Whether to try everything on tiny sizes instead.
    torch_python: A Python with PyTorch, or None for no rows with it.
    peers_python: A Python with byzfl and flwr, or None for no comparison with them.
    rules: Rules and pre-aggregators that are measured, or None for all.
  """

  device: str = 'auto'
  repetitions: int = 11
  smoke: bool = False
  torch_python: str | None = None
  peers_python: str | None = None
  rules: Sequence[str] | None = None

  @property
  def few(self) -> int:
    """Repetitions of a long work."""
    return max(1, min(self.repetitions, (self.repetitions + 2) // 3))


class Contenders(contender_set.ContenderSet):
  """One contender for each runtime, and PyTorch where there is one."""

  def __init__(self, options: Options) -> None:
    """Prepares processes; each starts with its first work."""
    super().__init__()

    def make(name: str, runtime: str, **settings: Any) -> contender_lib.Contender:
      return self.add(contender_lib.tensorflow_contender(name, runtime, options.device, **settings))

    self.stock = make('stock', 'stock')
    self.stock_without_onednn = make('stock without oneDNN', 'stock', without_onednn=True)
    self.native = make('native', 'native')
    self.accelerated = make('accelerated', 'accelerated')
    self.tensorflow = make('tf.function', 'none')
    self.torch: contender_lib.Contender | None = None
    if options.torch_python is not None:
      self.torch = self.add(contender_lib.torch_contender(options.torch_python, options.device))
