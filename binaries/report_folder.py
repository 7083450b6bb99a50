"""The folder of a report, checked before the work whose result it is to hold."""

from __future__ import annotations

import os
import pathlib


def check(folder: pathlib.Path) -> None:
  """Raises ValueError when nothing could be written into a folder, which need not exist yet."""
  from tff_robust.program import run_folder

  try:
    run_folder.check_is_no_file(folder)
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
  except OSError as error:
    raise ValueError(
      f'output_dir={folder} cannot be written: {error.strerror or error}; give another folder.'
    ) from error
  if not os.access(nearest, os.W_OK):
    raise ValueError(
      f'output_dir={folder} cannot be written: no permission for {nearest}; give another folder.'
    )
