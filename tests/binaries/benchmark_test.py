import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from binaries.benchmarks import (
  contender,
  gather_section,
  machine,
  processes,
  race,
  report,
  sections,
  suites,
)
from binaries.benchmarks import work as work_lib

ROOT = pathlib.Path(__file__).parents[2]

# A contender without TensorFlow: a work sleeps as many milliseconds as it has clients.
SLEEPER = """
import time
from binaries.benchmarks import serving

def build(work):
  if work['num_clients'] == 13:
    raise ValueError('thirteen\\nclients')
  held = bytearray(work['num_batches'] << 20)
  def run():
    print('noise on standard output')
    grown = bytearray(work['batch_size'] << 20)
    time.sleep(work['num_clients'] / 1000)
    return float(work['num_clients'])
  return run

serving.serve(build, describe=lambda: {'kind': 'sleeper'})
"""


def sleeper(code=SLEEPER, **options):
  return contender.Contender('sleeper', [sys.executable, '-c', textwrap.dedent(code)], **options)


def sleep_work(milliseconds, **fields):
  return work_lib.RoundWork(implementation='by_hand', num_clients=milliseconds, **fields)


def timing(name, *seconds, **fields):
  return race.Timing(name=name, seconds=list(seconds), **fields)


@pytest.fixture
def process():
  running = sleeper()
  yield running
  running.close()


def test_race_orders_works_by_the_time_they_take(process):
  slow, fast = race.run(
    [race.Entry('slow', process, sleep_work(80)), race.Entry('fast', process, sleep_work(5))],
    repetitions=3,
  )
  assert len(slow.seconds) == len(fast.seconds) == 3
  assert slow.median >= 0.08
  assert min(fast.seconds) < slow.median
  assert (slow.first.figure, fast.first.figure) == (80.0, 5.0)
  assert process.facts == {'kind': 'sleeper'}
  assert process.start_seconds > slow.first.first_seconds


def test_calls_that_warm_up_are_made_and_not_timed(process, monkeypatch):
  asked = []
  original = process.run
  monkeypatch.setattr(process, 'run', lambda *call: asked.append(call) or original(*call))
  (found,) = race.run([race.Entry('a', process, sleep_work(1))], repetitions=2, warm_up=3)
  assert asked == [('a', 3), ('a',), ('a',)]
  assert len(found.seconds) == 2


def test_entry_that_fails_says_why_and_the_others_go_on(process):
  failed, other = race.run(
    [race.Entry('a', process, sleep_work(13)), race.Entry('b', process, sleep_work(1))],
    repetitions=2,
  )
  assert failed.error == 'ValueError: thirteen clients'
  assert failed.median is None
  assert len(other.seconds) == 2
  assert not other.error


def test_process_that_dies_is_reported_with_its_last_words():
  dying = sleeper("import sys; sys.exit('no such accelerator')")
  first, second = race.run(
    [race.Entry('a', dying, sleep_work(1)), race.Entry('b', dying, sleep_work(1))], repetitions=1
  )
  assert 'ended by itself' in first.error
  assert 'no such accelerator' in first.error
  assert second.error == first.error


def test_process_that_does_not_answer_is_given_up_and_ended():
  silent = sleeper('import sys, time\nsys.stdin.readline()\ntime.sleep(600)', answer_seconds=1.0)
  start = time.monotonic()
  (found,) = race.run([race.Entry('a', silent, sleep_work(1))], repetitions=1)
  assert 'no answer within 1 s' in found.error
  assert time.monotonic() - start < 60


class Spinning:
  """A contender whose threads use the processor for a while after each call."""

  def __init__(self, name, events, rests_after):
    self.name, self.events, self.rests_after = name, events, rests_after
    self.seconds, self.busy = 0.0, 0

  def prepare(self, key, work):
    self.run(key)
    return contender.Preparation(0.0, 0.0, 0.0, figure=1.0, peak_bytes=None)

  def run(self, key, times=1):
    self.events.append(f'{self.name} runs')
    self.busy = self.rests_after
    return 0.001

  def cpu_seconds(self):
    self.events.append(f'{self.name} rests' if not self.busy else f'{self.name} spins')
    if self.busy:
      self.busy -= 1
      self.seconds += 0.02
    return self.seconds

  def forget(self, key):
    del key


def test_a_turn_begins_when_the_one_before_rests():
  events = []
  entries = [
    race.Entry(name, Spinning(name, events, spins), sleep_work(1))
    for name, spins in (('a', 3), ('b', 0))
  ]
  race.run(entries, repetitions=2)
  for position in [i for i, event in enumerate(events) if event == 'b runs']:
    before = events[:position]
    own = [event for event in before if event.startswith('a')]
    assert own[-1] == 'a rests'


def test_a_contender_that_never_rests_is_waited_for_no_longer_than_a_second():
  restless = Spinning('a', [], 10**9)
  restless.run('a')
  start = time.monotonic()
  race._let_rest(restless)
  assert 0.9 < time.monotonic() - start < 20


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_memory_of_the_first_call_counts_its_peak_and_not_what_was_held(process):
  entry = race.Entry('a', process, sleep_work(1, num_batches=200, batch_size=64))
  (found,) = race.run([entry], repetitions=1)
  assert 60 << 20 < found.first.peak_bytes < 120 << 20
  # The repetition needs as much again, at a time when the first call's is free or still kept.
  assert found.first.peak_bytes <= found.peak_bytes < 240 << 20


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_processor_time_counts_children():
  code = 'import time\nwhile time.process_time() < 0.4: pass\ntime.sleep(30)'
  parent = subprocess.Popen(
    [
      sys.executable,
      '-c',
      f'import subprocess, sys; subprocess.run([sys.executable, "-c", {code!r}])',
    ],
    start_new_session=True,
  )
  try:
    deadline = time.monotonic() + 60
    while processes.cpu_seconds(parent.pid) < 0.4 and time.monotonic() < deadline:
      time.sleep(0.1)
    assert processes.cpu_seconds(parent.pid) >= 0.4
  finally:
    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait()


def test_budget_ends_the_repetitions_of_a_slow_entry_only(process):
  slow, fast = race.run(
    [race.Entry('slow', process, sleep_work(150)), race.Entry('fast', process, sleep_work(1))],
    repetitions=4,
    budget_seconds=0.2,
  )
  assert len(slow.seconds) == 1
  assert slow.seconds[0] != slow.first.first_seconds
  assert len(fast.seconds) > 1


def test_very_slow_entry_is_done_once(process):
  (found,) = race.run(
    [race.Entry('slow', process, sleep_work(150))], repetitions=4, budget_seconds=0.01
  )
  assert found.seconds == [found.first.first_seconds]


def test_process_that_failed_can_be_renewed():
  code = SLEEPER.replace("raise ValueError('thirteen\\nclients')", 'raise SystemExit(1)')
  mortal = sleeper(code)
  entry = race.Entry('a', mortal, sleep_work(1))
  try:
    (died,) = race.run([race.Entry('b', mortal, sleep_work(13))], repetitions=1)
    (refused,) = race.run([entry], repetitions=1)
    mortal.renew()
    (renewed,) = race.run([entry], repetitions=1)
  finally:
    mortal.close()
  assert 'ended by itself' in died.error
  assert refused.error == died.error
  assert not renewed.error


def test_process_does_not_see_variables_that_are_kept_from_it(monkeypatch):
  monkeypatch.setenv('KEPT', '1')
  code = SLEEPER.replace("{'kind': 'sleeper'}", "{'kept': 'KEPT' in __import__('os').environ}")
  facts = []
  for without in ([], ['KEPT']):
    started = sleeper(code, without=without)
    race.run([race.Entry('a', started, sleep_work(1))], repetitions=0)
    started.close()
    facts.append(started.facts)
  assert facts == [{'kept': True}, {'kept': False}]


def test_ratio_is_that_of_the_medians():
  section = sections.Section(
    name='a', title='A', timings=[timing('ours', 3.0, 9.0, 4.0), timing('theirs', 2.0)]
  )
  aim = sections.Aim(entry='ours', reference='theirs', factor=1.5)
  assert report.ratio(section, aim) == 2.0
  assert report.ratio(section, sections.Aim(entry='ours', reference='x', factor=1.0)) is None


def test_markdown_tells_missed_aims_and_rows_that_did_not_run():
  section = sections.Section(
    name='a',
    title='A table',
    timings=[timing('ours', 2.0), timing('theirs', 1.0), timing('native', error='no worker')],
    aims=[
      sections.Aim(entry='ours', reference='theirs', factor=1.5),
      sections.Aim(entry='ours', reference='theirs', factor=2.5),
      sections.Aim(entry='ours', reference='native', factor=1.0),
    ],
    facts=['A fact.'],
    load_average=0.25,
  )
  lines = report.markdown({'cores': 2}, [section]).splitlines()
  assert '- cores: 2' in lines
  assert '## A table' in lines
  assert '| native | not run: no worker | | | |' in lines
  assert '- ours over theirs: 2.00 times, aim at most 1.5: missed.' in lines
  assert '- ours over theirs: 2.00 times, aim at most 2.5: met.' in lines
  assert '- ours over native: not measured.' in lines
  assert '- A fact.' in lines
  assert '- Load average at the end: 0.25.' in lines


def test_report_writes_figures_that_a_program_can_read(tmp_path):
  section = sections.Section(
    name='growth', title='Growth', timings=[timing('ours', 2.0, 4.0)],
    figures={'curves': {'clients': [
      {'runtime': 'native', 'value': 10, 'rate': 2.0},
      {'runtime': 'native', 'value': 20, 'rate': 1.0},
    ]}},
  )  # fmt: skip
  files = report.write(tmp_path / 'new', {'cores': 2}, [section])
  assert [file.name for file in files] == ['benchmark.md', 'benchmark.json', 'growth.png']
  assert files[2].read_bytes().startswith(b'\x89PNG')
  plain = json.loads(files[1].read_text())
  assert plain['machine'] == {'cores': 2}
  assert plain['sections'][0]['timings'][0]['median'] == 3.0


def test_onednn_is_read_from_what_tensorflow_logged():
  log = 'I port.cc:111] oneDNN custom operations are on. You may see slightly different results'
  assert machine.onednn(log) == 'on'
  assert machine.onednn('nothing of the kind') == 'off'


@pytest.mark.parametrize('target', [1e4, 1e5, 1e6, 1e7])
def test_dense_network_has_about_the_number_of_parameters(target):
  width = work_lib.hidden_units(target)
  assert 3072 * width + width + 10 * width + 10 == pytest.approx(target, rel=0.1)


@pytest.mark.parametrize(
  'work',
  [
    work_lib.RoundWork(implementation='ours', private=True),
    work_lib.GatherWork(implementation='by_hand', num_clients=25, dimension=10),
    work_lib.RuleWork(
      implementation='ours',
      kind='aggregator',
      rule='krum',
      options={'max_byzantine': 2},
      num_clients=25,
      dimension=10,
    ),
  ],
)
def test_work_survives_the_way_to_another_process(work):
  assert work_lib.from_json(json.loads(json.dumps(work_lib.to_json(work)))) == work


def test_krum_of_the_benchmark_is_as_strict_as_its_bound_allows():
  work = work_lib.GatherWork(implementation='ours', num_clients=25, dimension=10)
  assert work.max_byzantine == 11


# A benchmark of one section, whose contender has a worker and does a work without an end.
ENDLESS = '''
import contextlib, pathlib, subprocess, sys
from binaries import benchmark, command_line
from binaries.benchmarks import contender, suites, work

CODE = """
import subprocess, sys
from binaries.benchmarks import serving
worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
serving.serve(lambda work: lambda: 1.0, describe=lambda: {'worker': worker.pid})
"""

def endless(options):
  with contextlib.closing(contender.Contender('a', [sys.executable, '-c', CODE])) as running:
    running.prepare('a', work.RoundWork(implementation='ours'))
    print(running.facts['worker'], flush=True)
    while True:
      running.run('a')

suites.SUITES = {'runtime': {'fed_sgd': endless}}
command_line.run(benchmark.define_flags, benchmark.prepare)
'''


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_benchmark_that_is_terminated_leaves_no_worker():
  process = subprocess.Popen(
    [sys.executable, '-c', ENDLESS], cwd=ROOT, stdout=subprocess.PIPE, text=True
  )
  try:
    command = pathlib.Path('/proc', process.stdout.readline().strip(), 'cmdline')
    assert b'time.sleep(600)' in command.read_bytes()
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
  finally:
    process.kill()
    process.communicate()
  deadline = time.monotonic() + 30
  # A process that has ended and was not yet waited for has an empty command line.
  while command.exists() and command.read_bytes() and time.monotonic() < deadline:
    time.sleep(0.05)
  assert not (command.exists() and command.read_bytes())


def test_sections_are_named_after_what_measures_them():
  runtime = suites.SUITES['runtime']
  assert {name for name, measure in runtime.items() if measure.__name__ == name} == set(runtime)


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--sections=fed_sgd,nothing', 'nothing'),
    ('--device=tpu', 'device'),
    ('--torch_python=/no/such/python', '/no/such/python'),
    ('--suite=everything', 'suite'),
    ('--suite=rules --sections=fed_sgd', 'fed_sgd'),
    ('--suite=rules --rules=krum,nothing', 'nothing'),
    ('--suite=rules --peers_python=/no/such/python', '/no/such/python'),
    ('--sections=', 'sections is an empty list'),
    ('--suite=rules --rules=', 'rules is an empty list'),
    ('--rules=krum', "rules has no effect with suite 'runtime'"),
    ('--peers_python=python3', "peers_python has no effect with suite 'runtime'"),
    ('--suite=rules --torch_python=python3', "torch_python has no effect with suite 'rules'"),
  ],
)
def test_bad_flags_are_refused_in_one_line_before_tensorflow(flag, words):
  found = subprocess.run(
    [sys.executable, '-m', 'binaries.benchmark', *flag.split()],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert found.returncode == 2
  assert len(found.stderr.splitlines()) == 1
  assert words in found.stderr


@pytest.mark.slow
def test_our_round_and_the_one_by_hand_train_the_same_model(tmp_path):
  options = sections.Options(device='cpu', repetitions=1, smoke=True)
  work = work_lib.RoundWork(implementation='by_hand', num_clients=3)
  with sections.Contenders(options) as contenders:
    found = race.run(
      [
        race.Entry('by hand', contenders.tensorflow, work),
        *[
          race.Entry(
            f'{implementation} {resident}',
            contenders.accelerated,
            work_lib.RoundWork(implementation=implementation, num_clients=3, resident=resident),
          )
          for implementation, resident in (('ours', True), ('ours', False), ('tff', False))
        ],
      ],
      repetitions=1,
    )
  assert [timing.error for timing in found] == [''] * 4
  assert found[0].first.figure > 0
  for timing_found in found[1:]:
    assert timing_found.first.figure == pytest.approx(found[0].first.figure, rel=1e-5)


@pytest.mark.slow
def test_gathered_krum_chooses_the_row_that_the_rule_chooses():
  section = gather_section.gather(sections.Options(device='cpu', repetitions=1, smoke=True))
  assert [timing.error for timing in section.timings] == ['', '', '']
  eager, *others = [timing.first.figure for timing in section.timings]
  assert eager > 0
  assert others == [eager, eager]
  assert {'need over stack, accelerated (7, 1e3)', 'peak over stack, native (7, 1e3)'} < set(
    section.figures
  )
