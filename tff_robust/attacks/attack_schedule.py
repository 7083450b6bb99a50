"""In which rounds an attack is on; for Python integers and tensors alike."""

from typing import Any, NamedTuple


class AttackSchedule(NamedTuple):
  """Start, stop and period of an attack, in rounds counted from 0.

  Attributes:
    start_round: The first attacked round.
    stop_round: The first round from which on there is no attack any more, or None.
    every: The attack is on in every so many-th round, the first one included.
  """

  start_round: int = 0
  stop_round: int | None = None
  every: int = 1

  def is_active(self, round_number: Any) -> Any:
    """Tells whether the attack is on in a round.

    Args:
      round_number: An integer, or an int64 scalar tensor.

    Returns:
      A bool, or a bool scalar tensor.
    """
    # Not by ==, which compares identities of tensors in some graphs.
    on_beat = (round_number - self.start_round) % self.every < 1
    active = (round_number >= self.start_round) & on_beat
    if self.stop_round is not None:
      active = active & (round_number < self.stop_round)
    return active
