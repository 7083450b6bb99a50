"""Checkpoints of a run: the state of its process after so many rounds, kept by TFF."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_federated as tff

from tff_robust.program import run_folder, waiting

_PREFIX = 'state_after_round_'


class Checkpoints:
  """The newest few states of a run, each under the number of rounds that led to it."""

  def __init__(self, folder: str | os.PathLike[str], *, keep: int = 3) -> None:
    """Opens a folder of checkpoints, and makes it when it is not there.

    Args:
      folder: Where the states are; nothing else is kept there.
      keep: How many states are kept.

    Raises:
      run_folder.UnreadableError: If the folder is a file.
    """
    self._folder = pathlib.Path(folder)
    if self._folder.is_file():
      raise run_folder.UnreadableError(
        f'{self._folder} is a file and no folder of checkpoints; delete it to begin with the first'
        ' round again.'
      )
    self._manager = tff.program.FileProgramStateManager(
      self._folder, prefix=_PREFIX, keep_total=keep, keep_first=False
    )

  def save(self, state: Any, rounds: int) -> None:
    """Saves the state after so many rounds, in one atomic step; again is harmless."""
    if rounds not in self._versions():
      waiting.wait_for(self._manager.save(state, rounds))

  def newest(
    self, structure: Any, *, tell: Callable[[str], None] = lambda sentence: None
  ) -> tuple[int, Any] | None:
    """Returns the rounds and the state of the newest checkpoint that can be read.

    Halves of checkpoints, which a killed run leaves behind, are removed. Newer checkpoints
    that cannot be read are set aside under another name.

    Args:
      structure: A state of the process, for its structure.
      tell: Called with a sentence for each checkpoint that is set aside.

    Returns:
      None when there is no checkpoint.

    Raises:
      run_folder.UnreadableError: If there are checkpoints and none of them can be read, or what
        cannot be read cannot be moved out of the way.
    """
    for half in self._folder.glob(f'{_PREFIX}*_temp*'):
      with _told(half, 'removed'):
        shutil.rmtree(half) if half.is_dir() else half.unlink()
    unreadable: dict[int, str] = {}
    for rounds in reversed(self._versions()):
      try:
        state = waiting.wait_for(self._manager.load(rounds, structure))
      except Exception as error:  # TensorFlow raises whatever the damage leads to.
        unreadable[rounds] = ' '.join(str(error).split()).rstrip('.') or type(error).__name__
        continue
      for bad, reason in unreadable.items():
        path = self._folder / f'{_PREFIX}{bad}'
        with _told(path, 'renamed'):
          aside = path.rename(_free_name(path.with_name(f'unreadable_{path.name}')))
        tell(
          f'{path} cannot be read ({reason}); it is kept as {aside.name}, and the run goes on from'
          f' the state after {rounds} rounds.'
        )
      return rounds, state
    if unreadable:
      newest = max(unreadable)
      raise run_folder.UnreadableError(
        f'none of the checkpoints in {self._folder} can be read ({_PREFIX}{newest}:'
        f' {unreadable[newest]}); delete this folder to begin with the first round again, or start'
        ' the run anew in another --output_dir.'
      )
    return None

  def _versions(self) -> list[int]:
    """Returns the rounds of what is there under the name of a checkpoint, fewest first."""
    found = waiting.wait_for(self._manager.get_versions()) or []
    return [rounds for rounds in found if (self._folder / f'{_PREFIX}{rounds}').exists()]


@contextlib.contextmanager
def _told(path: pathlib.Path, what: str) -> Iterator[None]:
  """Turns what the file system says of a path into a sentence that names it."""
  try:
    yield
  except OSError as error:
    raise run_folder.UnreadableError(
      f'{path} cannot be read and cannot be {what} ({error.strerror or error}); remove it to go on'
      ' from the checkpoint before it.'
    ) from error


def _free_name(path: pathlib.Path) -> pathlib.Path:
  """Returns a path beside which nothing is lost: itself, or with a number where it is taken."""
  free, number = path, 1
  while free.exists():
    number += 1
    free = path.with_name(f'{path.name}_{number}')
  return free
