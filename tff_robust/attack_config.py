"""The decisions about the adversary of one run; free of TensorFlow."""

import dataclasses
import math
from collections.abc import Mapping

from tff_robust import checks, registry
from tff_robust.attacks import knowledge as views

NO_ATTACK = 'none'
PLACEMENTS = ('cohort', 'population')
COHORT_RISKS = ('warn', 'fail', 'stratify')
START_UNITS = ('round', 'server_epoch')
KNOWLEDGE = views.ALL


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackConfig:
  """Who lies, how, and what the liars know.

  Attributes:
    attack: A name in `registry.ATTACKS`, or 'none'.
    options: Every option that the attack reads, completed with its defaults.
    num_byzantine: Byzantine clients, at least 1 with an attack: of each cohort
      (`placement='cohort'`) or of the population (`placement='population'`).
    placement: 'cohort' draws each cohort with exactly `num_byzantine` clients of a fixed
      compromised set; 'population' compromises a fixed set of `num_byzantine` clients and
      draws cohorts regardless of it.
    cohort_risk: What to do about cohorts that may hold more Byzantine clients than the rule is
      told (`placement='population'` only): 'warn' of them, 'fail' before the run, or 'stratify'
      the sampling so that there are none, which takes knowing who is Byzantine.
    knowledge: What the adversary sees, one of `KNOWLEDGE`; left out, the first view
      with which the attack makes sense. None for attacks by data, which see no message.
    start: When the attack begins, counted from 0 in `start_unit`.
    stop: When it ends, in the same unit, or None for never; the round at `stop` is honest.
    start_unit: 'round' or 'server_epoch' (one pass over the training set).
    every: The attack is on in every so many-th round from its first one.
    byzantine_dp_noise: Whether Byzantine clients add the DP noise of an honest message to
      what they send.
  """

  attack: str = NO_ATTACK
  options: Mapping[str, registry.OptionValue | None] = dataclasses.field(default_factory=dict)
  num_byzantine: int = 0
  placement: str = 'cohort'
  cohort_risk: str = 'warn'
  knowledge: str | None = None
  start: float = 0
  stop: float | None = None
  start_unit: str = 'round'
  every: int = 1
  byzantine_dp_noise: bool = False

  def __post_init__(self) -> None:
    checks.known_name('byzantine_placement', self.placement, PLACEMENTS)
    checks.known_name('attack_start_unit', self.start_unit, START_UNITS)
    checks.known_name('cohort_risk', self.cohort_risk, COHORT_RISKS)
    if self.cohort_risk != 'warn' and self.placement != 'population':
      raise ValueError(
        f'cohort_risk={self.cohort_risk} has no effect with byzantine_placement='
        f'{self.placement!r}, whose cohorts all hold num_byzantine Byzantine clients; leave it'
        " out or take byzantine_placement='population'."
      )
    checks.at_least('num_byzantine', self.num_byzantine, 0)
    self._check_times()
    if self.attack == NO_ATTACK:
      unread = {
        'num_byzantine': self.num_byzantine or None,
        'byzantine_placement': None if self.placement == PLACEMENTS[0] else self.placement,
        'cohort_risk': None if self.cohort_risk == COHORT_RISKS[0] else self.cohort_risk,
        'byzantine_dp_noise': self.byzantine_dp_noise or None,
        'attack_start': self.start or None,
        'attack_stop': self.stop,
        'attack_start_unit': None if self.start_unit == START_UNITS[0] else self.start_unit,
        'attack_every': None if self.every == 1 else self.every,
        'attack_knowledge': self.knowledge,
      }
      given = [*self.options, *(name for name, value in unread.items() if value is not None)]
      checks.no_unread_options([f'attack {self.attack!r}'], given, ())
    else:
      checks.known_name('attack', self.attack, (NO_ATTACK, *registry.ATTACKS))
      self._check_backdoor()
      options = registry.complete_options('attack', registry.ATTACKS, self.attack, self.options)
      without = self._unread_backdoor(options)
      options = {option: value for option, value in options.items() if option not in without}
      object.__setattr__(self, 'options', options)
      if not self.num_byzantine:
        raise ValueError(f'attack {self.attack!r} needs num_byzantine, how many clients send it.')
      entry = registry.ATTACKS[self.attack]
      if entry.by_data:
        self._check_by_data()
        return
      knowledge = entry.knowledge[0] if self.knowledge is None else self.knowledge
      checks.known_name('attack_knowledge', knowledge, KNOWLEDGE)
      self._check_knowledge(entry, knowledge)
      object.__setattr__(self, 'knowledge', knowledge)

  @property
  def data_attack(self) -> str | None:
    """The attack by data that compromised clients carry out, alone or beside another; or None."""
    if self.attack == NO_ATTACK:
      return None
    entry = registry.ATTACKS[self.attack]
    if entry.by_data:
      return self.attack
    name, option = entry.also_by_data or ('', '')
    return name if name and self.options.get(option) is not None else None

  def _unread_backdoor(self, options: Mapping[str, registry.OptionValue | None]) -> tuple[str, ...]:
    """Returns the options of an attack by data that is not turned on, but for what turns it on."""
    name, switch = registry.ATTACKS[self.attack].also_by_data or ('', '')
    if not name or options.get(switch) is not None:
      return ()
    return tuple(option for option in registry.ATTACKS[name].reads if option != switch)

  def _check_backdoor(self) -> None:
    """Checks that options of an attack by data come with the one that turns it on."""
    name, switch = registry.ATTACKS[self.attack].also_by_data or ('', '')
    for unread in self._unread_backdoor(self.options):
      if self.options.get(unread) is not None:
        raise ValueError(
          f'{unread}={self.options[unread]} has no effect with attack {self.attack!r} without'
          f' {switch}; give {switch} for a {name}, or leave it out.'
        )

  def _check_knowledge(self, entry: registry.Entry, knowledge: str) -> None:
    """Checks that an adversary who sees this can compute what the attack sends."""
    option, others = entry.knowledge_with or ('', ())
    if knowledge in entry.knowledge or (knowledge in others and self.options[option] is not None):
      fewest = entry.fewest_own(self.options)
      if knowledge in views.OWN and self.num_byzantine < fewest:
        raise ValueError(
          f'num_byzantine={self.num_byzantine} makes no attack of {self.attack!r} with'
          f' attack_knowledge={knowledge!r}: it needs the spread of at least'
          f' {fewest} messages of its own clients; raise num_byzantine.'
        )
      return
    allows = f'allows: {", ".join(entry.knowledge)}'
    if knowledge in others:
      allows += f'; with {option} given also {knowledge}'
    raise ValueError(
      f'attack_knowledge={knowledge!r} makes no sense with attack {self.attack!r}, which {allows}.'
    )

  def _check_by_data(self) -> None:
    """Checks what has no effect on clients that train honestly, if on poisoned data."""
    given = {
      'attack_knowledge': self.knowledge,
      'byzantine_dp_noise': self.byzantine_dp_noise or None,
    }
    for name, value in given.items():
      if value is not None:
        raise ValueError(
          f'{name}={value} has no effect with attack {self.attack!r}, whose clients train on'
          ' poisoned data as honest clients do on theirs; leave it out.'
        )

  def _check_times(self) -> None:
    """Checks when the attack is on, as far as that needs no data."""
    checks.nonnegative('attack_start', self.start)
    if self.stop is not None and not math.isfinite(self.stop):
      raise ValueError(
        f'attack_stop={self.stop} must be a finite number; leave it out for an attack without an'
        ' end.'
      )
    checks.at_least('attack_every', self.every, 1)
    for name, value in (('attack_start', self.start), ('attack_stop', self.stop)):
      if self.start_unit == 'round' and value is not None and value != int(value):
        raise ValueError(
          f'{name}={value} must be a whole number of rounds; for fractions take'
          " attack_start_unit='server_epoch'."
        )
    if self.stop is not None and not self.stop > self.start:
      raise ValueError(
        f'attack_stop={self.stop} must come after attack_start={self.start}; leave it out for an'
        ' attack without an end.'
      )
