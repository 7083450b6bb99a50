"""The suites, and the sections of each by name."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from binaries.benchmarks import (
  gather_section,
  round_sections,
  rule_section,
  run_sections,
  sections,
)

Measure = Callable[[sections.Options], sections.Section]

SUITES: Mapping[str, Mapping[str, Measure]] = {
  'runtime': {
    'fed_sgd': round_sections.fed_sgd,
    'fed_avg': round_sections.fed_avg,
    'dp_sgd': round_sections.dp_sgd,
    'gather': gather_section.gather,
    'start': run_sections.start,
    'memory': run_sections.memory,
    'growth': run_sections.growth,
  },
  'rules': rule_section.SECTIONS,
}
# The flags that only one suite reads.
READS: Mapping[str, Sequence[str]] = {
  'runtime': ('torch_python',),
  'rules': ('rules', 'peers_python'),
}


def measure(
  suite: str, names: Sequence[str], options: sections.Options
) -> Iterator[sections.Section]:
  """Yields sections of a suite as they are measured, and says so on standard error."""
  for name in names:
    begin = time.perf_counter()
    print(f'{name}: started', file=sys.stderr, flush=True)
    section = SUITES[suite][name](options)
    section.load_average = round(os.getloadavg()[0], 2)
    seconds = time.perf_counter() - begin
    print(f'{name}: {seconds:.0f} s, load {section.load_average}', file=sys.stderr, flush=True)
    yield section
