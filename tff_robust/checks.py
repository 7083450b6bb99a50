"""Every validation message: name, value, what is allowed, what to do.

Free of TensorFlow, so that bad flags are refused before anything heavy is imported.
"""

import difflib
import math
import numbers
from collections.abc import Collection, Iterable, Sequence
from typing import Any


def known_name(argument: str, value: str, known: Iterable[str]) -> str:
  """Returns `value` if it is among `known`, else raises with the nearest known name."""
  names = sorted(known)
  if value in names:
    return value
  nearest = difflib.get_close_matches(value, names, n=1, cutoff=0.4)
  hint = f' Did you mean {nearest[0]!r}?' if nearest else ''
  raise ValueError(f'{argument}={value!r} is not known; choose one of: {", ".join(names)}.{hint}')


def not_empty(argument: str, values: Collection[Any]) -> None:
  """Raises when a list that may be left out was given with nothing in it."""
  if not values:
    raise ValueError(f'{argument} is an empty list; name at least one, or leave it out for all.')


def whole_number(argument: str, value: Any) -> None:
  """Raises unless `value` is an integer of Python or NumPy; a bool or 2.0 is none."""
  if isinstance(value, bool) or not isinstance(value, numbers.Integral):
    raise ValueError(f'{argument}={value!r} must be a whole number; give an int, such as 2.')


def whole_at_least(argument: str, value: Any, minimum: int) -> None:
  """Raises unless `value` is a whole number of at least `minimum`."""
  whole_number(argument, value)
  at_least(argument, value, minimum)


def of_kind(argument: str, value: Any, kind: type) -> None:
  """Raises unless `value` is of a kind of option: int, float (or an int), or str."""
  if kind is int:
    whole_number(argument, value)
  elif kind is float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
      raise ValueError(f'{argument}={value!r} must be a number; give one such as 0.5.')
  elif not isinstance(value, kind):
    words = 'text' if kind is str else f'a {kind.__name__}'
    raise ValueError(f'{argument}={value!r} must be {words}; give it as such.')


def positive(argument: str, value: float) -> None:
  """Raises unless `value` is a finite number above zero."""
  of_kind(argument, value, float)
  if not (math.isfinite(value) and value > 0):
    raise ValueError(f'{argument}={value} must be a finite number above 0.')


def nonnegative(argument: str, value: float) -> None:
  """Raises unless `value` is a finite number of at least zero."""
  of_kind(argument, value, float)
  if not (math.isfinite(value) and value >= 0):
    raise ValueError(f'{argument}={value} must be a finite number of at least 0.')


def finite(argument: str, value: float) -> None:
  """Raises unless `value` is a finite number."""
  of_kind(argument, value, float)
  if not math.isfinite(value):
    raise ValueError(f'{argument}={value} must be a finite number.')


def in_unit_interval(argument: str, value: float) -> None:
  """Raises unless 0 <= value <= 1."""
  if not 0 <= value <= 1:
    raise ValueError(f'{argument}={value} must lie between 0 and 1.')


def in_half_open_unit_interval(argument: str, value: float) -> None:
  """Raises unless 0 <= value < 1."""
  if not 0 <= value < 1:
    raise ValueError(f'{argument}={value} must be at least 0 and below 1.')


def at_least(argument: str, value: float, minimum: float) -> None:
  """Raises unless `value >= minimum`."""
  if not value >= minimum:
    raise ValueError(f'{argument}={value} must be at least {minimum}.')


def at_most(argument: str, value: float, maximum: float, what: str) -> None:
  """Raises unless `value <= maximum`; `what` says where the maximum comes from."""
  if not value <= maximum:
    raise ValueError(f'{argument}={value} must be at most {maximum} ({what}).')


def in_open_unit_interval(argument: str, value: float) -> None:
  """Raises unless 0 < value < 1."""
  if not 0 < value < 1:
    raise ValueError(f'{argument}={value} must lie strictly between 0 and 1.')


def enough_clients(
  rule: str,
  num_clients: int,
  max_byzantine: int,
  required: int,
  *,
  counted: str = 'clients_per_round',
  kind: str = 'aggregator',
  cure: str = 'raise clients_per_round',
) -> None:
  """Raises when `rule` is not defined for so many declared Byzantine clients.

  Args:
    rule: Registry name of the rule.
    num_clients: Clients of a round, n.
    max_byzantine: Declared Byzantine clients, f.
    required: The smallest n for which the rule is defined at this f.
    counted: What `num_clients` is, in words.
    kind: What `rule` is, in words.
    cure: What gives it more of what is counted.
  """
  if max_byzantine < 0:
    raise ValueError(f'max_byzantine={max_byzantine} must be at least 0 for {kind} {rule!r}.')
  if num_clients < required:
    told = f' with max_byzantine={max_byzantine}' if max_byzantine else ''
    raise ValueError(
      f'{kind} {rule!r}{told} needs at least {required} clients a round, but'
      f' {counted}={num_clients}; {"lower max_byzantine or " if told else ""}{cure}.'
    )


def no_unread_options(readers: Sequence[str], given: Iterable[str], reads: Iterable[str]) -> None:
  """Raises when an option was given that nothing in use reads.

  Args:
    readers: What is in use, each in words: "aggregator 'krum'".
    given: Names of the options that were given.
    reads: Names of the options that are read.
  """
  readable = sorted(set(reads))
  for option in given:
    if option not in readable:
      reads_text = ', '.join(readable) if readable else 'no options'
      raise ValueError(
        f'{option} has no effect with {" and ".join(readers)}, which'
        f' {"reads" if len(readers) == 1 else "read"}: {reads_text}; leave it out.'
      )


def only_with(argument: str, value: Any, choice: str, needed: str, chooser: str) -> None:
  """Raises unless `argument` is given exactly when `chooser` is `needed`."""
  if choice == needed and value is None:
    raise ValueError(f'{chooser}={choice!r} needs {argument}.')
  if choice != needed and value is not None:
    raise ValueError(
      f'{argument}={value} has no effect with {chooser}={choice!r}; leave it out or take'
      f' {chooser}={needed!r}.'
    )


def rank_two(argument: str, shape: Any) -> None:
  """Raises unless a static shape has rank 2 (`[clients, coordinates]`)."""
  if shape.rank is not None and shape.rank != 2:
    raise ValueError(f'{argument} has shape {shape}; it must be [clients, coordinates].')


def vector(argument: str, shape: Any, length: int | None, what: str) -> None:
  """Raises unless a static shape can be `[length]`, one entry for each `what`.

  Args:
    argument: Name of what has the shape.
    shape: A `tf.TensorShape`.
    length: How many entries there must be, or None if that is not known.
    what: What there is an entry for, in words.
  """
  if not shape.is_compatible_with([length]):
    expected = 'a vector' if length is None else f'[{length}]'
    raise ValueError(f'{argument} has shape {shape}; it must be {expected}, one entry a {what}.')
