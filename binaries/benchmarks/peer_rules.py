"""Which rules byzfl and flwr have, and how they are called. Nothing of either is imported.

Each table maps the name of a rule in our registry to a function of the library's modules, the
rule's options and the rows, which returns a function that aggregates once. Where a library's
rule differs from ours, the table says how.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

# `(library, options, rows) -> aggregate once`. `library` maps short names to modules.
Call = Callable[[Any, Mapping[str, Any], Any], Callable[[], Any]]


def _byzfl(build: Callable[[Any, Mapping[str, Any]], Any]) -> Call:
  """A rule object is made anew for each call: some keep a state."""
  return lambda byzfl, options, rows: lambda: build(byzfl, options)(rows)


def _byzfl_in_place(build: Callable[[Any, Mapping[str, Any]], Any]) -> Call:
  """Clippings overwrite what they are given, so they get a copy, which is included."""

  def call(byzfl: Any, options: Mapping[str, Any], rows: Any) -> Callable[[], Any]:
    return lambda: build(byzfl, options)(rows.clone() if hasattr(rows, 'clone') else rows.copy())

  return call


BYZFL: Mapping[str, Call] = {
  'mean': _byzfl(lambda byzfl, o: byzfl.Average()),
  # Sums over n - f - 1 others, as `krum_byzfl` does.
  'krum': _byzfl(lambda byzfl, o: byzfl.Krum(o['max_byzantine'])),
  'krum_byzfl': _byzfl(lambda byzfl, o: byzfl.Krum(o['max_byzantine'])),
  'multi_krum': _byzfl(lambda byzfl, o: byzfl.MultiKrum(o['max_byzantine'])),
  'coordinate_median': _byzfl(lambda byzfl, o: byzfl.Median()),
  'trimmed_mean': _byzfl(lambda byzfl, o: byzfl.TrMean(o['max_byzantine'])),
  'meamed': _byzfl(lambda byzfl, o: byzfl.Meamed(o['max_byzantine'])),
  # Three iterations, which do not converge; ours does.
  'geometric_median': _byzfl(lambda byzfl, o: byzfl.GeometricMedian()),
  'minimum_diameter_averaging': _byzfl(lambda byzfl, o: byzfl.MDA(o['max_byzantine'])),
  # One step of a power iteration from a random start instead of an eigenvector.
  'smea': _byzfl(lambda byzfl, o: byzfl.SMEA(o['max_byzantine'])),
  'caf': _byzfl(lambda byzfl, o: byzfl.CAF(o['max_byzantine'])),
  'centered_clipping': _byzfl(
    lambda byzfl, o: byzfl.CenteredClipping(L=o['num_iterations'], tau=float(o['clip_radius']))
  ),
  'nearest_neighbor_mixing': _byzfl(lambda byzfl, o: byzfl.NNM(o['max_byzantine'])),
  'bucketing': _byzfl(lambda byzfl, o: byzfl.Bucketing(o['bucket_size'])),
  'static_clipping': _byzfl_in_place(lambda byzfl, o: byzfl.Clipping(float(o['max_norm']))),
  'adaptive_clipping': _byzfl_in_place(lambda byzfl, o: byzfl.ARC(o['max_byzantine'])),
}


def _results(rows: Any) -> list[tuple[list[Any], int]]:
  """Returns what flwr's functions take: each client's layers and number of examples."""
  return [([row], 1) for row in rows]


def _krum(num_selected: Callable[[Mapping[str, Any]], int]) -> Call:
  def call(flwr: Any, options: Mapping[str, Any], rows: Any) -> Callable[[], Any]:
    results = _results(rows)
    return lambda: flwr.legacy.aggregate_krum(
      results, options['max_byzantine'], num_selected(options)
    )[0]

  return call


def _cut(options: Mapping[str, Any], rows: Any) -> float:
  """Returns the fraction of which flwr takes the integer part of n times it."""
  return float((options['max_byzantine'] + 0.5) / len(rows))


FLWR_LEGACY: Mapping[str, Call] = {
  'mean': lambda flwr, o, rows: lambda: flwr.legacy.aggregate(_results(rows))[0],
  'krum': _krum(lambda options: 0),
  'krum_flower_legacy': _krum(lambda options: 0),
  'multi_krum': _krum(lambda options: int(options['num_selected'])),
  'bulyan': lambda flwr, o, rows: (
    lambda: flwr.legacy.aggregate_bulyan(
      _results(rows), o['max_byzantine'], flwr.legacy.aggregate_krum, to_keep=0
    )[0]
  ),
  'coordinate_median': lambda flwr, o, rows: (
    lambda: flwr.legacy.aggregate_median(_results(rows))[0]
  ),
  'trimmed_mean': lambda flwr, o, rows: (
    lambda: flwr.legacy.aggregate_trimmed_avg(_results(rows), _cut(o, rows))[0]
  ),
}


def _select(num_selected: Callable[[Mapping[str, Any]], int]) -> Call:
  """Chooses rows by a float32 matrix product that is not centred; does not average them."""

  def call(flwr: Any, options: Mapping[str, Any], rows: Any) -> Callable[[], Any]:
    messages = [flwr.message(row) for row in rows]

    def select() -> Any:
      chosen = flwr.multikrum.select_multikrum(
        messages, options['max_byzantine'], num_selected(options)
      )
      return chosen[0]['update'].to_numpy_ndarrays()[0]

    return select

  return call


FLWR: Mapping[str, Call] = {
  'krum': _select(lambda options: 1),
  'multi_krum': _select(lambda options: int(options['num_selected'])),
  'coordinate_median': lambda flwr, o, rows: (
    lambda: flwr.numpy.median(flwr.numpy.stack(list(rows)), axis=0)
  ),
  'trimmed_mean': lambda flwr, o, rows: (
    lambda: flwr.fedtrimmedavg.trim_mean(flwr.numpy.stack(list(rows)), _cut(o, rows))
  ),
}

# What may implement a peer's row -> what it has.
IMPLEMENTATIONS: Mapping[str, Mapping[str, Call]] = {
  'byzfl numpy': BYZFL,
  'byzfl torch': BYZFL,
  'flwr legacy': FLWR_LEGACY,
  'flwr': FLWR,
}

# The most additions, or what takes as long, that a peer is asked for: about a minute.
_MOST_WORK = 8e10
# With NumPy, byzfl takes all differences of rows for these.
_BY_DIFFERENCES = (
  'krum',
  'krum_byzfl',
  'multi_krum',
  'minimum_diameter_averaging',
  'nearest_neighbor_mixing',
)


def _work(implementation: str, rule: str, n: int, d: int, f: int) -> float:
  """Returns about how many additions a peer does."""
  if rule == 'smea':
    return float(math.comb(n, f) * 11 * n * d)
  if rule == 'bulyan':
    return float(n**3 * d)
  if implementation == 'flwr legacy' and 'krum' in rule:
    return float(3 * n * n * d)
  work = float(n * n * d) if implementation == 'byzfl numpy' and rule in _BY_DIFFERENCES else 0.0
  if rule == 'minimum_diameter_averaging':
    work += 30.0 * math.comb(n, f) * n * n
  return work


def check_size(
  implementation: str,
  rule: str,
  options: Mapping[str, Any],
  *,
  num_clients: int,
  dimension: int,
  available_bytes: float,
) -> None:
  """Raises ValueError where a peer would take minutes or more memory than there is."""
  f = int(options.get('max_byzantine', 0))
  work = _work(implementation, rule, num_clients, dimension, f)
  if work > _MOST_WORK:
    minutes = work / _MOST_WORK
    how_long = 'hours or years' if minutes > 60 else f'about {minutes:.1f} minutes'
    raise ValueError(f'left out: would take {how_long}')
  copies = num_clients - f if rule == 'nearest_neighbor_mixing' else 10
  needed = 4.0 * num_clients * dimension * copies
  if needed > available_bytes:
    raise ValueError(f'left out: would take about {needed / 1e9:.0f} GB of memory')
