"""What is promised about the rule of a run, in words, and how often the promise is off.

Free of TensorFlow.
"""

import dataclasses

from tff_robust import config, registry
from tff_robust.attacks import knowledge
from tff_robust.resilience import krum_theorem, robustness


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guarantees:
  """What the rule promises for the cohorts of a run.

  Attributes:
    kappa: A sentence about the published bound on kappa of the rule.
    max_byzantine: Byzantine clients a round that the rule is told, or None if it is told none.
    risk_per_round: With Byzantine clients spread over the population: the probability that a
      cohort, drawn regardless of them, holds more than that. None where it does not apply.
    risk_over_run: The probability that at least one cohort of the run does.
    is_stratified: Whether such cohorts are kept from the run.
    required_signal_to_noise_ratio: For Krum alone: eta^2, above which R of a round must lie for
      Krum's own theorem to say anything about it. None for other rules, and where clients hold
      data of different distributions.
  """

  kappa: str
  max_byzantine: int | None = None
  risk_per_round: float | None = None
  risk_over_run: float | None = None
  is_stratified: bool = False
  required_signal_to_noise_ratio: float | None = None

  def risk(self) -> str | None:
    """Returns the risk of a cohort in words; None where it does not apply."""
    if self.risk_per_round is None or self.risk_over_run is None:
      return None
    if self.is_stratified:
      return (
        f'none: cohorts are stratified by who is Byzantine, which a real server does not know'
        f' (without that: {_percent(self.risk_per_round)} of rounds)'
      )
    return (
      f'{_percent(self.risk_per_round)} of rounds expected; at least one in'
      f' {_percent(self.risk_over_run)} of such runs'
    )


def build_guarantees(experiment: config.ExperimentConfig, *, num_rounds: int) -> Guarantees:
  """Returns what is promised about a run of so many rounds."""
  kappa = _kappa(experiment)
  if 'max_byzantine' not in experiment.aggregation.options:
    return Guarantees(kappa=kappa)
  declared = int(experiment.aggregation.options['max_byzantine'] or 0)
  required = None
  plain = experiment.aggregation.aggregator == 'krum' and not experiment.aggregation.preaggregators
  # The theorem is about honest messages of one distribution.
  if plain and experiment.data.partition == 'iid':
    required = krum_theorem.required_signal_to_noise_ratio(
      num_clients=experiment.training.clients_per_round, max_byzantine=declared
    )
  told = Guarantees(kappa=kappa, max_byzantine=declared, required_signal_to_noise_ratio=required)
  if experiment.attack.placement != 'population' or not experiment.attack.num_byzantine:
    return told
  # Not at the top: SciPy's distributions would delay every --help by a second.
  from tff_robust.resilience import cohort_risk

  sampled = {
    'population': experiment.data.num_clients,
    'num_byzantine': experiment.attack.num_byzantine,
    'clients_per_round': experiment.training.clients_per_round,
    'max_byzantine': declared,
  }
  return dataclasses.replace(
    told,
    risk_per_round=cohort_risk.excess_probability(**sampled),
    risk_over_run=cohort_risk.excess_probability_over_run(**sampled, num_rounds=num_rounds),
    is_stratified=experiment.attack.cohort_risk == 'stratify',
  )


def describe_shortage(experiment: config.ExperimentConfig) -> str | None:
  """Returns how often a cohort holds too few attackers for the attack, or None if never."""
  attack = experiment.attack
  if attack.placement != 'population' or attack.knowledge not in knowledge.OWN:
    return None
  from tff_robust.resilience import cohort_risk

  fewest = registry.ATTACKS[attack.attack].fewest_own(attack.options)
  declared = experiment.aggregation.options.get('max_byzantine')
  share = cohort_risk.shortage_probability(
    population=experiment.data.num_clients,
    num_byzantine=attack.num_byzantine,
    clients_per_round=experiment.training.clients_per_round,
    fewest=fewest,
    most=int(declared) if attack.cohort_risk == 'stratify' and declared is not None else None,
  )
  if not share:
    return None
  return (
    f'Cohorts with fewer than the {fewest} attackers the spread of whose messages {attack.attack}'
    f' needs to be what it is: {_percent(share)} of rounds'
  )


def check_cohort_risk(experiment: config.ExperimentConfig) -> None:
  """Raises ValueError when a cohort may hold too many Byzantine clients and must not."""
  if experiment.attack.cohort_risk != 'fail':
    return
  found = build_guarantees(experiment, num_rounds=1)
  if found.risk_per_round:
    raise ValueError(
      f'cohort_risk=fail: a cohort holds more than max_byzantine={found.max_byzantine} of'
      f' num_byzantine={experiment.attack.num_byzantine} Byzantine clients in'
      f' {_percent(found.risk_per_round)} of rounds; raise max_byzantine or lower'
      ' clients_per_round.'
    )


def _kappa(experiment: config.ExperimentConfig) -> str:
  """Returns what the bound on kappa says about the rule, as it is told or in truth."""
  aggregation = experiment.aggregation
  cohort = experiment.training.clients_per_round
  mixed = tuple(aggregation.preaggregators) == ('nearest_neighbor_mixing',)
  if aggregation.preaggregators and not mixed:
    names = ' then '.join([*aggregation.preaggregators, aggregation.aggregator])
    return f'No bound on kappa is known here for {names}; see measured_kappa of each round.'
  declared = aggregation.options.get('max_byzantine')
  if declared is None:
    # Nobody told the rule how many there are: at least the one that could be there.
    in_cohort = experiment.attack.num_byzantine if experiment.attack.placement == 'cohort' else 1
    declared = max(1, in_cohort)
  words = robustness.describe_bound(
    aggregation.aggregator,
    num_clients=cohort,
    max_byzantine=int(declared),
    mixed=mixed,
    options=aggregation.options,
  )
  actual = experiment.attack.num_byzantine
  if experiment.attack.placement == 'cohort' and actual > int(declared):
    words += f' In truth each cohort holds {actual}, so even that is not promised.'
  return words


def _percent(probability: float) -> str:
  """Returns a probability as a percentage that is never rounded to 0 or to 100."""
  if 0 < probability < 1e-4:
    return f'{100 * probability:.1e} %'
  if 0.9999 < probability < 1:
    return 'more than 99.99 %'
  return f'{100 * probability:.3g} %'
