"""A device is chosen before TensorFlow starts, or the choice is refused with a sentence."""

import os
import pathlib
import re
import subprocess
import sys
import types
from typing import NamedTuple

import pytest
import tensorflow as tf

from tff_robust import processor
from tff_robust.runtime import devices


@pytest.mark.parametrize(
  ('device', 'expected'),
  [('auto', True), ('cpu', True), ('gpu:0', True), ('gpu:12', True)]
  + [(device, False) for device in ('', 'gpu', 'gpu:', 'gpu:x', 'cpu:0', 'tpu:0', 'GPU:0')],
)
def test_knows_devices(device, expected):
  assert devices.is_known(device) is expected


def test_absent_gpu_is_refused():
  absent = f'gpu:{len(tf.config.list_physical_devices("GPU"))}'
  with pytest.raises(
    ValueError, match=rf"device='{absent}' is not there: TensorFlow finds \d GPUs"
  ):
    devices.choose(absent)


class _Gpu(NamedTuple):
  name: str


_GPUS = [_Gpu(f'/physical_device:GPU:{index}') for index in range(2)]


@pytest.fixture
def two_gpus(monkeypatch):
  """Returns what `choose` changes: the visible GPUs, those whose memory grows, has it started."""
  state = types.SimpleNamespace(visible=list(_GPUS), growing=[], started=False)

  def set_visible(devices, kind):
    assert kind == 'GPU'
    if devices != state.visible and state.started:
      raise RuntimeError('Visible devices cannot be modified after being initialized')
    state.visible = list(devices)

  def set_growth(gpu, grows):
    assert grows
    if gpu not in state.growing and state.started:
      raise RuntimeError('Physical devices cannot be modified after being initialized')
    state.growing.append(gpu)

  for module, name, function in (
    (tf.config, 'list_physical_devices', lambda kind: list(_GPUS)),
    (tf.config, 'get_visible_devices', lambda kind: state.visible),
    (tf.config, 'set_visible_devices', set_visible),
    (tf.config.experimental, 'set_memory_growth', set_growth),
    (tf.config.experimental, 'get_device_details', lambda gpu: {'device_name': 'a card'}),
  ):
    monkeypatch.setattr(module, name, function)
  monkeypatch.delenv('TF_FORCE_GPU_ALLOW_GROWTH', raising=False)
  return state


@pytest.mark.parametrize(
  ('device', 'chosen', 'words'),
  [
    ('auto', _GPUS, 'GPU:0 (a card)'),
    ('gpu:1', _GPUS[1:], 'GPU:1 (a card)'),
    ('cpu', [], f'the CPU ({processor.num_cores()} cores)'),
  ],
)
def test_makes_the_chosen_gpus_visible_and_their_memory_grow(two_gpus, device, chosen, words):
  assert devices.choose(device) == words
  assert two_gpus.visible == two_gpus.growing == chosen
  two_gpus.started = True
  assert devices.choose(device) == words  # It is as it was wanted already.


def test_tells_when_memory_was_taken_before_it_could_grow(two_gpus, monkeypatch):
  two_gpus.started = True
  taken = 'GPU:0 (a card), with all of its memory taken (TensorFlow had started)'
  assert devices.choose('auto') == taken
  monkeypatch.setenv('TF_FORCE_GPU_ALLOW_GROWTH', 'true')
  assert devices.choose('auto') == 'GPU:0 (a card)'
  with pytest.raises(ValueError, match="device='gpu:1' comes too late"):
    devices.choose('gpu:1')


def test_says_nothing_of_memory_without_gpus(two_gpus):
  two_gpus.visible, two_gpus.started = [], True
  assert devices.choose('cpu') == f'the CPU ({processor.num_cores()} cores)'


def _run(program, *arguments, **environment):
  root = pathlib.Path(devices.__file__).parents[2]
  unset = ('TF_ENABLE_ONEDNN_OPTS', devices.OPERATION_THREADS)
  base = {key: value for key, value in os.environ.items() if key not in unset}
  return subprocess.run(
    [sys.executable, '-c', program, *arguments],
    cwd=root,
    env={**base, **environment},
    capture_output=True,
    text=True,
    check=True,
  ).stdout.splitlines()


_PREPARE = """
import os, sys
from tff_robust.runtime import devices
print(devices.prepare())
print(os.environ['TF_ENABLE_ONEDNN_OPTS'], 'tensorflow' in sys.modules)
"""


def test_switches_on_onednn_before_tensorflow_is_imported():
  assert _run(_PREPARE) == ['oneDNN on', '1 False']


def test_leaves_the_users_choice_of_onednn_alone():
  assert _run(_PREPARE, TF_ENABLE_ONEDNN_OPTS='0') == ['oneDNN off', '0 False']


_SHARED = """
import sys
import tensorflow as tf
from tff_robust import processor
from tff_robust.runtime import accelerated, devices
processor.num_cores = lambda: 6
if 'started' in sys.argv:
  tf.zeros([])
if 'chosen' in sys.argv:
  tf.config.threading.set_intra_op_parallelism_threads(5)
with accelerated.accelerated_context(client_threads=int(sys.argv[1])):
  print(tf.config.threading.get_intra_op_parallelism_threads())
  print(devices.describe_operation_threads())
"""


@pytest.mark.parametrize(
  ('arguments', 'environment', 'expected'),
  [
    (['2'], {}, ['3', 'operations on 3 threads each']),
    (['7'], {}, ['1', 'operations on 1 thread each']),
    (['2', 'chosen'], {}, ['5', 'operations on 5 threads each']),
    (['2'], {'TF_NUM_INTRAOP_THREADS': '4'}, ['0', 'operations on 4 threads each']),
    (['2', 'started'], {}, ['0', "operations on as many threads as TensorFlow's default"]),
  ],
)
def test_clients_share_the_cores_unless_it_was_chosen_or_is_too_late(
  arguments, environment, expected
):
  assert _run(_SHARED, *arguments, **environment) == expected


@pytest.mark.parametrize('value', ['two', '-1', '2.5', '1_000', '٣', ' '])
def test_number_of_threads_that_is_none_is_refused_wherever_it_is_read(monkeypatch, value):
  monkeypatch.setenv('TF_NUM_INTRAOP_THREADS', value)
  monkeypatch.setattr(tf.config.threading, 'get_intra_op_parallelism_threads', lambda: 0)
  sentence = (
    f'TF_NUM_INTRAOP_THREADS={value!r}, an environment variable, must be a whole number, at least'
    ' 0; set it to how many threads an operation may have, or unset it.'
  )
  for read in (
    devices.check_operation_threads,
    devices.describe_operation_threads,
    lambda: devices.share_cores(2),
  ):
    with pytest.raises(ValueError, match=f'^{re.escape(sentence)}$'):
      read()


@pytest.mark.parametrize(
  ('value', 'expected'),
  [
    ('', "as many threads as TensorFlow's default"),
    ('0', "as many threads as TensorFlow's default"),
  ]
  + [('1', '1 thread each'), (' 12', '12 threads each')],
)
def test_number_of_threads_in_the_environment_is_told(monkeypatch, value, expected):
  monkeypatch.setenv('TF_NUM_INTRAOP_THREADS', value)
  monkeypatch.setattr(tf.config.threading, 'get_intra_op_parallelism_threads', lambda: 0)
  devices.check_operation_threads()
  assert devices.describe_operation_threads() == f'operations on {expected}'


def test_describes_the_cpu_by_its_cores(monkeypatch):
  monkeypatch.setattr(tf.config, 'get_visible_devices', lambda kind: [])
  assert devices.describe('auto') == f'the CPU ({processor.num_cores()} cores)'
  assert devices.default_client_threads('auto') == processor.num_cores() >= 1


def test_one_client_at_a_time_on_a_gpu(monkeypatch):
  monkeypatch.setattr(tf.config, 'get_visible_devices', lambda kind: ['a GPU'])
  assert devices.default_client_threads('auto') == 1
  assert devices.default_client_threads('cpu') == processor.num_cores()
