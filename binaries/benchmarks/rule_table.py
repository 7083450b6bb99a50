"""The tables of all rules at all sizes, from what the sections of the suite `rules` found."""

from collections.abc import Mapping, Sequence
from typing import Any


def _cell(row: Mapping[str, Any] | None) -> str:
  if row is None:
    return ''
  if row['seconds'] is None:
    return 'not run'
  if not row['peers']:
    against = 'none'
  elif row['ratio'] is None:
    against = 'not run'
  else:
    against = f'{row["ratio"]:.2f}'
  return f'{row["seconds"]:.3g} s, {against}'


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  sizes = list(dict.fromkeys((row['n'], row['d']) for row in rows))
  cells = {(row['rule'], row['n'], row['d']): row for row in rows}
  heads = [f'({n}, {d:.0e})'.replace('e+0', 'e') for n, d in sizes]
  lines = ['| ' + ' | '.join(['rule', *heads]) + ' |', '| --- ' * (1 + len(sizes)) + '|']
  for rule in dict.fromkeys(row['rule'] for row in rows):
    found = [_cell(cells.get((rule, *size))) for size in sizes]
    lines.append('| ' + ' | '.join([rule, *found]) + ' |')
  return lines


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns Markdown: a table of the rules eagerly, and one of them federated."""
  written: list[str] = []
  for where in dict.fromkeys(row['where'] for row in rows):
    written += [
      '',
      f'## All rules, {where}: seconds, and their ratio to the faster of byzfl and flwr',
      '',
      *_table([row for row in rows if row['where'] == where]),
    ]
  if rows:
    written += [
      '',
      "'none': neither has the rule. 'not run': its row in the table of that size says why.",
    ]
  peaks = [row for row in rows if row['peak_over_stack'] is not None]
  if peaks:
    written += ['', '## Memory of a call over that of the stack, which is counted', '']
    written += ['| rule | size | where | times the stack |', '| --- | --- | --- | --- |']
    written += [
      f'| {row["rule"]} | ({row["n"]}, {row["d"]:,}) | {row["where"]}'
      f' | {row["peak_over_stack"]:.2f} |'
      for row in peaks
    ]
  return written
