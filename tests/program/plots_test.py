import math
import struct

import pytest

from tff_robust.attacks import attack_schedule
from tff_robust.program import history, plots


def rows(*, losses=(2.3, 1.0, 0.5), selects=True):
  found = []
  for round_number, loss in enumerate(losses):
    row = history.blank_row(round_number, float(round_number))
    row |= {'test_accuracy': 0.5, 'validation_accuracy': 0.5, 'test_loss': loss}
    row |= {'validation_loss': loss, 'train_loss': loss, 'signal_to_noise_ratio': math.nan}
    row |= {'cosine_to_honest_mean': 0.5, 'attack_active': int(round_number > 0)}
    if selects:
      row |= {'selected_client_ids': '3;4', 'selected_byzantine_share': 0.5}
    found.append(row)
  return found


def drawn(monkeypatch, tmp_path, found, **changes):
  """Returns the figure that is saved, and the path."""
  figures = []
  save = plots.figures.Figure.savefig
  monkeypatch.setattr(
    plots.figures.Figure,
    'savefig',
    lambda self, *a, **k: (figures.append(self), save(self, *a, **k)),
  )
  arguments = {
    'title': 'digits, krum',
    'num_classes': 10,
    'attack': attack_schedule.AttackSchedule(1),
    'byzantine_clients': [4],
  }
  path = plots.draw(found, tmp_path, **{**arguments, **changes})
  return figures[0], path


def test_picture_is_a_png_of_a_readable_size(monkeypatch, tmp_path):
  _, path = drawn(monkeypatch, tmp_path, rows())
  content = path.read_bytes()
  assert content[:8] == b'\x89PNG\r\n\x1a\n'
  width, height = struct.unpack('>II', content[16:24])
  assert width >= 1000
  assert height >= 1000


def test_every_axis_is_labelled_and_carries_the_start_of_the_attack(monkeypatch, tmp_path):
  figure, _ = drawn(monkeypatch, tmp_path, rows())
  assert len(figure.axes) == 5
  for axes in figure.axes:
    assert axes.get_ylabel()
    assert any(list(line.get_xdata()) == [1, 1] for line in axes.lines)
  assert figure.axes[-1].get_xlabel() == 'round'


def test_end_and_period_of_an_attack_are_told(monkeypatch, tmp_path):
  attack = attack_schedule.AttackSchedule(1, 2, every=3)
  figure, _ = drawn(monkeypatch, tmp_path, rows(), attack=attack)
  assert [text.get_text() for text in figure.axes[0].texts] == [
    'attack begins, one round in 3',
    'ends',
  ]
  for axes in figure.axes:
    assert any(list(line.get_xdata()) == [2, 2] for line in axes.lines)


def test_success_of_a_backdoor_is_a_line_beside_the_accuracy(monkeypatch, tmp_path):
  found = rows()
  found[2]['attack_success_rate'] = 0.75
  figure, _ = drawn(monkeypatch, tmp_path, found)
  (line,) = [line for line in figure.axes[0].lines if line.get_label() == 'backdoor']
  assert list(line.get_xdata()) == [2]
  assert list(line.get_ydata()) == [0.75]


def test_no_backdoor_has_no_line(monkeypatch, tmp_path):
  figure, _ = drawn(monkeypatch, tmp_path, rows())
  assert 'backdoor' not in [line.get_label() for line in figure.axes[0].lines]


def test_rules_that_select_nobody_have_no_panel_of_selected_clients(monkeypatch, tmp_path):
  figure, _ = drawn(monkeypatch, tmp_path, rows(selects=False), attack=None)
  assert len(figure.axes) == 4
  assert not any('selected' in axes.get_ylabel() for axes in figure.axes)


def test_selected_clients_are_marked_by_whether_they_attacked(monkeypatch, tmp_path):
  figure, _ = drawn(monkeypatch, tmp_path, rows())
  panel = next(axes for axes in figure.axes if 'selected' in axes.get_ylabel())
  marks = {c.get_label(): c.get_offsets().tolist() for c in panel.collections}
  # Client 4 is Byzantine; before the attack began it sent an honest message.
  assert marks['Byzantine message'] == [[1, 4], [2, 4]]
  assert marks['honest message'] == [[0, 3], [0, 4], [1, 3], [2, 3]]


@pytest.mark.parametrize('losses', [(2.3, math.nan), (2.3, math.inf), (2.3, 1e30, math.nan)])
def test_diverged_losses_are_clipped_and_the_axis_says_so(monkeypatch, tmp_path, losses):
  figure, _ = drawn(monkeypatch, tmp_path, rows(losses=losses))
  panel = figure.axes[1]
  assert 'clipped at 20' in panel.get_ylabel()
  assert panel.get_ylim()[1] < 25
  test_curve = next(line for line in panel.lines if line.get_label() == 'test')
  assert test_curve.get_ydata()[-1] == 20


def test_moderate_losses_are_not_clipped(monkeypatch, tmp_path):
  figure, _ = drawn(monkeypatch, tmp_path, rows(losses=(2.3, 19.0)))
  assert 'clipped' not in figure.axes[1].get_ylabel()


def test_breaking_epsilon_has_a_panel_with_the_one_in_use_and_wrong_predictions(
  monkeypatch, tmp_path
):
  found = rows()
  for row, predicted in zip(found, (None, 1, 0), strict=True):
    row |= {'breaking_epsilon_exact': 0.7, 'predicted_selected': predicted}
  figure, _ = drawn(monkeypatch, tmp_path, found, attack_epsilon=0.25)
  assert len(figure.axes) == 6
  panel = next(axes for axes in figure.axes if 'breaks Krum' in axes.get_ylabel())
  assert any(list(line.get_ydata()) == [0.25, 0.25] for line in panel.lines)
  (wrong,) = panel.collections
  assert wrong.get_offsets().tolist() == [[2, 0.7]]


def test_a_history_without_rows_can_be_drawn(monkeypatch, tmp_path):
  _, path = drawn(monkeypatch, tmp_path, [])
  assert path.stat().st_size > 1000
