"""What a run composes when one example, or one client's data set, changes.

Free of TensorFlow.
"""

import math
from typing import NamedTuple

import dp_accounting
from scipy import stats

from tff_robust.privacy import mechanisms

ADD_OR_REMOVE = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
REPLACE = dp_accounting.NeighboringRelation.REPLACE_ONE


class View(NamedTuple):
  """What is composed for one adjacency.

  Attributes:
    event: One of the composed mechanisms.
    compositions: How many are composed.
    neighboring_relation: The adjacency for dp_accounting.
    adjacency: The same in words.
    sampling_model: How batches are assumed to be drawn, in words.
    noise_multiplier: Effective noise multiplier of one composed Gaussian mechanism.
    sampling_probability: Of an example in one of them, or None where sampling is not credited.
    delta_share: The part of delta that is left for the event.
  """

  event: dp_accounting.DpEvent
  compositions: int
  neighboring_relation: dp_accounting.NeighboringRelation
  adjacency: str
  sampling_model: str
  noise_multiplier: float
  sampling_probability: float | None = None
  delta_share: float = 1.0


# Where `noise_scale` adds more, accountants fail on differences between next to nothing.
_MOST_NOISE = 1e6


def _gaussian(noise_multiplier: float) -> dp_accounting.DpEvent:
  """Returns a Gaussian mechanism with this noise; with less, which is a bound, if that is huge."""
  return dp_accounting.GaussianDpEvent(min(noise_multiplier, _MOST_NOISE))


def poisson_gaussian(probability: float, noise_multiplier: float) -> dp_accounting.DpEvent:
  """Returns one step of DP-SGD as an event."""
  return dp_accounting.PoissonSampledDpEvent(probability, _gaussian(noise_multiplier))


def example_view(
  *,
  mechanism: mechanisms.Mechanism | None,
  algorithm: str,
  batch_sampling: str,
  examples_per_client: int,
  epochs: int,
  steps: int,
  amplification: str,
) -> View:
  """Returns what is composed when one example changes."""
  noise = mechanism.effective_noise_multiplier if mechanism else 0.0
  batch_size = mechanism.expected_batch_size if mechanism else 1.0
  if batch_sampling == 'poisson' and amplification != 'none':
    probability = min(1.0, batch_size / examples_per_client)
    return View(
      poisson_gaussian(probability, noise),
      steps,
      ADD_OR_REMOVE,
      'add or remove one example',
      f'Poisson with probability {probability:.4g}',
      noise,
      sampling_probability=probability,
    )
  if (batch_sampling, algorithm) == ('shuffle', 'fed_sgd') and amplification != 'none':
    sample_size = min(math.ceil(batch_size), examples_per_client)
    noise = mechanism.replacement_noise_multiplier if mechanism else 0.0
    return View(
      dp_accounting.SampledWithoutReplacementDpEvent(
        examples_per_client, sample_size, _gaussian(noise)
      ),
      steps,
      REPLACE,
      'replace one example',
      f'{sample_size} of {examples_per_client} without replacement each round',
      noise,
      sampling_probability=sample_size / examples_per_client,
    )
  if batch_sampling == 'poisson':
    count, adjacency, model = steps, 'add or remove one example', 'every step, no amplification'
  elif algorithm == 'fed_avg':
    count, adjacency = epochs, 'zero out one example'
    model = 'shuffled disjoint batches, once an epoch, no amplification'
  else:
    count, adjacency, model = steps, 'zero out one example', 'every round, no amplification'
  event = _gaussian(noise)
  return View(event, count, ADD_OR_REMOVE, adjacency, model, noise)


def client_view(
  *,
  mechanism: mechanisms.Mechanism | None,
  batch_sampling: str,
  examples_per_client: int,
  steps: int,
  delta: float,
) -> View:
  """Returns what is composed when the whole data set of a client changes."""
  noise, delta_share, model = 0.0, 1.0, 'every step, no amplification'
  if mechanism is not None:
    largest = min(math.ceil(mechanism.expected_batch_size), examples_per_client)
    if mechanism.clip_unit == 'example' and batch_sampling == 'poisson' and steps:
      probability = min(1.0, mechanism.expected_batch_size / examples_per_client)
      largest = int(stats.binom.isf(0.5 * delta / steps, examples_per_client, probability))
      delta_share = 0.5
      model += f', batches of at most {largest}'
    noise = mechanism.client_noise_multiplier(max_batch_size=largest)
  return View(
    _gaussian(noise),
    steps,
    REPLACE,
    "replace a client's data set",
    model,
    noise,
    delta_share=delta_share,
  )
