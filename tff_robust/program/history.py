"""The history of a run: one row a round, in a CSV file with a fixed header.

Evaluation columns of round r describe the model that enters round r, before its update.
One more row, numbered like the round that would follow, describes the final model. A
column that does not apply to a row is blank.
"""

import csv
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tff_robust.program import certificates, cohorts

FILE_NAME = 'history.csv'
ROUND = 'round'
COLUMNS = (
  ROUND,
  'server_epoch',
  'train_loss',
  'num_examples',
  'validation_accuracy',
  'validation_loss',
  'test_accuracy',
  'test_loss',
  'attack_success_rate',
  'num_byzantine',
  'attack_active',
  'selected_client_ids',
  'selected_byzantine_share',
  'score_gap',
  'signal_to_noise_ratio',
  'cosine_to_honest_mean',
  'aggregate_norm',
  'honest_mean_norm',
  'measured_kappa',
  *certificates.COLUMNS,
  'num_nonfinite',
  'num_filtered',
  'round_rejected',
  'round_seconds',
)
# Measured by the clock, so no two runs agree on them.
TIMING_COLUMNS = ('round_seconds',)
_TEXT_COLUMNS = ('selected_client_ids',)

# A number, a text, or None for a column that does not apply.
Cell = float | int | str | None
Row = dict[str, Cell]


def blank_row(round_number: int, server_epoch: float) -> Row:
  """Returns a row in which only the round is told."""
  row: Row = dict.fromkeys(COLUMNS)
  return {**row, ROUND: round_number, 'server_epoch': server_epoch}


def round_cells(
  metrics: Mapping[str, Any],
  cohort: cohorts.Cohort,
  *,
  attack_is_on: bool,
  certificate: certificates.KrumCertificate | None = None,
) -> Row:
  """Returns what the metrics of a learning process say about a round.

  `attack_active` is 1 when the attack is on and the cohort holds a Byzantine client.
  `selected_byzantine_share` is the share of the selected clients that were Byzantine
  in a round with an active attack, 0 in a round without one, and blank for rules
  that select nobody. `train_loss` is the mean over the examples of honest clients.

  Args:
    metrics: Metrics of the process: `client_work` with `loss_sum` and `num_examples`, and
      `aggregator` with what the `rule` and the `observer` measured.
    cohort: Who took part.
    attack_is_on: Whether the attack is on in this round.
    certificate: What tells when Krum selects the attackers, where it applies. Then the
      observer must have measured `gram`.
  """
  work, rule = metrics['client_work'], metrics['aggregator']['rule']
  observed = metrics['aggregator']['observer']
  num_examples = float(work['num_examples'])
  active = attack_is_on and bool(cohort.is_byzantine.any())
  cells: Row = {
    'train_loss': float(work['loss_sum']) / num_examples if num_examples else None,
    'num_examples': int(num_examples),
    'num_byzantine': int(cohort.is_byzantine.sum()),
    'attack_active': int(active),
    'num_nonfinite': int(rule['num_nonfinite']),
    'round_rejected': int(rule['round_rejected']),
  }
  for name in (
    'signal_to_noise_ratio',
    'cosine_to_honest_mean',
    'aggregate_norm',
    'honest_mean_norm',
    'measured_kappa',
  ):
    cells[name] = float(observed[name])
  if certificate is not None:
    certified = certificate.cells(
      observed['gram'],
      np.isin(np.asarray(rule['client_ids']), cohort.client_ids[cohort.is_byzantine]),
      signal_to_noise_ratio=float(observed['signal_to_noise_ratio']),
      attack_active=active,
    )
    cells.update(certified)
  if 'num_filtered' in rule:
    cells['num_filtered'] = int(rule['num_filtered'])
  if 'selected' in rule:
    selected = np.asarray(rule['client_ids'])[np.asarray(rule['selected'])]
    byzantine = cohort.client_ids[cohort.is_byzantine]
    cells['selected_client_ids'] = ';'.join(str(client_id) for client_id in selected)
    if 'score_gap' in rule:  # Rules that search subsets or filter rank nobody.
      cells['score_gap'] = float(rule['score_gap'])
    if selected.size:
      cells['selected_byzantine_share'] = float(np.isin(selected, byzantine).mean()) * active
  return cells


def _cell(name: str, text: str) -> Cell:
  if name in _TEXT_COLUMNS:
    return text or None
  if not text:
    return None
  value = float(text)
  return int(value) if name == ROUND else value


def read(path: str | os.PathLike[str]) -> list[Row]:
  """Returns the rows of a history file, numbers as numbers; none when there is no file."""
  if not pathlib.Path(path).exists():
    return []
  with open(path, newline='', encoding='utf-8') as file:
    return [
      {name: _cell(name, text or '') for name, text in raw.items()} for raw in csv.DictReader(file)
    ]


def begin(path: str | os.PathLike[str]) -> None:
  """Writes the header of a history file that is not there yet."""
  path = pathlib.Path(path)
  if not path.exists():
    _write(path, [COLUMNS])


def keep_before(path: str | os.PathLike[str], first_removed: int) -> int:
  """Removes the rows from a round on, and any row that was cut short, in one atomic step.

  What a killed run wrote after its last checkpoint is thereby forgotten: the resumed run
  writes those rows anew.

  Returns:
    How many rounds were removed, without the row of a final model, which took none.
  """
  path = pathlib.Path(path)
  if not path.exists():
    return 0
  with open(path, newline='', encoding='utf-8') as file:
    lines = [line for line in csv.reader(file) if line]
  header, *rest = lines or [[]]
  whole = [dict(zip(header, line, strict=True)) for line in rest if len(line) == len(header)]
  # By name: a file of another version may have other columns.
  kept = [
    [row.get(name, '') for name in COLUMNS]
    for row in whole
    if row.get(ROUND, '').isdecimal() and int(row[ROUND]) < first_removed
  ]
  _write(path, [COLUMNS, *kept])
  took_time = [row for row in whole if any(row.get(name) for name in TIMING_COLUMNS)]
  return sum(
    row.get(ROUND, '').isdecimal() and int(row[ROUND]) >= first_removed for row in took_time
  )


def append(path: str | os.PathLike[str], row: Mapping[str, Cell]) -> None:
  """Adds a row to a history file that `begin` made, which takes no longer where it is long.

  Args:
    path: The file.
    row: A cell for each of `COLUMNS`.
  """
  with open(path, 'a', newline='', encoding='utf-8') as file:
    csv.writer(file).writerow(['' if row[name] is None else row[name] for name in COLUMNS])


def _write(path: pathlib.Path, lines: Iterable[Sequence[str]]) -> None:
  partial = path.with_name(f'{path.name}.partial')
  with open(partial, 'w', newline='', encoding='utf-8') as file:
    csv.writer(file).writerows(lines)
  os.replace(partial, path)
