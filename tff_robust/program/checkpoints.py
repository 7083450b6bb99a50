"""Checkpoints of a run: the state of its process after so many rounds, kept by TFF."""

import os
import pathlib
import shutil
from typing import Any

import tensorflow_federated as tff

from tff_robust.program import waiting

_PREFIX = 'state_after_round_'


class Checkpoints:
  """The newest few states of a run, each under the number of rounds that led to it."""

  def __init__(self, folder: str | os.PathLike[str], *, keep: int = 3) -> None:
    """Opens a folder of checkpoints, and makes it when it is not there.

    Args:
      folder: Where the states are; nothing else is kept there.
      keep: How many states are kept.
    """
    self._folder = pathlib.Path(folder)
    self._manager = tff.program.FileProgramStateManager(
      self._folder, prefix=_PREFIX, keep_total=keep, keep_first=False
    )

  def save(self, state: Any, rounds: int) -> None:
    """Saves the state after so many rounds, in one atomic step; again is harmless."""
    if rounds not in self._versions():
      waiting.wait_for(self._manager.save(state, rounds))

  def newest(self, structure: Any) -> tuple[int, Any] | None:
    """Returns the rounds and the state of the newest checkpoint that can be read.

    Halves of checkpoints, which a killed run leaves behind, are removed. Newer checkpoints
    that cannot be read are set aside under another name.

    Args:
      structure: A state of the process, for its structure.

    Returns:
      None when there is no checkpoint.

    Raises:
      ValueError: If there are checkpoints and none of them can be read.
    """
    for half in self._folder.glob(f'{_PREFIX}*_temp*'):
      shutil.rmtree(half)
    unreadable: dict[int, Exception] = {}
    for rounds in reversed(self._versions()):
      try:
        state = waiting.wait_for(self._manager.load(rounds, structure))
      except Exception as error:  # TensorFlow raises whatever the damage leads to.
        unreadable[rounds] = error
        continue
      for bad in unreadable:
        folder = self._folder / f'{_PREFIX}{bad}'
        folder.rename(folder.with_name(f'unreadable_{folder.name}'))
      return rounds, state
    if unreadable:
      reason = ' '.join(str(unreadable[max(unreadable)]).split())
      raise ValueError(
        f'none of the checkpoints in {self._folder} can be read ({reason}); start the run anew in'
        ' another --output_dir.'
      )
    return None

  def _versions(self) -> list[int]:
    return waiting.wait_for(self._manager.get_versions()) or []
