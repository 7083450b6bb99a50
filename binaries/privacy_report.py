"""The privacy statement of a run, from its configuration and who took part how often."""

import dataclasses
import math
from collections.abc import Sequence

from tff_robust import config
from tff_robust.privacy import accounting, mechanisms, privacy_statement
from tff_robust.program import cohorts

# Reported in any case, beside the accountant of the run.
_REPORTED = ('pld', 'rdp')


def statement(
  experiment: config.ExperimentConfig,
  sampler: cohorts.CohortSampler,
  client_sizes: Sequence[int],
  num_rounds: int,
) -> privacy_statement.PrivacyStatement:
  """Returns what an honest client's data got, in the worst case over honest clients.

  The client that took part most often is taken to hold, one after the other, the fewest
  and the most examples of any client: few examples weaken the amplification by sampling,
  many mean more steps. The statement with the larger epsilon is returned.

  Args:
    experiment: The configuration of the run.
    sampler: Who took part when.
    client_sizes: Examples of each client.
    num_rounds: Rounds that were done.
  """
  participations = sampler.max_honest_participation(num_rounds)
  statements = [
    _statement(experiment, size, participations)
    for size in dict.fromkeys((max(1, min(client_sizes)), max(client_sizes)))
  ]
  found = max(statements, key=lambda found: found.main.epsilon or 0.0)
  root_size = experiment.data.root_size
  if root_size is None:
    return found
  root = (
    f"The {root_size} examples of the server's root set are its own, and no figure covers them."
  )
  return dataclasses.replace(found, assumptions=(*found.assumptions, root))


def _statement(
  experiment: config.ExperimentConfig, examples: int, participations: int
) -> privacy_statement.PrivacyStatement:
  training, privacy = experiment.training, experiment.privacy
  epochs = training.local_epochs
  averaging = training.algorithm == 'fed_avg'
  others = [name for name in _REPORTED if name != privacy.accountant]
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
    accountants=(privacy.accountant, *others),
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
