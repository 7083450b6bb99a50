import os
import pathlib

import pytest

from binaries import report_folder


@pytest.mark.parametrize('name', ['x' * 300, 'file', 'file/report'])
def test_a_folder_that_cannot_be_is_refused_in_one_sentence(tmp_path, name):
  (tmp_path / 'file').touch()
  with pytest.raises(ValueError, match=r'output_dir=.*; give another folder\.$'):
    report_folder.check(tmp_path / name)


def test_a_place_without_permission_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'access', lambda place, mode: pathlib.Path(place) != tmp_path)
  with pytest.raises(ValueError, match=f'no permission for {tmp_path}'):
    report_folder.check(tmp_path / 'a' / 'b')


def test_a_folder_that_is_there_may_hold_an_older_report(tmp_path):
  (tmp_path / 'rule_report.md').touch()
  report_folder.check(tmp_path)
  report_folder.check(tmp_path / 'a' / 'b')
  assert not (tmp_path / 'a').exists()
