"""One picture of a run: accuracy, loss, who was selected, and the two measures of the attack.

Every line has its own dash or weight, so that the picture reads in grey.
"""

import math
import os
import pathlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from matplotlib import figure as figures
from matplotlib import ticker

from tff_robust.attacks import attack_schedule
from tff_robust.program import certificates, history

FILE_NAME = 'curves.png'
_LOSS_LIMIT = 20.0  # Above the loss of a model that has collapsed, far below a diverging one.
_DARK, _RED, _BLUE, _GREY = '#222222', '#c0392b', '#1f5fa8', '#8a8a8a'


def _curve(rows: Sequence[history.Row], name: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns rounds and values, a value that is no number as +inf, where a column is told."""
  pairs = [(row[history.ROUND], cell) for row in rows if (cell := row[name]) is not None]
  values = [float(cell) if not math.isnan(float(cell)) else math.inf for _, cell in pairs]
  return np.array([r for r, _ in pairs], float), np.array(values, float)


def _draw_accuracy(axes: Any, rows: Sequence[history.Row], num_classes: int) -> None:
  for name, label, style in (
    ('test_accuracy', 'test', {'color': _BLUE, 'linewidth': 1.8}),
    ('validation_accuracy', 'validation', {'color': _DARK, 'linewidth': 1.0, 'linestyle': '--'}),
  ):
    axes.plot(*_curve(rows, name), label=label, **style)
  if any(row['attack_success_rate'] is not None for row in rows):
    rounds, values = _curve(rows, 'attack_success_rate')
    axes.plot(rounds, values, label='backdoor', color=_RED, linewidth=1.4, linestyle=(0, (5, 1)))
  axes.axhline(1 / num_classes, color=_GREY, linewidth=1, linestyle=':', label='chance')
  axes.set_ylim(0, 1)
  axes.set_ylabel('accuracy\n(share of examples)')
  axes.legend(loc='best', fontsize=8, frameon=False, ncols=4)


def _draw_loss(axes: Any, rows: Sequence[history.Row], num_classes: int) -> None:
  curves = (
    ('test_loss', 'test', {'color': _BLUE, 'linewidth': 1.8}),
    ('validation_loss', 'validation', {'color': _DARK, 'linewidth': 1.0, 'linestyle': '--'}),
    ('train_loss', 'training, honest clients', {'color': _GREY, 'linewidth': 0.9}),
  )
  clipped = False
  highest = math.log(num_classes)
  for name, label, style in curves:
    rounds, values = _curve(rows, name)
    clipped = clipped or bool((values > _LOSS_LIMIT).any())
    values = np.minimum(values, _LOSS_LIMIT)
    highest = max(highest, values.max(initial=0.0))
    axes.plot(rounds, values, label=label, **style)
  axes.axhline(math.log(num_classes), color=_GREY, linewidth=1, linestyle=':', label='chance')
  axes.set_ylim(0, 1.08 * highest)
  note = f'\nclipped at {_LOSS_LIMIT:g}' if clipped else ''
  axes.set_ylabel(f'cross-entropy\n(nats an example){note}')
  axes.legend(loc='best', fontsize=8, frameon=False, ncols=2)


def _draw_selected(
  axes: Any, rows: Sequence[history.Row], byzantine_clients: Collection[int]
) -> None:
  """Draws a mark for each message that was selected, by whether it was an attack."""
  honest: list[tuple[int, int]] = []
  attacking: list[tuple[int, int]] = []
  for row in rows:
    if row['selected_client_ids'] is not None:
      for client_id in map(int, str(row['selected_client_ids']).split(';')):
        attacks = bool(row['attack_active']) and client_id in byzantine_clients
        (attacking if attacks else honest).append((int(row[history.ROUND] or 0), client_id))
  for marks, label, style in (
    (honest, 'honest message', {'marker': 'o', 'color': _BLUE, 's': 9}),
    (attacking, 'Byzantine message', {'marker': 'x', 'color': _RED, 's': 16}),
  ):
    if marks:
      axes.scatter(*zip(*marks, strict=True), label=label, linewidths=1, **style)
  axes.set_ylabel('selected client\n(id)')
  axes.yaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=5))
  axes.margins(y=0.1)
  above = {'loc': 'lower left', 'bbox_to_anchor': (0, 0.97)}
  axes.legend(**above, fontsize=8, frameon=False, ncols=2)


def _draw_ratio(axes: Any, rows: Sequence[history.Row]) -> None:
  rounds, values = _curve(rows, 'signal_to_noise_ratio')
  finite = np.isfinite(values)
  axes.plot(rounds[finite], values[finite], color=_DARK, linewidth=1)
  axes.axhline(0, color=_GREY, linewidth=0.6)
  if finite.any() and np.abs(values[finite]).max() > 10:
    axes.set_yscale('symlog', linthresh=1)
  axes.set_ylabel('signal to noise\n(ratio R)')


def _draw_cosine(axes: Any, rows: Sequence[history.Row]) -> None:
  rounds, values = _curve(rows, 'cosine_to_honest_mean')
  finite = np.isfinite(values)
  axes.plot(rounds[finite], values[finite], color=_DARK, linewidth=1)
  axes.axhline(0, color=_GREY, linewidth=0.6)
  axes.set_ylim(-1.1, 1.1)
  axes.set_ylabel('aggregate to honest\nmean (cosine)')


def _draw_breaking_epsilon(
  axes: Any, rows: Sequence[history.Row], attack_epsilon: float | None
) -> None:
  """Draws the epsilon below which Krum selects the attackers, and the epsilon in use."""
  for name, label, style in (
    (certificates.EXACT, 'exact', {'color': _DARK, 'linewidth': 1.2}),
    (certificates.ISOTROPIC, 'isotropic', {'color': _GREY, 'linewidth': 1, 'linestyle': '--'}),
  ):
    rounds, values = _curve(rows, name)
    finite = np.isfinite(values)
    axes.plot(rounds[finite], values[finite], label=label, **style)
  if attack_epsilon is not None:
    axes.axhline(attack_epsilon, color=_RED, linewidth=1.2, linestyle=':', label='in use')
  wrong = [
    row
    for row in rows
    if row[certificates.PREDICTED] is not None
    and row['selected_byzantine_share'] is not None
    and bool(row[certificates.PREDICTED]) != bool(row['selected_byzantine_share'])
  ]
  if wrong:
    rounds, values = _curve(wrong, certificates.EXACT)
    axes.scatter(rounds, values, marker='x', color=_RED, label='predicted wrongly')
  axes.set_yscale('symlog', linthresh=0.1)
  axes.set_ylim(bottom=0)
  axes.set_ylabel('epsilon that\nbreaks Krum')
  axes.legend(loc='best', fontsize=8, frameon=False, ncols=4)


def _attack_marks(attack: attack_schedule.AttackSchedule | None) -> list[tuple[int, str]]:
  """Returns where to draw a line, and what to write there."""
  if attack is None:
    return []
  period = '' if attack.every == 1 else f', one round in {attack.every}'
  marks = [(attack.start_round, f'attack begins{period}')]
  if attack.stop_round is not None:
    marks.append((attack.stop_round, 'ends'))
  return marks


def draw(
  rows: Sequence[history.Row],
  folder: str | os.PathLike[str],
  *,
  title: str,
  num_classes: int,
  attack: attack_schedule.AttackSchedule | None,
  byzantine_clients: Collection[int],
  attack_epsilon: float | None = None,
) -> pathlib.Path:
  """Draws the history of a run and returns the path of the picture.

  Losses above 20, and those that are no numbers, are drawn at 20, and the axis says so.

  Args:
    rows: The history, as `history.read` gives it.
    folder: The folder of the run.
    title: What the run was.
    num_classes: Classes of the data set, for the level of chance.
    attack: In which rounds the attack was on, or None.
    byzantine_clients: The ids of the clients that the adversary controls.
    attack_epsilon: The factor of inner product manipulation in use, if it is.
  """
  panels: list[Callable[[Any], None]] = [
    lambda axes: _draw_accuracy(axes, rows, num_classes),
    lambda axes: _draw_loss(axes, rows, num_classes),
  ]
  heights = [2.2, 1.7]
  if any(row['selected_client_ids'] is not None for row in rows):
    panels.append(lambda axes: _draw_selected(axes, rows, byzantine_clients))
    heights.append(1.3)
  if any(row[certificates.EXACT] is not None for row in rows):
    panels.append(lambda axes: _draw_breaking_epsilon(axes, rows, attack_epsilon))
    heights.append(1.3)
  panels += [lambda axes: _draw_ratio(axes, rows), lambda axes: _draw_cosine(axes, rows)]
  heights += [1.1, 1.1]
  figure = figures.Figure(figsize=(8, 1.35 * sum(heights)), layout='constrained')
  all_axes: Any = figure.subplots(len(panels), 1, sharex=True, height_ratios=heights)
  for panel, axes in zip(panels, all_axes, strict=True):
    panel(axes)
    axes.spines[['top', 'right']].set_visible(False)
    axes.yaxis.label.set_fontsize(9)
    for round_number, _ in _attack_marks(attack):
      axes.axvline(round_number, color=_RED, linewidth=1.2, linestyle='-.')
  for round_number, words in _attack_marks(attack):
    all_axes[0].annotate(
      words,
      (round_number, 1.0),
      xytext=(4, 2),
      textcoords='offset points',
      color=_RED,
      fontsize=8,
    )
  all_axes[-1].set_xlabel('round')
  all_axes[-1].xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  figure.align_ylabels()
  figure.suptitle(title, fontsize=10)
  path = pathlib.Path(folder, FILE_NAME)
  figure.savefig(path, dpi=150)
  return path
