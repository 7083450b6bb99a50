"""The cells of the attack matrix: which rule meets which attack, in which setting."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tff_robust import registry
from tff_robust.aggregators import subset_limit

NUM_CLIENTS = 25
# What a matrix has unless it is told otherwise.
RULES = (
  'mean',
  'krum',
  'multi_krum',
  'bulyan',
  'coordinate_median',
  'trimmed_mean',
  'geometric_median',
)
ATTACKS: Mapping[str, Mapping[str, Any]] = {
  'none': {},
  'inner_product_manipulation': {'attack_epsilon': 0.5},
  'sign_flip': {'attack_scale': 5.0},
  'a_little_is_enough': {'attack_deviations': 1.5},
  'min_max': {'attack_direction': 'unit'},
  'gaussian': {'attack_noise_stddev': 10.0},
}


class Setting(NamedTuple):
  """What all cells of a matrix share.

  Attributes:
    num_byzantine: Byzantine clients among `NUM_CLIENTS`, and what rules are told to tolerate.
    dirichlet_alpha: Concentration of the labels of a client; None for the same mixture everywhere.
    num_rounds: Rounds of each run.
    seed: Seed of each run.
    runtime: Where federated computations run.
  """

  num_byzantine: int
  dirichlet_alpha: float | None
  num_rounds: int
  seed: int
  runtime: str


def configuration(rule: str, attack: str, setting: Setting) -> Any:
  """Returns the experiment of one cell."""
  from tff_robust import config

  attacked = config.AttackConfig()
  if attack != config.NO_ATTACK:
    attacked = config.AttackConfig(
      attack=attack,
      options=_attack_options(attack, setting.num_byzantine),
      num_byzantine=setting.num_byzantine,
    )
  return config.ExperimentConfig(
    seed=setting.seed,
    data=config.DataConfig(
      dataset='digits',
      num_clients=NUM_CLIENTS,
      partition='iid' if setting.dirichlet_alpha is None else 'dirichlet',
      dirichlet_alpha=setting.dirichlet_alpha,
    ),
    training=config.TrainingConfig(
      model='logistic',
      clients_per_round=NUM_CLIENTS,
      num_rounds=setting.num_rounds,
      batch_size=10,
      client_learning_rate=0.05,
    ),
    aggregation=config.AggregationConfig(
      aggregator=rule, options=_rule_options(rule, setting.num_byzantine)
    ),
    attack=attacked,
  )


def _rule_options(rule: str, num_byzantine: int) -> dict[str, Any]:
  num_selected = max(1, NUM_CLIENTS - 2 * num_byzantine)
  own = {'max_byzantine': num_byzantine, 'num_selected': num_selected}
  return _needed(registry.AGGREGATORS[rule], own)


def _attack_options(attack: str, num_byzantine: int) -> dict[str, Any]:
  entry = registry.ATTACKS[attack]
  return {**_needed(entry, {'max_byzantine': num_byzantine}), **ATTACKS.get(attack, {})}


def _needed(entry: registry.Entry, own: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a value for each option that has to be given: our own, else the option's example."""
  needed = [option for option in entry.reads if option not in entry.defaults]
  return {option: own.get(option, registry.OPTIONS[option].example) for option in needed}


def _check_rule(rule: str, num_byzantine: int) -> None:
  """Raises ValueError for a rule that is not defined for so many Byzantine clients."""
  entry = registry.AGGREGATORS[rule]
  _check_size('rule', rule, entry, _rule_options(rule, num_byzantine), num_byzantine)
  if entry.searches_subsets and math.comb(NUM_CLIENTS, num_byzantine) > subset_limit.MAX_SUBSETS:
    raise ValueError(
      f'rule {rule!r} would search more than {subset_limit.MAX_SUBSETS:,} subsets of clients with'
      f' num_byzantine={num_byzantine}; lower num_byzantine or leave {rule} out of rules.'
    )


def _check_attack(attack: str, rules: Sequence[str], num_byzantine: int) -> None:
  """Raises ValueError for an attack that so many clients, or one on these rules, cannot make."""
  if attack not in registry.ATTACKS:
    return
  entry = registry.ATTACKS[attack]
  _check_size('attack', attack, entry, _attack_options(attack, num_byzantine), num_byzantine)
  for rule in rules:
    if entry.takes_rule and registry.AGGREGATORS[rule].needs_root:
      raise ValueError(
        f'attack {attack!r} tries its step on the rule, but rule {rule!r} answers with a root set,'
        f' which only the server holds; leave {rule} out of rules or {attack} out of attacks.'
      )


def _check_size(
  kind: str, name: str, entry: registry.Entry, options: Mapping[str, Any], num_byzantine: int
) -> None:
  required = entry.required_clients({**entry.defaults, **options})
  if required > NUM_CLIENTS:
    raise ValueError(
      f'{kind} {name!r} needs at least {required} clients with num_byzantine={num_byzantine}, but a'
      f' matrix has {NUM_CLIENTS}; lower num_byzantine or leave {name} out of {kind}s.'
    )


def build_cells(
  folder: pathlib.Path, rules: Sequence[str], attacks: Sequence[str], setting: Setting
) -> dict[tuple[str, str], tuple[Any, Any]]:
  """Returns the experiment and the run options of each cell; one that has begun is resumed.

  Args:
    folder: Folder of the matrix.
    rules: Names of rules.
    attacks: Names of attacks.
    setting: What all cells share.

  Raises:
    ValueError: If a rule is not defined for so many Byzantine clients, nobody would be honest,
      or the folder is a file or that of a cell holds something else than a run of this cell.
  """
  from binaries import experiment_flags, run_flags
  from tff_robust.program import run_folder

  run_folder.check_is_no_file(folder)
  if setting.num_byzantine >= NUM_CLIENTS:
    raise ValueError(
      f'num_byzantine={setting.num_byzantine} leaves no honest client of the {NUM_CLIENTS} of a'
      ' matrix; lower it.'
    )
  for rule in rules:
    _check_rule(rule, setting.num_byzantine)
  for attack in attacks:
    _check_attack(attack, rules, setting.num_byzantine)
  cells = {}
  for rule in rules:
    for attack in attacks:
      own = folder / f'{rule}-{attack}'
      begun = (own / run_folder.CONFIG_FILE).exists()
      configured = configuration(rule, attack, setting)
      experiment_flags.check_without_data(configured)
      options = run_flags.RunOptions(
        output_dir=own,
        resume=begun,
        runtime=setting.runtime,
        evaluate_every=setting.num_rounds,
        progress=False,
      )
      if not begun:
        run_folder.check_unused(own)
      elif run_folder.load(own) != (configured, options.shared()):
        asked = ', '.join(f'{name}={value!r}' for name, value in setting._asdict().items())
        raise ValueError(
          f'output_dir={folder} holds cells of another setting than {asked}; give another'
          ' --output_dir.'
        )
      cells[rule, attack] = configured, options
  return cells
