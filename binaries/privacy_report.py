"""The privacy statement of a run, from its configuration and who took part how often."""

import dataclasses
import functools
import math
from collections.abc import Sequence

from tff_robust import config
from tff_robust.privacy import accounting, mechanisms, privacy_statement
from tff_robust.program import cohorts

# Reported in any case, beside the accountant of the run.
_REPORTED = ('pld', 'rdp')
# Takes a second where the others take milliseconds; _BOUND is a bound for it.
_SLOW, _BOUND = 'pld', 'rdp'


def statement(
  experiment: config.ExperimentConfig,
  sampler: cohorts.CohortSampler,
  client_sizes: Sequence[int],
  num_rounds: int,
  *,
  num_repeated_rounds: int = 0,
) -> privacy_statement.PrivacyStatement:
  """Returns what an honest client's data got, in the worst case over honest clients.

  The client that took part most often is taken to hold, one after the other, as many
  examples as each client: few weaken the amplification by sampling, many mean more steps, and
  the two views of a statement may fare worst at different sizes. Each figure is that of the
  worst size for its view, delta and accountant. Privacy loss distributions, which take long, are
  made for sizes in the order of their Renyi bounds, until the next bound is no larger than what
  was found: so no size that is left out is worse.

  An adversary who is shown honest gradients before their noise (`attack_knowledge=honest_clean`)
  puts them into what it sends, so a run with one has no figure.

  Args:
    experiment: The configuration of the run.
    sampler: Who took part when.
    client_sizes: Examples of each client.
    num_rounds: Rounds that were done.
    num_repeated_rounds: Rounds among them that may have been done twice. With noise from the seed
      they say the same again; other noise is a second message, from every client if need be.
  """
  participations = sampler.max_honest_participation(num_rounds)
  if experiment.privacy.noise_source == 'entropy':
    participations += num_repeated_rounds
  asked = experiment.privacy.accountant
  accountants = (asked, *[name for name in _REPORTED if name != asked])
  figures = _worst_figures(experiment, client_sizes, participations, accountants)
  if experiment.attack.knowledge == 'honest_clean':
    figures = tuple(
      dataclasses.replace(figure, epsilon=None, reason=figure.reason or _SHOWN_CLEAN)
      for figure in figures
    )
  # What is said of delta is said of the largest client.
  largest = _statement(experiment, max(1, *client_sizes), participations, (_BOUND,))
  return dataclasses.replace(
    largest,
    figures=figures,
    assumptions=(*largest.assumptions, *_assumptions(experiment)),
  )


_SHOWN_CLEAN = (
  "with attack_knowledge='honest_clean' the adversary sees honest gradients before their noise, and"
  ' what it sends, and the model made of that, shows them.'
)


def _assumptions(experiment: config.ExperimentConfig) -> tuple[str, ...]:
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
  return tuple(sentences)


def _worst_figures(
  experiment: config.ExperimentConfig,
  client_sizes: Sequence[int],
  participations: int,
  accountants: Sequence[str],
) -> tuple[privacy_statement.PrivacyFigure, ...]:
  """Returns each figure at the size of a client at which it is largest."""
  sizes = _candidates(experiment, client_sizes)
  fast = [name for name in accountants if name != _SLOW]

  @functools.cache
  def figures(size: int, slowly: bool) -> tuple[privacy_statement.PrivacyFigure, ...]:
    asked = accountants if slowly else fast
    return _statement(experiment, size, participations, asked).figures

  def found(size: int, key: tuple[str, float], accountant: str) -> privacy_statement.PrivacyFigure:
    (one,) = [
      figure
      for figure in figures(size, slowly=accountant == _SLOW)
      if (figure.view, figure.delta) == key and figure.accountant == accountant
    ]
    return one

  def worst(key: tuple[str, float], accountant: str) -> privacy_statement.PrivacyFigure:
    if accountant != _SLOW:
      return max((found(size, key, accountant) for size in sizes), key=_severity)
    bounds = {size: _severity(found(size, key, _BOUND)) for size in sizes}
    first, *others = sorted(sizes, key=lambda size: -bounds[size])
    tried = [found(first, key, accountant)]
    for size in others:
      if bounds[size] <= max(map(_severity, tried)):
        break
      inputs = found(size, key, _BOUND)
      if not any(_is_at_least_as_bad(figure, inputs) for figure in tried):
        tried.append(found(size, key, accountant))
    return max(tried, key=_severity)

  keys = dict.fromkeys((figure.view, figure.delta) for figure in figures(sizes[0], slowly=False))
  return tuple(worst(key, accountant) for key in keys for accountant in accountants)


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


def _is_at_least_as_bad(
  figure: privacy_statement.PrivacyFigure, other: privacy_statement.PrivacyFigure
) -> bool:
  """Tells whether a figure composes no fewer, no more noised mechanisms, no less often sampled."""
  return (
    figure.compositions >= other.compositions
    and figure.noise_multiplier <= other.noise_multiplier
    and (figure.sampling_probability or 1.0) >= (other.sampling_probability or 1.0)
    and figure.adjacency == other.adjacency
  )


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
