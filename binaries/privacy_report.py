"""The privacy statement of a run, from its configuration and who took part how often."""

import dataclasses
import math
from collections.abc import Sequence

from tff_robust import config
from tff_robust.privacy import accounting, mechanisms, privacy_statement
from tff_robust.program import cohorts

# Reported in any case, beside the accountant of the run.
_REPORTED = ('pld', 'rdp')
_FAST = 'rdp'


# Of sizes whose Renyi figures are this close to the largest, another accountant may find any the
# worst; so many of them are tried.
_CLOSE = 0.8
_MOST_TRIED = 8


def statement(
  experiment: config.ExperimentConfig,
  sampler: cohorts.CohortSampler,
  client_sizes: Sequence[int],
  num_rounds: int,
) -> privacy_statement.PrivacyStatement:
  """Returns what an honest client's data got, in the worst case over honest clients.

  The client that took part most often is taken to hold, one after the other, as many
  examples as each client: few weaken the amplification by sampling, many mean more steps, and
  the two views of a statement may fare worst at different sizes. Each figure is that of the
  worst size for its view and delta. Where sizes are many, those that may be worst are found by
  the accountant that is fast, and at most eight of them are tried with the others.

  An adversary who is shown honest gradients before their noise (`attack_knowledge=honest_clean`)
  puts them into what it sends, so a run with one has no figure.

  Args:
    experiment: The configuration of the run.
    sampler: Who took part when.
    client_sizes: Examples of each client.
    num_rounds: Rounds that were done.
  """
  participations = sampler.max_honest_participation(num_rounds)
  asked = experiment.privacy.accountant
  accountants = (asked, *[name for name in _REPORTED if name != asked])
  sizes = _worst_sizes(experiment, client_sizes, participations)
  statements = [_statement(experiment, size, participations, accountants) for size in sizes]
  figures = tuple(
    max(of_sizes, key=_severity)
    for of_sizes in zip(*(one.figures for one in statements), strict=True)
  )
  if experiment.attack.knowledge == 'honest_clean':
    figures = tuple(
      dataclasses.replace(figure, epsilon=None, reason=figure.reason or _SHOWN_CLEAN)
      for figure in figures
    )
  main = max(statements, key=lambda one: _severity(one.main))
  # What is said of delta is said of the largest client instead.
  delta = experiment.privacy.delta
  own = [text for size in sizes for text in privacy_statement.delta_sentences(delta, size)]
  general = [text for text in main.assumptions if text not in own]
  return dataclasses.replace(
    main, figures=figures, assumptions=(*general, *_assumptions(experiment, client_sizes))
  )


_SHOWN_CLEAN = (
  "with attack_knowledge='honest_clean' the adversary sees honest gradients before their noise, and"
  ' what it sends, and the model made of that, shows them.'
)


def _assumptions(
  experiment: config.ExperimentConfig, client_sizes: Sequence[int]
) -> tuple[str, ...]:
  """Returns the sentences that follow from how a run is set up."""
  sentences = []
  if experiment.privacy.enabled:
    sentences.append(
      'Features are standardised by the mean and the standard deviation of each channel over all'
      " clients' examples, taken without noise: no figure covers these numbers."
    )
  if experiment.data.root_size is not None:
    sentences.append(
      f"The {experiment.data.root_size} examples of the server's root set are its own, and no"
      ' figure covers them.'
    )
  delta, largest = experiment.privacy.delta, max(client_sizes)
  return (*sentences, *privacy_statement.delta_sentences(delta, largest))


def _worst_sizes(
  experiment: config.ExperimentConfig, client_sizes: Sequence[int], participations: int
) -> list[int]:
  """Returns sizes among which that of every figure is."""
  sizes = _candidates(experiment, client_sizes)
  if len(sizes) == 1:
    return sizes
  found = {size: _statement(experiment, size, participations, (_FAST,)) for size in sizes}
  tried: set[int] = set()
  for position in range(len(found[sizes[0]].figures)):
    severity = {size: _severity(found[size].figures[position]) for size in sizes}
    ordered = sorted(sizes, key=lambda size: -severity[size])
    least = _CLOSE * severity[ordered[0]]
    tried.update([size for size in ordered if severity[size] >= least][:_MOST_TRIED])
  return sorted(tried)


def _candidates(experiment: config.ExperimentConfig, client_sizes: Sequence[int]) -> list[int]:
  """Returns the sizes that may be worst: with as many steps, others lie between two of them."""
  training = experiment.training
  averaging = training.algorithm == 'fed_avg'
  by_steps: dict[int, list[int]] = {}
  for size in sorted({max(1, size) for size in client_sizes}):
    # A batch that is all of the data is no sample, and has a bound of another kind.
    is_sampled = size > training.batch_size
    steps = math.ceil(size / training.batch_size) if averaging else int(is_sampled)
    by_steps.setdefault(steps, []).append(size)
  return sorted({size for group in by_steps.values() for size in (group[0], group[-1])})


def _severity(figure: privacy_statement.PrivacyFigure) -> float:
  """Returns epsilon; no figure is worse than any."""
  return math.inf if figure.epsilon is None else figure.epsilon


def _statement(
  experiment: config.ExperimentConfig,
  examples: int,
  participations: int,
  accountants: Sequence[str],
) -> privacy_statement.PrivacyStatement:
  training, privacy = experiment.training, experiment.privacy
  epochs = training.local_epochs
  averaging = training.algorithm == 'fed_avg'
  return accounting.account(
    mechanism=_mechanism(experiment),
    algorithm=training.algorithm,
    batch_sampling=training.batch_sampling,
    examples_per_client=examples,
    participations=participations,
    steps_per_participation=(
      (epochs or 1) * math.ceil(examples / training.batch_size) if averaging else 1
    ),
    local_epochs=epochs if averaging and training.batch_sampling == 'shuffle' else None,
    delta=privacy.delta,
    accountants=accountants,
    amplification=privacy.amplification,
    noise_source=privacy.noise_source,
  )


def _mechanism(experiment: config.ExperimentConfig) -> mechanisms.Mechanism | None:
  privacy = experiment.privacy
  if privacy.l2_norm_clip is None or privacy.noise_multiplier is None:
    return None
  return mechanisms.Mechanism(
    l2_norm_clip=privacy.l2_norm_clip,
    noise_multiplier=privacy.noise_multiplier,
    expected_batch_size=experiment.training.batch_size,
    clip_unit=privacy.clip_unit,
    noise_scale=privacy.noise_scale,
  )
