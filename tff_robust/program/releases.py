"""Where the rows of a run's history go: a CSV file, and TensorBoard by TFF's manager."""

import os
import pathlib
from collections.abc import Callable, Mapping

import tensorflow_federated as tff

from tff_robust.program import history, waiting

Release = Callable[[Mapping[str, history.Cell]], None]


def open_releases(folder: str | os.PathLike[str]) -> Release:
  """Returns a function that releases one row to the CSV file and to TensorBoard.

  The CSV file holds every column, blank where a column does not apply; TensorBoard gets
  the numbers, and shows the latest value of a step. Each round is to be released once: rows
  that a resumed run writes anew are to be removed before, by `history.keep_before`. (TFF's
  manager of CSV files reads and writes the whole file for each row, which takes a quarter of a
  second after 10,000.)

  Args:
    folder: The folder of the run; gets `history.csv` and `tensorboard/`.
  """
  folder = pathlib.Path(folder)
  history.begin(folder / history.FILE_NAME)
  board = tff.program.TensorBoardReleaseManager(folder / 'tensorboard')

  def release(row: Mapping[str, history.Cell]) -> None:
    key = int(row[history.ROUND] or 0)
    history.append(folder / history.FILE_NAME, row)
    numbers = {
      name: row[name]
      for name in history.COLUMNS
      if name != history.ROUND and isinstance(row[name], int | float)
    }
    waiting.wait_for(board.release(numbers, key))

  return release
