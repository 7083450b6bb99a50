"""Where the rows of a run's history go: a CSV file and TensorBoard, by TFF's managers."""

import os
import pathlib
from collections.abc import Callable, Mapping

import tensorflow_federated as tff

from tff_robust.program import history, waiting

Release = Callable[[Mapping[str, history.Cell]], None]


def open_releases(folder: str | os.PathLike[str]) -> Release:
  """Returns a function that releases one row to the CSV file and to TensorBoard.

  The CSV file holds every column, blank where a column does not apply; TensorBoard gets
  the numbers. A round that is released again replaces the row in the CSV file; TensorBoard
  shows the latest value of a step.

  Args:
    folder: The folder of the run; gets `history.csv` and `tensorboard/`.
  """
  folder = pathlib.Path(folder)
  # TFF would put the columns in the order of their names.
  history.begin(folder / history.FILE_NAME)
  table = tff.program.CSVFileReleaseManager(folder / history.FILE_NAME, key_fieldname=history.ROUND)
  board = tff.program.TensorBoardReleaseManager(folder / 'tensorboard')

  def release(row: Mapping[str, history.Cell]) -> None:
    key = int(row[history.ROUND] or 0)
    others = {name: row[name] for name in history.COLUMNS if name != history.ROUND}
    waiting.wait_for(
      table.release({name: '' if cell is None else cell for name, cell in others.items()}, key)
    )
    numbers = {name: cell for name, cell in others.items() if isinstance(cell, int | float)}
    waiting.wait_for(board.release(numbers, key))

  return release
