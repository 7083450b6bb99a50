"""What a run came to: a short table for people, `summary.json` for programs."""

import dataclasses
import json
import math
import os
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from tff_robust.privacy import privacy_statement
from tff_robust.program import certificates, history, schedule
from tff_robust.program import guarantees as guarantees_lib

FILE_NAME = 'summary.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
  """The figures of a run.

  Attributes:
    status: 'completed', 'diverged' or 'interrupted'.
    rounds: Rounds that were done.
    num_rounds: Rounds that were planned.
    attack_start_round: The first attacked round, or None.
    accuracy_before_attack: Test accuracy of the model that entered the first attacked
      round; None without an attack or when it had not begun.
    attack_stop_round: The first round after the attack, or None for an attack without an end.
    accuracy_after_attack: Test accuracy of the model that entered that round; None likewise.
    final_accuracy: Test accuracy of the last model that was evaluated.
    attack_success_rate: Share of test images of other classes that the last model evaluated
      takes for the target of a backdoor, once they bear its trigger; None without a backdoor.
    best_accuracy: The best test accuracy of the run, a look at the test set that no
      deployment has.
    attacked_rounds: Rounds in which the attack was active.
    attacked_rounds_with_byzantine_selected: Those of them in which the rule selected a
      Byzantine client; None for rules that select nobody.
    certified_rounds: Attacked rounds for which the exact certificate of Krum said whether it
      selects an attacker, and Krum selected somebody; None without a certificate.
    certified_agreements: Those of them in which it was so.
    median_breaking_epsilon: Median over attacked rounds of the epsilon below which Krum
      selects the attackers; None without a certificate.
    guarantees: What the rule promised.
    krum_theorem_rounds: Rounds with at most as many attackers as Krum was told whose measured R,
      the signal-to-noise ratio of the honest messages, was above what its own theorem requires;
      None for other rules.
    largest_signal_to_noise_ratio: The largest R of a round; None where none was measured.
    excess_rounds: Rounds whose cohort held more Byzantine clients than the rule was told; None
      for rules that are told none.
    filtered_messages: Messages that a filter before the rule rejected; None without one.
    rejected_rounds: Rounds that the rule left without an answer.
    privacy: The privacy statement for the rounds that were done.
    folder: The folder of the run.
  """

  status: str
  rounds: int
  num_rounds: int
  attack_start_round: int | None
  accuracy_before_attack: float | None
  attack_stop_round: int | None
  accuracy_after_attack: float | None
  final_accuracy: float | None
  attack_success_rate: float | None
  best_accuracy: float | None
  attacked_rounds: int
  attacked_rounds_with_byzantine_selected: int | None
  certified_rounds: int | None
  certified_agreements: int | None
  median_breaking_epsilon: float | None
  guarantees: guarantees_lib.Guarantees
  krum_theorem_rounds: int | None
  largest_signal_to_noise_ratio: float | None
  excess_rounds: int | None
  filtered_messages: int | None
  rejected_rounds: int
  privacy: privacy_statement.PrivacyStatement
  folder: str

  @property
  def selected_share(self) -> float | None:
    """Share of attacked rounds in which a Byzantine client was selected."""
    if self.attacked_rounds_with_byzantine_selected is None or not self.attacked_rounds:
      return None
    return self.attacked_rounds_with_byzantine_selected / self.attacked_rounds

  def to_json(self) -> dict[str, Any]:
    """Returns the summary as nested plain values."""
    return {
      **dataclasses.asdict(self),
      'median_breaking_epsilon': _in_json(self.median_breaking_epsilon),
      'largest_signal_to_noise_ratio': _in_json(self.largest_signal_to_noise_ratio),
      'attacked_rounds_share_with_byzantine_selected': self.selected_share,
      'privacy': self.privacy.to_json(),
    }

  def _krum_theorem(self) -> str:
    """Returns in how many rounds the theorem says anything, and why."""
    required = self.guarantees.required_signal_to_noise_ratio or 0.0
    words = (
      f'speaks of {self.krum_theorem_rounds} of {self.rounds} rounds: it needs a signal-to-noise'
      f' ratio above {required:.4g}'
    )
    largest = self.largest_signal_to_noise_ratio
    return words if largest is None else f'{words}, and the largest was {largest:.3g}'

  def table(self) -> str:
    """Returns the summary as a few lines of text."""
    rows = [('Status', f'{self.status} after {self.rounds} of {self.num_rounds} rounds')]
    if self.attack_start_round is not None:
      rows.append(
        (
          f'Test accuracy before the attack (round {self.attack_start_round})',
          _number(self.accuracy_before_attack),
        )
      )
    if self.attack_stop_round is not None:
      rows.append(
        (
          f'Test accuracy after the attack (round {self.attack_stop_round})',
          _number(self.accuracy_after_attack),
        )
      )
    # An interrupted run ends between two evaluations.
    when = ', last measured' if self.status == 'interrupted' else ' at the end'
    rows.append((f'Test accuracy{when}', _number(self.final_accuracy)))
    if self.attack_success_rate is not None:
      rows.append((f'Attack success rate{when}', _number(self.attack_success_rate)))
    if self.selected_share is not None:
      rows.append(
        (
          'Attacked rounds with a Byzantine client selected',
          f'{self.attacked_rounds_with_byzantine_selected} of {self.attacked_rounds}'
          f' ({self.selected_share:.0%})',
        )
      )
    if self.certified_rounds:
      rows.append(
        (
          'Certificate: predicted = actual',
          f'in {self.certified_agreements} of {self.certified_rounds} attacked rounds',
        )
      )
    if self.median_breaking_epsilon is not None:
      rows.append(
        ('Median attack factor below which Krum falls', f'{self.median_breaking_epsilon:.3g}')
      )
    rows.append(('Guarantee', self.guarantees.kappa))
    if self.krum_theorem_rounds is not None:
      rows.append(("Krum's own theorem", self._krum_theorem()))
    risk = self.guarantees.risk()
    if risk is not None:
      told = self.guarantees.max_byzantine
      rows.append((f'Cohorts with more than {told} Byzantine clients', risk))
      rows.append(('  seen in this run', f'{self.excess_rounds} of {self.rounds} rounds'))
    if self.filtered_messages is not None:
      rows.append(('Messages that the filter rejected', str(self.filtered_messages)))
    if self.rejected_rounds:
      rows.append(('Rounds that the rule rejected', str(self.rejected_rounds)))
    rows.append(('Privacy of an honest client', _privacy(self.privacy)))
    rows.append(('Folder', self.folder))
    width = max(len(name) for name, _ in rows)
    lines = [f'{name.ljust(width)}  {value}' for name, value in rows]
    if any(figure.epsilon is not None for figure in self.privacy.figures):
      lines += ['', self.privacy.table()]
    return '\n'.join(lines)


def _in_json(value: float | None) -> float | str | None:
  """Returns a figure as JSON has it, which has no word for infinity."""
  return 'infinite' if value == math.inf else value


def _number(value: float | None) -> str:
  return 'not reached' if value is None else f'{value:.3f}'


def _privacy(statement: privacy_statement.PrivacyStatement) -> str:
  figure = statement.main
  if figure.epsilon is None:
    return f'none: {figure.reason}'
  epsilon = privacy_statement.rounded_up(figure.epsilon, digits=3)
  return (
    f'epsilon = {epsilon} at delta = {figure.delta:g} ({figure.accountant};'
    f' {figure.adjacency}; {figure.sampling_model})'
  )


def _floats(rows: Sequence[history.Row], name: str) -> list[float]:
  return [float(cell) for row in rows if (cell := row[name]) is not None]


def _accuracy_entering(rows: Sequence[history.Row], round_number: int | None) -> float | None:
  """Returns the test accuracy of the model that entered a round, None if there is none."""
  found = _floats([row for row in rows if row[history.ROUND] == round_number], 'test_accuracy')
  return found[0] if found else None


def _agreements(attacked: Sequence[history.Row]) -> list[bool]:
  """Returns for each round with a prediction and a selection whether they agree."""
  pairs = [(row[certificates.PREDICTED], row['selected_byzantine_share']) for row in attacked]
  return [
    bool(predicted) == (float(share) > 0)
    for predicted, share in pairs
    if predicted is not None and share is not None
  ]


def summarize(
  rows: Sequence[history.Row],
  *,
  status: str,
  rounds: int,
  plan: schedule.Schedule,
  guarantees: guarantees_lib.Guarantees,
  privacy: privacy_statement.PrivacyStatement,
  folder: str | os.PathLike[str],
) -> Summary:
  """Returns the summary of a run from its history.

  Args:
    rows: The history, as `history.read` gives it.
    status: How the run ended.
    rounds: Rounds that were done.
    plan: Lengths of the run in rounds.
    guarantees: What the rule promised.
    privacy: The statement for the rounds that were done.
    folder: The folder of the run.
  """
  start, stop = plan.attack_start_round, plan.attack_stop_round
  accuracies = _floats(rows, 'test_accuracy')
  successes = _floats(rows, 'attack_success_rate')
  attacked = [row for row in rows if row['attack_active']]
  shares = _floats(attacked, 'selected_byzantine_share')
  selects = bool(_floats(rows, 'selected_byzantine_share'))
  breaking = _floats(attacked, certificates.EXACT)
  agreements = _agreements(attacked)
  counts, told = _floats(rows, 'num_byzantine'), guarantees.max_byzantine
  filtered = _floats(rows, 'num_filtered')
  ratios = [ratio for ratio in _floats(rows, 'signal_to_noise_ratio') if not math.isnan(ratio)]
  required = guarantees.required_signal_to_noise_ratio
  return Summary(
    status=status,
    rounds=rounds,
    num_rounds=plan.num_rounds,
    attack_start_round=start,
    accuracy_before_attack=_accuracy_entering(rows, start),
    attack_stop_round=stop,
    accuracy_after_attack=_accuracy_entering(rows, stop),
    final_accuracy=accuracies[-1] if accuracies else None,
    attack_success_rate=successes[-1] if successes else None,
    best_accuracy=max(accuracies, default=None),
    attacked_rounds=len(attacked),
    attacked_rounds_with_byzantine_selected=sum(s > 0 for s in shares) if selects else None,
    certified_rounds=len(agreements) if breaking else None,
    certified_agreements=sum(agreements) if breaking else None,
    median_breaking_epsilon=statistics.median(breaking) if breaking else None,
    guarantees=guarantees,
    krum_theorem_rounds=None if required is None else _theorem_rounds(rows, required, told),
    largest_signal_to_noise_ratio=max(ratios, default=None),
    excess_rounds=None if told is None else sum(count > told for count in counts),
    filtered_messages=int(sum(filtered)) if filtered else None,
    rejected_rounds=sum(bool(row['round_rejected']) for row in rows),
    privacy=privacy,
    folder=str(folder),
  )


def _theorem_rounds(rows: Sequence[history.Row], required: float, max_byzantine: int | None) -> int:
  """Returns the rounds with enough signal, and with no more Byzantine clients than declared."""
  spoken_of = 0
  for row in rows:
    ratio, count = row['signal_to_noise_ratio'], row['num_byzantine']
    if ratio is not None and count is not None and max_byzantine is not None:
      spoken_of += float(ratio) > required and float(count) <= max_byzantine
  return spoken_of


def write(summary: Summary) -> None:
  """Writes `summary.json` into the folder of the run, in one atomic step."""
  path = pathlib.Path(summary.folder, FILE_NAME)
  partial = path.with_name(f'{FILE_NAME}.partial')
  partial.write_text(json.dumps(summary.to_json(), indent=2) + '\n', encoding='utf-8')
  os.replace(partial, path)
