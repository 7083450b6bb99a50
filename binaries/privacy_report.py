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
  worst size for its view, which is searched with the accountant that is fast.

  Args:
    experiment: The configuration of the run.
    sampler: Who took part when.
    client_sizes: Examples of each client.
    num_rounds: Rounds that were done.
  """
  participations = sampler.max_honest_participation(num_rounds)
  sizes = sorted({max(1, size) for size in client_sizes})
  if len(sizes) > 1:
    found = {size: _statement(experiment, size, participations, (_FAST,)) for size in sizes}
    views = dict.fromkeys(figure.view for figure in found[sizes[0]].figures)
    worst = {view: max(sizes, key=lambda size: _largest(found[size], view)) for view in views}
    sizes = sorted(set(worst.values()))
  asked = experiment.privacy.accountant
  accountants = (asked, *[name for name in _REPORTED if name != asked])
  statements = [_statement(experiment, size, participations, accountants) for size in sizes]
  worst_figures = tuple(
    max(figures, key=_severity)
    for figures in zip(*(one.figures for one in statements), strict=True)
  )
  main = max(statements, key=lambda one: _severity(one.main))
  assumptions = main.assumptions
  if experiment.data.root_size is not None:
    assumptions += (
      f"The {experiment.data.root_size} examples of the server's root set are its own, and no"
      ' figure covers them.',
    )
  return dataclasses.replace(main, figures=worst_figures, assumptions=assumptions)


def _largest(statement: privacy_statement.PrivacyStatement, view: str) -> float:
  """Returns the largest epsilon of a view."""
  return max(_severity(figure) for figure in statement.figures if figure.view == view)


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
