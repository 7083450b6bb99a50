"""Promises by name, kept or honestly not: how every contract of this package is checked."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from tff_robust import checks, registry


class Trial(Protocol):
  """What is put to a contract.

  Attributes:
    kind: What it is, for messages: 'rule', 'attack' or 'pre-aggregator'.
    name: Its name in the registry.
    entry: Its row of the registry, with its deviations.
  """

  kind: str
  name: str
  entry: registry.Entry


def named(*promises: Callable[[Any], None]) -> Mapping[str, Callable[[Any], None]]:
  """Returns promises by their names."""
  return {promise.__name__: promise for promise in promises}


def check(
  trial: Trial, promises: Mapping[str, Callable[[Any], None]], promise: str | None = None
) -> None:
  """Checks one promise, or all of them; see `rule_contract.check`."""
  for deviation in trial.entry.deviations:
    checks.known_name('deviation', deviation, promises)
  if promise is not None:
    checks.known_name('promise', promise, promises)
  for name in promises if promise is None else [promise]:
    if name not in trial.entry.deviations:
      promises[name](trial)
      continue
    try:
      promises[name](trial)
    except AssertionError:
      continue
    raise AssertionError(
      f'{trial.kind} {trial.name!r} is said to deviate from {name!r}'
      f' ({trial.entry.deviations[name]}), but it keeps that promise here; strike the deviation.'
    )


def findings(
  trial: Trial, promises: Mapping[str, Callable[[Any], None]]
) -> Iterator[tuple[str, str | None]]:
  """Yields every promise and, where `check` fails on it, what it says; None where it holds."""
  for promise in promises:
    try:
      check(trial, promises, promise)
    except Exception as caught:  # Whatever a rule of somebody's own raises is a finding.
      yield promise, ' '.join(f'{type(caught).__name__}: {caught}'.split())
    else:
      yield promise, None
