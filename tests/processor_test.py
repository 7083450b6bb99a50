"""A process that is confined to some cores counts those alone."""

import importlib.util
import os
import sys
import types

import pytest

from binaries.benchmarks import machine, torch_threads
from tff_robust import processor
from tff_robust.aggregators import column_blocks


@pytest.fixture
def _five_of_twelve_cores(monkeypatch):
  monkeypatch.setattr(os, 'cpu_count', lambda: 12)
  monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {2, 3, 5, 7, 11}, raising=False)


@pytest.mark.usefixtures('_five_of_twelve_cores')
def test_counts_the_cores_that_the_process_may_use():
  assert processor.num_cores() == 5
  assert machine.describe()['cores'] == 5


@pytest.mark.parametrize(('known', 'expected'), [(12, 12), (None, 1)])
def test_where_a_system_confines_no_process_all_cores_count(monkeypatch, known, expected):
  monkeypatch.setattr(os, 'cpu_count', lambda: known)
  monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
  assert processor.num_cores() == expected


@pytest.mark.usefixtures('_five_of_twelve_cores')
def test_blocks_of_columns_in_flight_are_as_many_as_cores():
  spec = importlib.util.spec_from_file_location('column_blocks_anew', column_blocks.__file__)
  anew = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(anew)
  assert anew.PARALLEL_BLOCKS == 5


@pytest.mark.usefixtures('_five_of_twelve_cores')
def test_pytorch_is_tried_with_as_many_threads_as_cores_and_with_one(monkeypatch):
  tried = []
  monkeypatch.setitem(sys.modules, 'torch', types.SimpleNamespace(set_num_threads=tried.append))
  torch_threads.use_best(lambda: None)
  # Once to warm up, each once, and then the faster.
  assert tried[:-1] == [5, 1, 5]
  assert tried[-1] in (1, 5)
