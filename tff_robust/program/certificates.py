"""When Krum selects the attackers, told from the messages of a round: exactly, and in theory.

The exact certificate takes the inner products of the messages, which the observer measures:
nothing here has as many numbers as the model. It is a simulator's view, and no privacy
statement covers it.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from tff_robust import config
from tff_robust.resilience import krum_breaking_point, krum_closed_forms

EXACT = 'breaking_epsilon_exact'
ISOTROPIC = 'breaking_epsilon_isotropic'
PREDICTED = 'predicted_selected'
COLUMNS = (EXACT, ISOTROPIC, PREDICTED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KrumCertificate:
  """Whether inner product manipulation captures Krum, round by round.

  Attributes:
    epsilon: The step that the attackers use.
    max_byzantine: f, as Krum is told.
    knowledge: What the attackers see.
    has_closed_form: Whether the isotropic closed form applies: not to an adversary that sees
      messages before the noise that everybody else sees them with.
  """

  epsilon: float
  max_byzantine: int
  knowledge: str
  has_closed_form: bool = True

  def cells(
    self, gram: Any, is_byzantine: Any, *, signal_to_noise_ratio: float, attack_active: bool
  ) -> dict[str, float]:
    """Returns what the certificate says about a round.

    For an adversary that sees the honest messages, the breaking point is known in every round
    with a Byzantine client. For another, it follows from what the attackers send, so it is
    known in attacked rounds only.

    Args:
      gram: float64 [n, n], the inner products of the messages, NaN where one is not finite.
      is_byzantine: bool [n].
      signal_to_noise_ratio: R of the round.
      attack_active: Whether the attackers attack in this round.

    Returns:
      Those of `COLUMNS` that apply: the epsilon below which Krum selects an attacker, the
      same by the isotropic closed form, and 1 or 0 for whether Krum selects an attacker with
      the epsilon in use, left out where scores are equal and the order of clients decides. Empty
      when Krum has no answer or there is nobody to attack.
    """
    attacks = np.asarray(is_byzantine, bool)
    counts = {'num_byzantine': int(attacks.sum()), 'max_byzantine': self.max_byzantine}
    num_nonfinite = int((~np.isfinite(np.diagonal(gram))).sum())
    if not 0 < counts['num_byzantine'] < len(attacks) or num_nonfinite > self.max_byzantine:
      return {}
    cells = {}
    # Where all honest messages are equal, R is infinite, and the closed form has nothing to say.
    if self.has_closed_form and math.isfinite(signal_to_noise_ratio):
      cells[ISOTROPIC] = krum_closed_forms.knowledge_breaking_epsilon(
        self.knowledge,
        num_clients=len(attacks),
        # An estimate of a number that is never negative, but without bias.
        signal=max(signal_to_noise_ratio, 0.0),
        sampling_noise=1.0,
        dp_noise=0.0,
        **counts,
      )
    if self.knowledge == 'honest_messages':
      honest = np.asarray(gram)[np.ix_(~attacks, ~attacks)]
      ray = krum_breaking_point.ipm_ray_from_gram(honest)
    elif attack_active and self.epsilon > 0:
      ray = krum_breaking_point.ipm_ray_from_answer(gram, attacks, epsilon=self.epsilon)
    else:
      return cells
    intervals = krum_breaking_point.ipm_intervals_from_ray(ray, **counts)
    cells[EXACT] = krum_breaking_point.breaking_epsilon(intervals)
    is_tie = krum_breaking_point.selection_margin(ray, 1.0 + self.epsilon, **counts) == 0
    if attack_active and not is_tie:
      cells[PREDICTED] = int(any(_holds(interval, self.epsilon) for interval in intervals))
    return cells


def _holds(interval: krum_breaking_point.Interval, epsilon: float) -> bool:
  """Tells whether an open interval of epsilon >= 0 holds a value, 0 where it begins there."""
  return interval.lower < epsilon < interval.upper or interval.lower == epsilon == 0


def build_certificate(experiment: config.ExperimentConfig) -> KrumCertificate | None:
  """Returns the certificate that applies to a run, or None where none does."""
  if not experiment.has_krum_certificate:
    return None
  knowledge = str(experiment.attack.knowledge)
  return KrumCertificate(
    epsilon=float(experiment.attack.options['attack_epsilon'] or 0),
    max_byzantine=int(experiment.aggregation.options['max_byzantine'] or 0),
    knowledge=knowledge,
    has_closed_form=not (knowledge.endswith('_clean') and experiment.privacy.noise_multiplier),
  )
