"""Checkpoints that are damaged, taken, or no checkpoints."""

import collections
import pathlib

import numpy as np
import pytest

from tff_robust.program import checkpoints, run_folder

STRUCTURE = collections.OrderedDict(weights=np.zeros(1000, np.float32), round=np.int64(0))


def state_after(rounds):
  weights = np.random.default_rng(rounds).normal(size=1000).astype(np.float32)
  return collections.OrderedDict(weights=weights, round=np.int64(rounds))


def saved(folder, *rounds):
  kept = checkpoints.Checkpoints(folder)
  for each in rounds:
    kept.save(state_after(each), each)
  return kept


def truncate(folder, rounds):
  """Leaves half of the file that holds the numbers of a checkpoint."""
  (path,) = pathlib.Path(folder, f'state_after_round_{rounds}').rglob('variables.data-*')
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def newest(folder):
  """Returns the newest state and its rounds, and what was told."""
  told = []
  rounds, state = checkpoints.Checkpoints(folder).newest(STRUCTURE, tell=told.append)
  np.testing.assert_array_equal(state['weights'], state_after(rounds)['weights'])
  return rounds, told


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_whole_checkpoints_are_read_in_silence(tmp_path):
  saved(tmp_path, 2, 4)
  assert newest(tmp_path) == (4, [])


def test_a_truncated_checkpoint_is_told_and_the_one_before_it_is_read(tmp_path):
  saved(tmp_path, 2, 4)
  truncate(tmp_path, 4)
  rounds, (sentence,) = newest(tmp_path)
  assert rounds == 2
  assert sentence.startswith(f'{tmp_path / "state_after_round_4"} cannot be read (')
  assert sentence.endswith(
    '; it is kept as unreadable_state_after_round_4, and the run goes on from the state after 2'
    ' rounds.'
  )
  assert '\n' not in sentence
  assert newest(tmp_path) == (2, [])


def test_what_was_set_aside_before_is_not_written_over(tmp_path):
  for content in ('first', 'second', 'third'):
    saved(tmp_path, 2, 4)
    truncate(tmp_path, 4)
    (tmp_path / 'state_after_round_4' / 'mine').write_text(content)
    assert newest(tmp_path)[0] == 2
  kept = [path.read_text() for path in sorted(tmp_path.glob('unreadable_*/mine'))]
  assert kept == ['first', 'second', 'third']
  assert names(tmp_path) == [
    'state_after_round_2',
    'unreadable_state_after_round_4',
    'unreadable_state_after_round_4_2',
    'unreadable_state_after_round_4_3',
  ]


def test_a_file_and_a_folder_under_the_name_of_a_checkpoint_are_set_aside(tmp_path):
  saved(tmp_path, 2)
  (tmp_path / 'state_after_round_7').write_text('mine')
  (tmp_path / 'state_after_round_9').mkdir()
  rounds, told = newest(tmp_path)
  assert rounds == 2
  assert len(told) == 2
  assert (tmp_path / 'unreadable_state_after_round_7').read_text() == 'mine'
  # The run passes these rounds again, and has to find the names free.
  saved(tmp_path, 7, 9)
  assert newest(tmp_path) == (9, [])


def test_names_that_only_resemble_those_of_checkpoints_are_left_alone(tmp_path):
  saved(tmp_path, 2)
  (tmp_path / 'state_after_round_08').mkdir()
  assert newest(tmp_path) == (2, [])
  assert names(tmp_path) == ['state_after_round_08', 'state_after_round_2']


def test_halves_are_removed_be_they_folders_or_files(tmp_path):
  saved(tmp_path, 2)
  (tmp_path / 'state_after_round_4_temp1234').mkdir()
  (tmp_path / 'state_after_round_4_temp4321').touch()
  assert newest(tmp_path) == (2, [])
  assert names(tmp_path) == ['state_after_round_2']


def test_checkpoints_none_of_which_can_be_read_are_an_error_in_one_sentence(tmp_path):
  kept = saved(tmp_path, 2, 4)
  truncate(tmp_path, 2)
  truncate(tmp_path, 4)
  with pytest.raises(run_folder.UnreadableError) as caught:
    kept.newest(STRUCTURE)
  sentence = str(caught.value)
  assert sentence.startswith(
    f'none of the checkpoints in {tmp_path} can be read (state_after_round_4: '
  )
  assert 'delete this folder to begin with the first round again' in sentence
  assert '\n' not in sentence
  assert names(tmp_path) == ['state_after_round_2', 'state_after_round_4']


def test_what_cannot_be_moved_is_an_error_in_one_sentence(tmp_path, monkeypatch):
  saved(tmp_path, 2, 4)
  truncate(tmp_path, 4)

  def refuse(*arguments):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(pathlib.Path, 'rename', refuse)
  with pytest.raises(run_folder.UnreadableError, match='Permission denied') as caught:
    newest(tmp_path)
  assert str(caught.value).startswith(f'{tmp_path / "state_after_round_4"} cannot be read')
  assert '\n' not in str(caught.value)


def test_a_file_in_place_of_the_folder_is_an_error_in_one_sentence(tmp_path):
  (tmp_path / 'checkpoints').write_text('mine')
  with pytest.raises(run_folder.UnreadableError, match='is a file and no folder of checkpoints'):
    checkpoints.Checkpoints(tmp_path / 'checkpoints')
  assert (tmp_path / 'checkpoints').read_text() == 'mine'
