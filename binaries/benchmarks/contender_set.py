"""Contenders that a section of a report measures, ended together."""

from typing import Any, Self

from binaries.benchmarks import contender as contender_lib
from binaries.benchmarks import machine


class ContenderSet:
  """Contenders as a context; each starts with its first work, and all end with the context."""

  def __init__(self) -> None:
    self._members: list[contender_lib.Contender] = []

  def add(self, contender: contender_lib.Contender) -> contender_lib.Contender:
    """Takes a contender in, and returns it."""
    self._members.append(contender)
    return contender

  def everyone(self) -> list[contender_lib.Contender]:
    """Returns all of them, in the order in which they came."""
    return list(self._members)

  def facts(self) -> dict[str, dict[str, Any]]:
    """Returns what those that were started say about themselves, by name."""
    return {
      contender.name: {
        **contender.facts,
        'oneDNN': machine.onednn(contender.log()),
        'start_seconds': contender.start_seconds,
      }
      for contender in self._members
      if contender.facts
    }

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    for contender in self._members:
      contender.close()
