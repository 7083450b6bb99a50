r"""Trains rules against attacks on the digits and draws the accuracies as a heat map.

  python -m binaries.attack_matrix --output_dir=runs/matrix
  python -m binaries.attack_matrix --rules=mean,caf,fltrust --attacks=none,mimic,label_flip

Every rule and attack of the registry can take part, with `--plugins` also those of your own.

Each cell is a run of its own, through the real federated computation, in a folder of its
own below the output folder. A matrix that was interrupted or killed goes on where it stopped,
within a cell too, when the command is given again.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from binaries import command_line, matrix_cells

# The runtimes that need nothing but this machine.
RUNTIMES = ('accelerated', 'native')


def define_flags() -> None:
  """Defines the flags of the matrix."""
  from absl import flags

  flags.DEFINE_string('output_dir', 'runs/matrix', 'Folder of the matrix; one folder a cell.')
  rules, attacks = _names()
  flags.DEFINE_list(
    'rules', list(matrix_cells.RULES), f'Rules to train with. Among: {", ".join(rules)}.'
  )
  flags.DEFINE_list('attacks', list(matrix_cells.ATTACKS), f'Attacks. Among: {", ".join(attacks)}.')
  flags.DEFINE_integer(
    'num_byzantine',
    5,
    f'Byzantine clients among {matrix_cells.NUM_CLIENTS}, and the max_byzantine of rules.',
    lower_bound=1,
  )
  flags.DEFINE_float(
    'dirichlet_alpha',
    None,
    'Concentration of the labels of a client; left out, all have the same mixture.',
  )
  flags.DEFINE_integer('num_rounds', 40, 'Rounds of each run.', lower_bound=1)
  flags.DEFINE_integer('seed', 1, 'Seed of each run.', lower_bound=0)
  flags.DEFINE_enum('runtime', 'accelerated', RUNTIMES, 'Where federated computations run.')


def _names() -> tuple[list[str], list[str]]:
  """Returns the rules and the attacks that can take part."""
  from tff_robust import registry

  return list(registry.AGGREGATORS), ['none', *registry.ATTACKS]


def prepare() -> Callable[[], int]:
  """Checks the flags and returns the run of the whole matrix."""
  from absl import flags

  from tff_robust import checks

  values = flags.FLAGS
  for flag, known in zip(('rules', 'attacks'), _names(), strict=True):
    checks.not_empty(flag, values[flag].value)
    for name in values[flag].value:
      checks.known_name(flag, name, known)
  folder = pathlib.Path(values.output_dir)
  setting = matrix_cells.Setting(
    **{name: values[name].value for name in matrix_cells.Setting._fields}
  )
  cells = matrix_cells.build_cells(folder, values.rules, values.attacks, setting)
  if setting.dirichlet_alpha is not None:
    _check_dealing([configured for configured, _ in cells.values()])
  return lambda: run(
    folder, cells, values.rules, values.attacks, num_byzantine=setting.num_byzantine
  )


def _check_dealing(configurations: Sequence[Any]) -> None:
  """Raises ValueError when the examples cannot be dealt to the clients of a cell."""
  from binaries import experiment
  from tff_robust.data import load

  experiment.before_tensorflow()
  from binaries import federated_data

  # Cells differ in whether the server holds a root set, which no client gets.
  for configured in {configured.data: configured for configured in configurations}.values():
    dataset = load.load_dataset(configured.data.dataset)
    try:
      federated_data.deal(dataset, configured.data, seed=configured.seed)
    except ValueError as error:
      raise ValueError(
        f'dirichlet_alpha={configured.data.dirichlet_alpha} leaves some of the'
        f' {matrix_cells.NUM_CLIENTS} clients of a matrix without examples; raise dirichlet_alpha.'
      ) from error


def has_ended(summary_file: pathlib.Path) -> bool:
  """Tells from its `summary.json` whether nothing is left to do for a run."""
  if not summary_file.exists():
    return False
  status = json.loads(summary_file.read_text(encoding='utf-8'))['status']
  return status in ('completed', 'diverged')


def run(
  folder: pathlib.Path,
  cells: Mapping[tuple[str, str], tuple[Any, Any]],
  rules: Sequence[str],
  attacks: Sequence[str],
  *,
  num_byzantine: int,
) -> int:
  """Runs what is missing, then writes `matrix.csv` and `matrix.png` and prints the table.

  Returns:
    0, or the exit status of the cell that a signal interrupted, or whose checkpoints cannot be
    read; the matrix ends with it.
  """
  from binaries import experiment
  from tff_robust.program import run_folder, summary

  accuracies: dict[tuple[str, str], float] = {}
  for number, (cell, (configured, options)) in enumerate(cells.items(), start=1):
    summary_file = options.output_dir / summary.FILE_NAME
    if not has_ended(summary_file):
      sys.stderr.write(f'{number} of {len(cells)}: {cell[0]} against {cell[1]}\n')
      try:
        with contextlib.closing(experiment.prepare(configured, options)) as prepared:
          _, exit_status = prepared.run()
      except run_folder.UnreadableError as error:
        sys.stderr.write(f'{error}\n')
        return command_line.BAD_INPUT
      if exit_status:
        sys.stderr.write('Interrupted after a whole round; give the command again to go on.\n')
        return exit_status
    accuracies[cell] = json.loads(summary_file.read_text(encoding='utf-8'))['final_accuracy']
  rows = [[accuracies[rule, attack] for attack in attacks] for rule in rules]
  lines = [','.join(['rule', *attacks])]
  lines += [','.join([rule, *map(str, row)]) for rule, row in zip(rules, rows, strict=True)]
  (folder / 'matrix.csv').write_text('\n'.join(lines) + '\n', encoding='utf-8')
  draw(folder / 'matrix.png', rules, attacks, rows, num_byzantine=num_byzantine)
  print(table(rules, attacks, rows))
  print(f'\nPicture: {folder / "matrix.png"}')
  return 0


def table(rules: Sequence[str], attacks: Sequence[str], rows: Sequence[Sequence[float]]) -> str:
  """Returns the accuracies as a Markdown table."""
  lines = ['| rule | ' + ' | '.join(attacks) + ' |', '| --- ' * (len(attacks) + 1) + '|']
  for rule, row in zip(rules, rows, strict=True):
    lines.append(f'| {rule} | ' + ' | '.join(f'{value:.2f}' for value in row) + ' |')
  return '\n'.join(lines)


def draw(
  path: pathlib.Path,
  rules: Sequence[str],
  attacks: Sequence[str],
  rows: Sequence[Sequence[float]],
  *,
  num_byzantine: int,
) -> None:
  """Draws final test accuracies, light for chance and dark for 1, with the number in each cell."""
  from matplotlib import figure as figures

  figure = figures.Figure(figsize=(1.6 + 1.15 * len(attacks), 1.6 + 0.5 * len(rules)))
  axes = figure.subplots()
  image = axes.imshow(rows, cmap='Greys', vmin=0.0, vmax=1.0, aspect='auto')
  for row, values in enumerate(rows):
    for column, value in enumerate(values):
      axes.text(
        column,
        row,
        f'{value:.2f}',
        ha='center',
        va='center',
        color='white' if value > 0.55 else 'black',
      )
  axes.set_xticks(range(len(attacks)), [name.replace('_', '\n') for name in attacks], fontsize=8)
  axes.set_yticks(range(len(rules)), [name.replace('_', ' ') for name in rules], fontsize=9)
  axes.set_xlabel(f'attack by {num_byzantine} of {matrix_cells.NUM_CLIENTS} clients')
  axes.set_ylabel(f'rule, max_byzantine={num_byzantine}')
  figure.colorbar(image, label='test accuracy at the end')
  figure.tight_layout()
  figure.savefig(path, dpi=130)


if __name__ == '__main__':
  command_line.require_python()
  command_line.run(define_flags, prepare, takes_plugins=True)
