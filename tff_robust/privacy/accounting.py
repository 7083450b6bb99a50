"""The privacy that a run obtains, with the conditions it rests on. Free of TensorFlow."""

from collections.abc import Sequence

import dp_accounting

from tff_robust import checks
from tff_robust.privacy import adjacency, composition, mechanisms, privacy_statement

ACCOUNTANTS = composition.ACCOUNTANTS
BATCH_SAMPLINGS = ('shuffle', 'poisson')
ALGORITHMS = ('fed_sgd', 'fed_avg')
AMPLIFICATIONS = ('as_sampled', 'poisson', 'none')
NOISE_SOURCES = ('seeded', 'entropy')
# Every statement reports this delta beside the one asked for.
SMALL_DELTA = 1e-6

_LEAST_NOISE, _MOST_NOISE = 1e-3, 1e5


def dp_sgd_epsilon(
  *,
  sampling_probability: float,
  noise_multiplier: float,
  num_steps: int,
  delta: float,
  accountant: str = 'pld',
) -> float:
  """Returns epsilon of the Poisson-subsampled Gaussian mechanism, composed.

  Adjacency: one example added or removed. Every step draws each example independently
  with `sampling_probability`, keeps the batch secret and divides by the *expected* batch
  size. Shuffled batches do not have this guarantee (Chua et al., "How Private are DP-SGD
  Implementations?", ICML 2024, https://arxiv.org/abs/2403.17673): see `account`.

  Args:
    sampling_probability: Above 0, at most 1.
    noise_multiplier: Standard deviation of the noise over the sensitivity of the sum: the
      `effective_noise_multiplier` of a mechanism. 0 gives infinity.
    num_steps: Noised gradients in the run, at least 0.
    delta: Strictly between 0 and 1.
    accountant: One of `ACCOUNTANTS`, described in `tff_robust.privacy.composition`.

  Raises:
    ValueError: On a value outside of what is said above.
  """
  checks.positive('sampling_probability', sampling_probability)
  checks.at_most('sampling_probability', sampling_probability, 1, 'a probability')
  checks.nonnegative('noise_multiplier', noise_multiplier)
  checks.at_least('num_steps', num_steps, 0)
  checks.in_open_unit_interval('delta', delta)
  checks.known_name('accountant', accountant, ACCOUNTANTS)
  return composition.composed_epsilon(
    adjacency.poisson_gaussian(sampling_probability, noise_multiplier),
    count=num_steps,
    delta=delta,
    accountant=accountant,
    neighboring_relation=adjacency.ADD_OR_REMOVE,
  )


def dp_sgd_noise_multiplier(
  *,
  target_epsilon: float,
  sampling_probability: float,
  num_steps: int,
  delta: float,
  accountant: str = 'pld',
) -> float:
  """Returns the least noise multiplier with which `dp_sgd_epsilon` meets a target.

  The result is never too small, and too large by at most 0.02 % (or, where next to no
  noise is needed, 0.002).

  Args:
    target_epsilon: Above 0.
    sampling_probability: As in `dp_sgd_epsilon`.
    num_steps: As in `dp_sgd_epsilon`, at least 1.
    delta: As in `dp_sgd_epsilon`.
    accountant: As in `dp_sgd_epsilon`.

  Raises:
    ValueError: On a bad value, or if no noise multiplier up to 100,000 meets the target:
      Renyi accountants certify nothing below a small epsilon that depends on delta.
  """
  checks.positive('target_epsilon', target_epsilon)
  checks.at_least('num_steps', num_steps, 1)

  def exceeds_target(noise_multiplier: float) -> bool:
    epsilon = dp_sgd_epsilon(
      sampling_probability=sampling_probability,
      noise_multiplier=noise_multiplier,
      num_steps=num_steps,
      delta=delta,
      accountant=accountant,
    )
    return epsilon > target_epsilon

  lower, upper = 0.5, 1.0
  while exceeds_target(upper):
    lower, upper = upper, 2.0 * upper
    if upper > _MOST_NOISE:
      raise ValueError(
        f'target_epsilon={target_epsilon} cannot be certified by accountant {accountant!r} at'
        f' delta={delta}; raise target_epsilon or delta.'
      )
  while not exceeds_target(lower):
    lower, upper = 0.5 * lower, lower
    if lower < _LEAST_NOISE:
      return upper
  interval = composition.discretisation(target_epsilon)
  return float(
    dp_accounting.calibrate_dp_mechanism(
      lambda: composition.fresh_accountant(accountant, adjacency.ADD_OR_REMOVE, interval),
      lambda noise_multiplier: dp_accounting.SelfComposedDpEvent(
        adjacency.poisson_gaussian(sampling_probability, noise_multiplier), num_steps
      ),
      target_epsilon,
      delta,
      dp_accounting.ExplicitBracketInterval(lower, upper),
      tol=1e-4 * lower,
    )
  )


def account(
  *,
  mechanism: mechanisms.Mechanism | None,
  algorithm: str,
  batch_sampling: str,
  examples_per_client: int,
  participations: int,
  steps_per_participation: int = 1,
  local_epochs: int | None = None,
  delta: float = 1e-5,
  accountants: Sequence[str] = ('pld', 'rdp'),
  amplification: str = 'as_sampled',
  noise_source: str = 'seeded',
) -> privacy_statement.PrivacyStatement:
  """Returns the privacy of one honest client's data towards who receives its messages.

  Every message is noised by its client, so the guarantee is local: what the server or
  Byzantine clients do with it is post-processing. All local steps are composed, also where
  only their sum is sent. The server sees who takes part, so drawing a cohort from the
  population amplifies nothing.

  Example view, by how batches are drawn:
    'poisson': the Poisson-subsampled Gaussian with probability expected batch size /
      `examples_per_client` (at most 1), one a step; one example added or removed. With
      `amplification='none'`, plain Gaussians.
    'shuffle', 'fed_avg': an epoch is cut into disjoint batches, so an example is in at most
      one of them: one plain Gaussian an epoch; one example zeroed out. Shuffling is not
      credited with amplification (Chua et al., ICML 2024, https://arxiv.org/abs/2403.17673).
    'shuffle', 'fed_sgd': each round takes a fixed-size sample without replacement; one
      example replaced by another. Renyi accountants only (Wang, Balle, Kasiviswanathan,
      AISTATS 2019, Theorem 27, https://arxiv.org/abs/1808.00087). With
      `amplification='none'`, one plain Gaussian a round; one example zeroed out.

  Client view: a client's whole data set is replaced by another of the same size. One plain
  Gaussian a step with `Mechanism.client_noise_multiplier`: batches do not amplify. For
  Poisson batches of clipped examples, half of delta pays for batches above a size that
  they exceed with that probability.

  Args:
    mechanism: The gradient mechanism, or None when gradients are not clipped.
    algorithm: 'fed_sgd' (one step a round) or 'fed_avg' (local steps).
    batch_sampling: How batches really are drawn: 'poisson' or 'shuffle'.
    examples_per_client: Size of the client's data set; the smallest client has the weakest
      amplification.
    participations: Rounds in which the client takes part: the maximum over honest clients.
    steps_per_participation: Noised gradients of the client in one such round.
    local_epochs: Passes over the data in one such round; for shuffled 'fed_avg' only.
    delta: Strictly between 0 and 1. `SMALL_DELTA` is reported beside it.
    accountants: Some of `ACCOUNTANTS`, the main one first.
    amplification: 'as_sampled', 'poisson' (insist on it) or 'none'.
    noise_source: 'seeded' from the run's seed, or 'entropy'.

  Raises:
    ValueError: On a bad value; if Poisson amplification is claimed for shuffled batches.
  """
  _check_run(algorithm, batch_sampling, amplification, steps_per_participation, local_epochs)
  checks.known_name('noise_source', noise_source, NOISE_SOURCES)
  checks.at_least('number of accountants', len(accountants), 1)
  for accountant in accountants:
    checks.known_name('accountant', accountant, ACCOUNTANTS)
  checks.at_least('examples_per_client', examples_per_client, 1)
  checks.at_least('participations', participations, 0)
  checks.in_open_unit_interval('delta', delta)
  steps = participations * steps_per_participation
  figures = []
  for view_name in ('example', 'client'):
    for target in dict.fromkeys((delta, SMALL_DELTA)):
      if view_name == 'example':
        view = adjacency.example_view(
          mechanism=mechanism,
          algorithm=algorithm,
          batch_sampling=batch_sampling,
          examples_per_client=examples_per_client,
          epochs=participations * (local_epochs or 1),
          steps=steps,
          amplification=amplification,
        )
      else:
        view = adjacency.client_view(
          mechanism=mechanism,
          batch_sampling=batch_sampling,
          examples_per_client=examples_per_client,
          steps=steps,
          delta=target,
        )
      for accountant in accountants:
        reason = _reason_against(mechanism, view, accountant)
        epsilon = None
        if reason is None:
          epsilon = composition.composed_epsilon(
            view.event,
            count=view.compositions,
            delta=target * view.delta_share,
            accountant=accountant,
            neighboring_relation=view.neighboring_relation,
          )
        figures.append(
          privacy_statement.PrivacyFigure(
            view=view_name,
            epsilon=epsilon,
            reason=reason,
            delta=target,
            accountant=accountant,
            adjacency=view.adjacency,
            sampling_model=view.sampling_model,
            sampling_probability=view.sampling_probability,
            noise_multiplier=view.noise_multiplier,
            compositions=view.compositions,
            participation_count=participations,
            steps=steps,
          )
        )
  return privacy_statement.PrivacyStatement(
    mechanism=_describe(mechanism),
    figures=tuple(figures),
    assumptions=privacy_statement.assumptions(
      participations=participations,
      examples_per_client=examples_per_client,
      delta=delta,
      adjacency=figures[0].adjacency,
      amplified_by=None
      if amplification == 'none' or (batch_sampling, algorithm) == ('shuffle', 'fed_avg')
      else batch_sampling,
      noise_source=noise_source,
    ),
  )


def _check_run(
  algorithm: str,
  batch_sampling: str,
  amplification: str,
  steps_per_participation: int,
  local_epochs: int | None,
) -> None:
  """Refuses contradictions between the names that describe a run."""
  checks.known_name('algorithm', algorithm, ALGORITHMS)
  checks.known_name('batch_sampling', batch_sampling, BATCH_SAMPLINGS)
  checks.known_name('amplification', amplification, AMPLIFICATIONS)
  checks.at_least('steps_per_participation', steps_per_participation, 1)
  if amplification == 'poisson' and batch_sampling != 'poisson':
    raise ValueError(
      f"amplification='poisson' does not hold for batch_sampling={batch_sampling!r}; take"
      " batch_sampling='poisson' or amplification='as_sampled'."
    )
  if algorithm == 'fed_sgd' and steps_per_participation != 1:
    raise ValueError(
      f"steps_per_participation={steps_per_participation} must be 1 for algorithm 'fed_sgd'."
    )
  if local_epochs is not None:
    checks.at_least('local_epochs', local_epochs, 1)
  if (batch_sampling, algorithm) == ('shuffle', 'fed_avg') and local_epochs is None:
    raise ValueError(
      "local_epochs=None: shuffled batches are accounted by epoch for algorithm 'fed_avg';"
      ' give local_epochs.'
    )


def _reason_against(
  mechanism: mechanisms.Mechanism | None, view: adjacency.View, accountant: str
) -> str | None:
  """Returns why there is no figure, or None."""
  if mechanism is None:
    return 'gradients are not clipped: one example can move a message arbitrarily far.'
  if mechanism.noise_multiplier == 0:
    return 'noise_multiplier=0: gradients are clipped but not noised, so epsilon is infinite.'
  if accountant == 'pld' and isinstance(view.event, dp_accounting.SampledWithoutReplacementDpEvent):
    return "accountant 'pld' has no bound for sampling without replacement; take 'rdp'."
  return None


def _describe(mechanism: mechanisms.Mechanism | None) -> str:
  """Returns the mechanism in words and numbers."""
  if mechanism is None:
    return 'none'
  return (
    f'clip_unit={mechanism.clip_unit}, noise_scale={mechanism.noise_scale},'
    f' l2_norm_clip={mechanism.l2_norm_clip:g}, noise_multiplier={mechanism.noise_multiplier:g}'
    f' (effective by example: {mechanism.effective_noise_multiplier:.4g}),'
    f' expected_batch_size={mechanism.expected_batch_size:g}'
  )
