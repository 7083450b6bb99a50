"""What a run may say about privacy: figures, each with the conditions it rests on.

Free of TensorFlow. `tff_robust.privacy.accounting` makes the statements.
"""

import dataclasses
import decimal
from typing import Any

# What happens to an example, by adjacency in words.
_CHANGES = {
  'add or remove one example': 'removed: its gradient then counts as zero',
  'zero out one example': 'zeroed out: its gradient then counts as zero',
  'replace one example': 'replaced by another',
}


def rounded_up(value: float, *, digits: int) -> str:
  """Returns a privacy figure as text that is never below it.

  Args:
    value: At least 0.
    digits: Significant digits; a value that needs no more of them stays as it is.
  """
  context = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING)
  return f'{float(context.create_decimal_from_float(value)):.{digits}g}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivacyFigure:
  """One epsilon, or the reason why there is none.

  Attributes:
    view: 'example' (one example of one client changes) or 'client' (all of them do).
    epsilon: Composed over the whole run, or None.
    reason: Why `epsilon` is None; None when there is a figure.
    delta: The delta of the (epsilon, delta) guarantee.
    accountant: A name in `accounting.ACCOUNTANTS`.
    adjacency: Which data sets count as neighbours.
    sampling_model: How batches are assumed to be drawn.
    sampling_probability: Of an example in one composed mechanism; None where sampling is not
      credited.
    noise_multiplier: Effective noise multiplier of one composed Gaussian mechanism.
    compositions: How many of them are composed.
    participation_count: Rounds in which the client takes part.
    steps: Noised gradients that the client computes in the run.
  """

  view: str
  epsilon: float | None
  reason: str | None
  delta: float
  accountant: str
  adjacency: str
  sampling_model: str
  sampling_probability: float | None
  noise_multiplier: float
  compositions: int
  participation_count: int
  steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivacyStatement:
  """The privacy of one run towards whoever receives the clients' messages.

  Attributes:
    mechanism: The gradient mechanism in words and numbers.
    figures: Example view before client view; within a view the delta and the accountants
      in the order in which they were asked for.
    assumptions: Sentences that must hold for the figures to hold.
  """

  mechanism: str
  figures: tuple[PrivacyFigure, ...]
  assumptions: tuple[str, ...]

  @property
  def main(self) -> PrivacyFigure:
    """The figure to quote, with its adjacency, sampling model and accountant.

    The first figure, or where its accountant has none, the first that another accountant
    has for the same view and delta.
    """
    first = self.figures[0]
    same = [
      figure
      for figure in self.figures
      if (figure.view, figure.delta) == (first.view, first.delta) and figure.epsilon is not None
    ]
    return same[0] if same else first

  def to_json(self) -> dict[str, Any]:
    """Returns the statement as nested plain values."""
    return dataclasses.asdict(self)

  def table(self) -> str:
    """Returns the statement as text: the mechanism, one line a figure, the assumptions."""
    header = ('view', 'epsilon', 'delta', 'accountant', 'composed', 'adjacency; sampling')
    rows = [header] + [
      (
        figure.view,
        'none' if figure.epsilon is None else rounded_up(figure.epsilon, digits=4),
        f'{figure.delta:g}',
        figure.accountant,
        f'{figure.compositions} x z={figure.noise_multiplier:.4g}',
        f'{figure.adjacency}; {figure.sampling_model}',
      )
      for figure in self.figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [f'Mechanism: {self.mechanism}.']
    lines += [
      '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
      for row in rows
    ]
    reasons = dict.fromkeys(figure.reason for figure in self.figures if figure.reason)
    lines += [f'No figure: {reason}' for reason in reasons]
    lines += ['Assumes:'] + [f'- {assumption}' for assumption in self.assumptions]
    return '\n'.join(lines)


def assumptions(
  *,
  participations: int,
  examples_per_client: int,
  delta: float,
  adjacency: str,
  amplified_by: str | None,
  noise_source: str,
) -> tuple[str, ...]:
  """Returns the sentences on which the figures of a run rest.

  Args:
    participations: Rounds in which the client takes part, those done twice counted twice.
    examples_per_client: Size of its data set.
    delta: The delta of the statement.
    adjacency: That of the example view, in words.
    amplified_by: Sampling that the example view is credited with, 'poisson' or 'shuffle'
      (fixed-size samples), or None.
    noise_source: 'seeded' or 'entropy'.
  """
  sentences = [
    f'The client takes part in at most {participations} rounds, and everyone may see in which.',
    'Only noised messages leave the client: losses, norms and scores computed from un-noised'
    ' gradients are for simulation and are not covered.',
    'The number of examples of a client, the batch size and the number of steps are public, and'
    f' stay as they are while an example is {_CHANGES[adjacency]}.',
    'Choosing hyper-parameters on the same data is not covered.',
    'No gradient of an example is NaN or infinite: one that is makes the whole message NaN, which'
    ' tells of it.',
    'The client clips and noises its own gradients; clients that do not follow the protocol'
    " get no guarantee and weaken nobody else's.",
    'Noise is float32, and its tails end at 5.7 standard deviations; attacks on its'
    ' representation are not covered.',
  ]
  if amplified_by == 'poisson':
    sentences.append(
      'Each example is drawn independently at every step, which examples are drawn stays'
      ' secret, and sums are divided by the expected batch size.'
    )
  elif amplified_by == 'shuffle':
    sentences.append(
      'Each round draws a fresh uniform sample of fixed size, independent of other rounds, and'
      ' which examples are drawn stays secret.'
    )
  if noise_source == 'seeded':
    sentences.append(
      'Noise and batches come from the seed of the run: nothing here holds towards anyone who'
      ' knows that seed, or who sees two runs with it, whose noise is the same.'
    )
  else:
    sentences.append(
      "Noise comes from TensorFlow's generator of the process, which the operating system seeds"
      ' and which is no cryptographic one. Rounds that a resumed run may have done before count'
      ' twice; no runtime repeated a call, as it does when it loses a worker.'
    )
    if amplified_by is not None:
      sentences.append(
        'Batches come from the seed of the run: the credit for sampling holds towards nobody who'
        ' knows that seed.'
      )
  return (*sentences, *delta_sentences(delta, examples_per_client))


def delta_sentences(delta: float, examples_per_client: int) -> tuple[str, ...]:
  """Returns the sentence about a delta that is too large for a client, if it is."""
  if delta * examples_per_client < 1:
    return ()
  return (
    f'delta={delta:g} is not below 1/{examples_per_client}: a mechanism that publishes one random'
    ' example would satisfy it.',
  )
