"""Rules, attacks and pre-aggregators from outside of this package join the registry.

A plug-in is a module that calls `add_aggregator` (or `add_attack`, `add_preaggregator`,
`add_option`) when it is imported. From then on its names are as good as ours: for flags and
messages, contract tests, benchmarks and reports. `docs/adding_a_rule.md` and
`docs/adding_an_attack.md` are examples.
Free of TensorFlow.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tff_robust import checks, options, registry
from tff_robust.attacks import knowledge as views
from tff_robust.catalogue import entry as entry_lib
from tff_robust.catalogue import round_sizes

Reads = Iterable[str] | Mapping[str, str]


def add_aggregator(
  name: str,
  builder: Callable[..., Any] | str,
  *,
  reads: Reads = ('max_byzantine',),
  defaults: Mapping[str, registry.OptionValue | None] | None = None,
  required_clients: Callable[[Mapping[str, Any]], int] | None = None,
  needs_root: bool = False,
  oracle: Callable[..., Any] | str = '',
  deviations: Mapping[str, str] | None = None,
) -> None:
  """Adds a rule.

  Args:
    name: Its name, which its `AggregationRule` must bear as well.
    builder: The function that returns the rule, or `module:function`.
    reads: Options that the builder takes, or a mapping of options to its arguments. By default
      `max_byzantine`.
    defaults: Values of the options that need not be given.
    required_clients: All options to the smallest round for which the rule is defined. By
      default 2f + 1, or 1 for a rule that reads no `max_byzantine`.
    needs_root: Whether it looks at a root set at the server; the builder then returns a
      `RootedRule`.
    oracle: The same rule in plain NumPy, `(rows float64 [n, d], **builder's arguments) -> [d]`.
    deviations: Promises of `testing.rule_contract` that it does not keep, with the reason.

  Raises:
    ValueError: If the name is taken, an option is unknown, a default is of none that it reads, or a
      function has no address.
  """
  reads = _reads(reads)
  if required_clients is None:
    required_clients = round_sizes.majority if 'max_byzantine' in reads else round_sizes.any_number
  entry = registry.Entry(
    _target(builder),
    reads,
    _defaults(name, reads, defaults),
    required_clients,
    needs_root=needs_root,
    oracle=_target(oracle) if oracle else '',
    deviations=deviations or {},
  )
  _add('aggregator', registry.AGGREGATORS, name, entry)


def add_preaggregator(
  name: str,
  builder: Callable[..., Any] | str,
  *,
  reads: Reads = (),
  defaults: Mapping[str, registry.OptionValue | None] | None = None,
  required_clients: Callable[[Mapping[str, Any]], int] | None = None,
  rows_after: Callable[[int, Mapping[str, Any]], int] = lambda num_rows, options: num_rows,
  deviations: Mapping[str, str] | None = None,
) -> None:
  """Adds a pre-aggregator.

  Args:
    name: Its name, which its `PreAggregator` must bear as well.
    builder: The function that returns it, or `module:function`.
    reads: Options that the builder takes, or a mapping of options to its arguments.
    defaults: Values of the options that need not be given.
    required_clients: All options to the fewest rows for which it is defined. By default 1.
    rows_after: Rows that come out when so many go in, given all options. By default as many.
    deviations: Promises of `testing.preaggregator_contract` that it does not keep, with the
      reason.

  Raises:
    ValueError: If the name is taken, an option is unknown, a default is of none that it reads, or a
      function has no address.
  """
  reads = _reads(reads)
  entry = registry.Entry(
    _target(builder),
    reads,
    _defaults(name, reads, defaults),
    required_clients or round_sizes.any_number,
    rows_after=rows_after,
    deviations=deviations or {},
  )
  _add('preaggregators', registry.PREAGGREGATORS, name, entry)


def add_attack(
  name: str,
  builder: Callable[..., Any] | str,
  *,
  reads: Reads = (),
  defaults: Mapping[str, registry.OptionValue | None] | None = None,
  knowledge: tuple[str, ...] = (),
  takes_rule: bool = False,
  by_data: bool = False,
  required_clients: Callable[[Mapping[str, Any]], int] | None = None,
  fewest_own_messages: int = 1,
  deviations: Mapping[str, str] | None = None,
) -> None:
  """Adds an attack by messages, or one by data.

  Args:
    name: Its name, which its `Attack` must bear as well.
    builder: The function that returns it, or `module:function`.
    reads: Options that the builder takes, or a mapping of options to its arguments.
    defaults: Values of the options that need not be given.
    knowledge: For attacks by messages: the views with which it makes sense, the default first.
    takes_rule: For attacks by messages: whether the builder also takes `rule`, the live
      `AggregationRule` on which the attack tries its step.
    by_data: Whether compromised clients train honestly on poisoned data; the builder then also
      takes `num_classes` and returns a transform `(x, y) -> (x, y)`.
    required_clients: All options to the smallest round of the rule that it is made against. By
      default 1.
    fewest_own_messages: Attackers that it takes at least where they see only what they would have
      sent themselves: 2 for one that needs the spread of messages.
    deviations: Promises of `testing.attack_contract` that it does not keep, with the reason.

  Raises:
    ValueError: If the name is taken, an option is unknown, a default is of none that it reads, a
      function has no address, a view is unknown, not exactly one of `knowledge` and `by_data` is
      given, or an argument with another that it has no effect with.
  """
  if bool(knowledge) == by_data:
    raise ValueError(
      f'attack {name!r} has knowledge={knowledge} and by_data={by_data}; give exactly one.'
    )
  if isinstance(knowledge, str):
    raise ValueError(
      f'attack {name!r} has knowledge={knowledge!r}, a text; give a tuple of views:'
      f' ({knowledge!r},).'
    )
  for view in knowledge:
    checks.known_name(f'knowledge of attack {name!r}', view, views.ALL)
  if fewest_own_messages > 1 and not set(knowledge) & set(views.OWN):
    raise ValueError(
      f'fewest_own_messages={fewest_own_messages} has no effect with attack {name!r}, which never'
      ' sees its own messages alone; leave it out.'
    )
  if takes_rule and by_data:
    raise ValueError(
      f'attack {name!r} has takes_rule=True and by_data=True, but clients that train honestly try'
      ' no rule; give one of the two.'
    )
  reads = _reads(reads)
  entry = registry.Entry(
    _target(builder),
    reads,
    _defaults(name, reads, defaults),
    required_clients or round_sizes.any_number,
    knowledge=tuple(knowledge),
    takes_rule=takes_rule,
    by_data=by_data,
    fewest_own_messages=fewest_own_messages,
    deviations=deviations or {},
  )
  _add('attack', registry.ATTACKS, name, entry)


def add_option(name: str, option: options.Option) -> None:
  """Adds an option, which becomes a flag of that name.

  Raises:
    ValueError: If the name is taken.
  """
  if name in registry.OPTIONS:
    raise ValueError(f'option {name!r} is there already; use it, or choose another name.')
  registry.OPTIONS[name] = option


def load(modules: Iterable[str]) -> None:
  """Imports plug-ins, each once.

  Raises:
    ValueError: If a module does not exist.
  """
  for module in modules:
    try:
      importlib.import_module(module)
    except ModuleNotFoundError as error:
      if error.name is None or not f'{module}.'.startswith(f'{error.name}.'):
        raise
      raise ValueError(
        f'plugins={module!r} is no module that Python finds; start where it lies, or install it.'
      ) from error


def _reads(reads: Reads) -> Mapping[str, str]:
  reads = dict(reads) if isinstance(reads, Mapping) else entry_lib.same_names(*reads)
  for option in reads:
    checks.known_name('option', option, registry.OPTIONS)
  return reads


def _defaults(
  name: str, reads: Mapping[str, str], defaults: Mapping[str, registry.OptionValue | None] | None
) -> Mapping[str, registry.OptionValue | None]:
  """Returns the defaults of an entry; raises ValueError if it never reads one of them."""
  for option in defaults or {}:
    if option not in reads:
      raise ValueError(
        f'defaults of {name!r} hold {option!r}, which is not among its reads'
        f' ({", ".join(reads) or "none"}); name it there, or leave it out.'
      )
  return dict(defaults or {})


def _target(function: Callable[..., Any] | str) -> str:
  """Returns `module:function`, which can be imported again wherever the registry is read."""
  if isinstance(function, str):
    module, _, name = function.partition(':')
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split('.')):
      raise ValueError(f"{function!r} is no function's address; write 'package.module:function'.")
    return function
  if '<' in function.__qualname__ or '.' in function.__qualname__:
    raise ValueError(
      f'{function.__qualname__} cannot be imported by name; define it at the top of a module.'
    )
  return f'{function.__module__}:{function.__name__}'


def _add(kind: str, table: dict[str, registry.Entry], name: str, entry: registry.Entry) -> None:
  if name in table:
    raise ValueError(f'{kind} {name!r} is there already; choose another name.')
  table[name] = entry
