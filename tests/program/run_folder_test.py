import json
import os
import pathlib
import re

import pytest

from tff_robust import config
from tff_robust.program import run_folder


def experiment(**attack):
  return config.ExperimentConfig(
    seed=2**62,
    data=config.DataConfig(),
    training=config.TrainingConfig(num_rounds=4),
    aggregation=config.AggregationConfig(aggregator='krum', options={'max_byzantine': 11}),
    attack=config.AttackConfig(**attack),
  )


def create(folder, **changes):
  running = {'runtime': 'native', 'evaluate_every': None}
  run_folder.create(
    folder,
    experiment(**changes),
    running=running,
    options={**running, 'checkpoint_every': 7},
    runtime='runtime native: here',
    source='Drawn by hand.',
  )


def test_what_was_decided_comes_back(tmp_path):
  create(tmp_path / 'a' / 'b')
  found, running = run_folder.load(tmp_path / 'a' / 'b')
  assert found == experiment()
  assert running == {'runtime': 'native', 'evaluate_every': None}


def test_config_file_names_versions_and_runtime(tmp_path):
  create(tmp_path)
  content = json.loads((tmp_path / 'config.json').read_text())
  assert content['versions']['tensorflow'] == '2.14.1'
  assert content['versions']['tensorflow-federated'] == '0.87.0'
  assert set(content['versions']) > {'python', 'tensorflow-privacy', 'dp-accounting', 'numpy'}
  assert content['runtime'] == 'runtime native: here'
  assert content['source'] == 'Drawn by hand.'
  assert content['options']['checkpoint_every'] == 7
  assert 'TF_ENABLE_ONEDNN_OPTS' in content['environment']
  assert content['experiment']['seed'] == 2**62
  revision = content['git_revision']
  assert revision is None or re.fullmatch(r'[0-9a-f]{40}\+?', revision)


def test_resumptions_are_noted_with_what_is_different(tmp_path, monkeypatch):
  monkeypatch.delenv('TF_NUM_INTEROP_THREADS', raising=False)
  create(tmp_path)
  assert run_folder.num_repeated_rounds(tmp_path) == 0

  def note(repeated, runtime='runtime native: here'):
    return run_folder.note_resumption(
      tmp_path, first_round=3, repeated_rounds=repeated, runtime=runtime, source='Drawn by hand.'
    )

  assert note(2) == ()
  assert note(1, 'runtime native: there') == (
    'runtime: runtime native: there (before: runtime native: here)',
  )
  assert note(0, 'runtime native: there') == ()
  monkeypatch.setenv('TF_NUM_INTEROP_THREADS', '3')
  assert note(4, 'runtime native: there') == ('TF_NUM_INTEROP_THREADS: 3 (before: None)',)
  assert run_folder.num_repeated_rounds(tmp_path) == 7
  content = json.loads((tmp_path / 'config.json').read_text())
  assert [one['first_round'] for one in content['resumptions']] == [3] * 4
  assert content['resumptions'][3]['environment']['TF_NUM_INTEROP_THREADS'] == '3'
  assert content['environment']['TF_NUM_INTEROP_THREADS'] is None
  assert run_folder.load(tmp_path)[0] == experiment()


CHECKS = [run_folder.check_unused, run_folder.check_can_be_written]


@pytest.mark.parametrize('check', CHECKS)
@pytest.mark.parametrize('name', ['x' * 300, 'file', 'file/run'])
def test_a_folder_that_cannot_be_is_refused_in_one_sentence(tmp_path, name, check):
  (tmp_path / 'file').touch()
  with pytest.raises(ValueError, match=r'output_dir=.*; give another folder\.$'):
    check(tmp_path / name)


def test_a_place_that_takes_no_folder_is_refused_in_one_sentence(tmp_path, monkeypatch):
  def refuse(*arguments, **options):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(pathlib.Path, 'mkdir', refuse)
  with pytest.raises(ValueError, match=r'output_dir=.* cannot be written: Permission denied'):
    create(tmp_path / 'run')


@pytest.mark.parametrize('check', CHECKS)
def test_a_place_without_permission_is_refused_before_anything_is_loaded(
  tmp_path, monkeypatch, check
):
  monkeypatch.setattr(os, 'access', lambda place, mode: pathlib.Path(place) != tmp_path)
  with pytest.raises(ValueError, match=f'no permission for {tmp_path}'):
    check(tmp_path / 'a' / 'b')


def test_a_folder_that_is_there_may_hold_an_older_report(tmp_path):
  (tmp_path / 'rule_report.md').touch()
  run_folder.check_can_be_written(tmp_path)
  run_folder.check_can_be_written(tmp_path / 'a' / 'b')
  assert not (tmp_path / 'a').exists()


def test_a_folder_with_a_run_is_refused_with_both_ways_out(tmp_path):
  create(tmp_path)
  before = (tmp_path / 'config.json').read_text()
  with pytest.raises(ValueError, match=r'--resume .*--output_dir'):
    create(tmp_path, attack='sign_flip', num_byzantine=1)
  assert (tmp_path / 'config.json').read_text() == before


def test_a_folder_with_something_else_and_a_file_are_refused(tmp_path):
  (tmp_path / 'letter.txt').write_text('dear')
  with pytest.raises(ValueError, match='is not empty and holds no run'):
    run_folder.check_unused(tmp_path)
  with pytest.raises(ValueError, match='is a file'):
    run_folder.check_unused(tmp_path / 'letter.txt')
  (tmp_path / 'empty').mkdir()
  run_folder.check_unused(tmp_path / 'empty')


def test_resuming_nothing_is_refused(tmp_path):
  with pytest.raises(ValueError, match='holds no run to resume'):
    run_folder.load(tmp_path)


@pytest.mark.parametrize('content', ['{}', '{"experiment": {"pace": 3}, "running": {}}', 'x'])
def test_a_configuration_of_another_version_is_refused(tmp_path, content):
  (tmp_path / 'config.json').write_text(content)
  with pytest.raises(ValueError, match=r'this version.*again with --plugins'):
    run_folder.load(tmp_path)


def test_default_folder_is_new_and_says_what_runs(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  first = run_folder.default_folder(experiment())
  assert first.parent == pathlib.Path('runs')
  assert first.name.endswith('-krum-none')
  taken = set()
  for _ in range(3):
    folder = run_folder.default_folder(experiment())
    folder.mkdir(parents=True)
    taken.add(folder)
  assert len(taken) == 3
