"""The options of rules, pre-aggregators and attacks, each a command-line flag of its name.

Free of TensorFlow.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tff_robust import checks
from tff_robust.attacks import class_maps

OptionValue = int | float | str


class Option(NamedTuple):
  """An option of rules or attacks, which is also the command-line flag of that name.

  Attributes:
    kind: int, float or str.
    help: One line for `--help`, in words.
    check: Called with the option's name and value; raises ValueError.
    example: A value for trials (contracts, benchmarks, reports) of whatever reads the option
      and has no default for it.
  """

  kind: type
  help: str
  check: Callable[[str, Any], None]
  example: OptionValue | None = None


def _at_least(minimum: float) -> Callable[[str, Any], None]:
  return lambda name, value: checks.at_least(name, value, minimum)


def _finite_at_least(minimum: float) -> Callable[[str, Any], None]:
  def check(name: str, value: Any) -> None:
    checks.finite(name, value)
    checks.at_least(name, value, minimum)

  return check


def _one_of(*names: str) -> Callable[[str, Any], None]:
  def check(name: str, value: Any) -> None:
    checks.known_name(name, value, names)

  return check


def _fraction(name: str, value: Any) -> None:
  checks.in_unit_interval(name, value)
  checks.positive(name, value)


def _pixel_value(name: str, value: Any) -> None:
  checks.nonnegative(name, value)
  checks.at_most(name, value, 255, 'pixels have 8 bits')


OPTIONS: dict[str, Option] = {
  'max_byzantine': Option(
    int,
    'Byzantine clients a round that the rule is declared to tolerate (f).',
    _at_least(0),
    example=2,
  ),
  'num_selected': Option(int, 'Rows that Multi-Krum averages (m).', _at_least(1), example=2),
  'clip_radius': Option(
    float,
    'Distance from the last aggregate at which centred clipping clips.',
    checks.positive,
    example=3.0,
  ),
  'num_iterations': Option(int, 'Iterations of the rule in a round.', _at_least(1)),
  'num_coordinates': Option(int, 'Coordinates that a filter draws at random.', _at_least(1)),
  'filter_factor': Option(
    float, 'Rows that a filter drops, in units of max_byzantine.', checks.positive
  ),
  'smoothing': Option(
    float,
    'Lower bound on the distances whose inverses are the weights of Weiszfeld.',
    checks.positive,
  ),
  'tolerance': Option(float, 'Relative step at which an iteration ends.', checks.nonnegative),
  'max_iterations': Option(int, 'Largest number of iterations.', _at_least(1)),
  'trial_learning_rate': Option(
    float,
    'Learning rate of the step with which each update is tried on the root set; left out,'
    ' that of the server.',
    checks.positive,
  ),
  'norm_penalty': Option(
    float,
    'Penalty on the squared norm of an update, beside the loss that it saves; left out, a'
    ' 200th of the trial learning rate.',
    checks.nonnegative,
  ),
  'bucket_size': Option(int, 'Rows that bucketing averages into one.', _at_least(1), example=2),
  'max_norm': Option(float, 'Norm to which static clipping clips.', checks.positive, example=1.0),
  'attack_epsilon': Option(
    float, 'Factor of the manipulation: send -factor * mean.', checks.nonnegative, example=0.5
  ),
  'attack_scale': Option(
    float, 'Factor by which attackers scale their update.', checks.nonnegative, example=25.0
  ),
  'attack_deviations': Option(
    float, 'Standard deviations by which attackers leave the mean.', checks.finite
  ),
  'attack_direction': Option(
    str,
    'Along which attackers leave the mean: unit (against it), deviation or sign.',
    _one_of('unit', 'deviation', 'sign'),
  ),
  'attack_safety': Option(
    float,
    'Share of the exact breaking point that adaptive attackers dare to use.',
    checks.in_open_unit_interval,
  ),
  'attack_factor': Option(
    float, 'How far beyond the extreme honest values attackers draw theirs.', _finite_at_least(1)
  ),
  'attack_noise_stddev': Option(
    float,
    'Standard deviation of each coordinate of the noise that attackers send.',
    checks.nonnegative,
  ),
  'attack_shared_noise': Option(
    float, 'Share of their noise energy that colluders draw in common.', checks.in_unit_interval
  ),
  'attack_l2_norm_bound': Option(
    float, 'Largest norm of a row that attackers send.', checks.positive
  ),
  'attack_anomaly_weight': Option(
    float,
    "Share of attackers' training loss that keeps their model near the broadcast one.",
    checks.in_half_open_unit_interval,
  ),
  'attack_class_map': Option(
    str,
    'New classes of the labels of compromised clients: reverse, or pairs as in 1:7,7:1.',
    class_maps.check,
  ),
  'attack_target_class': Option(
    int,
    'Class that a backdoor makes models see; beside model_replacement, left out for no backdoor.',
    _at_least(0),
    example=1,
  ),
  'attack_poisoned_fraction': Option(
    float, 'Share of the examples of a compromised client that are poisoned.', _fraction
  ),
  'attack_trigger_size': Option(int, "Side of a backdoor's trigger in pixels.", _at_least(1)),
  'attack_trigger_value': Option(
    float,
    "Value of the pixels of a backdoor's trigger; left out, the brightest of the data set.",
    _pixel_value,
  ),
  'attack_delay': Option(int, 'Rounds after which attackers replay a message.', _at_least(1)),
  'attack_warmup_rounds': Option(
    int,
    'Rounds, counted from the first of the run, in which attackers learn whom to mimic, while they'
    ' mimic already.',
    _at_least(1),
    example=2,
  ),
  'attack_evaluations': Option(
    int, "Trials of the attackers' line search against the live rule.", _at_least(1)
  ),
}
