import itertools
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
  processes,
  race,
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


def test_process_that_dies_while_others_compute_fails_alone(process):
  dying = sleeper()
  dying.prepare('a', sleep_work(1))
  os.kill(dying._process.pid, signal.SIGKILL)
  dying._process.wait()
  # Larger than what a pipe takes without a reader.
  with pytest.raises(contender.ContenderError, match='ended by itself'):
    dying.run('a' * 200_000)
  with pytest.raises(contender.ContenderError, match='ended by itself'):
    dying.run('a')


def test_what_fails_in_the_end_has_no_median(process, monkeypatch):
  original, asked, forgotten = process.run, [], []

  def run(key, times=1):
    asked.append(key)
    if len(asked) == 2:
      raise contender.ContenderError('out of memory')
    return original(key, times)

  monkeypatch.setattr(process, 'run', run)
  monkeypatch.setattr(process, 'forget', forgotten.append)
  (found,) = race.run([race.Entry('a', process, sleep_work(1))], repetitions=3)
  assert len(found.seconds) == 1
  assert found.median is None
  assert found.error == 'out of memory'
  assert forgotten == ['a']


def test_process_that_does_not_answer_is_given_up_and_ended():
  silent = sleeper('import sys, time\nsys.stdin.readline()\ntime.sleep(600)', answer_seconds=1.0)
  start = time.monotonic()
  (found,) = race.run([race.Entry('a', silent, sleep_work(1))], repetitions=1)
  assert 'no answer within 1 s' in found.error
  assert time.monotonic() - start < 60


class Spinning:
  """A contender whose threads use the processor for a while after each call."""

  def __init__(self, name, events, rests_after, *, first_seconds=0.0, seconds=0.001):
    self.name, self.events, self.rests_after = name, events, rests_after
    self.first_seconds, self.run_seconds = first_seconds, seconds
    self.seconds, self.busy = 0.0, 0

  def prepare(self, key, work):
    self.run(key)
    return contender.Preparation(0.0, 0.0, self.first_seconds, figure=1.0, peak_bytes=None)

  def run(self, key, times=1):
    self.events.extend([f'{self.name} runs'] * times)
    self.busy = self.rests_after
    return self.run_seconds * times

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


@pytest.mark.parametrize(
  ('first_seconds', 'seconds', 'calls'),
  [
    (0.0, 0.0625, [5, 5, 5]),  # 0.2 seconds are four calls, and one is timed.
    (0.0, 0.75, [2, 2, 2]),
    (0.0, 2.0, [2, 1, 1]),  # Only after the first is it known that it is long.
    (60.0, 2.0, [1, 1, 1]),
  ],
)
def test_a_turn_begins_with_calls_that_do_not_count_unless_they_are_long(
  first_seconds, seconds, calls
):
  events = []
  own = Spinning('own', events, 0, first_seconds=first_seconds, seconds=seconds)
  other = Spinning('other', events, 0)
  entries = [race.Entry('a', own, sleep_work(1)), race.Entry('b', other, sleep_work(1))]
  timing, _ = race.run(entries, repetitions=3)
  assert timing.seconds == [seconds] * 3
  runs = [event for event in events if event.endswith('runs')]
  assert _lengths(runs, 'own runs') == [1, *calls]


def test_no_call_is_left_out_where_a_contender_goes_on():
  events = []
  own = Spinning('own', events, 0)
  entries = [race.Entry(name, own, sleep_work(1)) for name in ('a', 'b')]
  race.run(entries, repetitions=2)
  assert events.count('own runs') == 2 * (1 + 2)


def _lengths(events, wanted):
  """Returns how often `wanted` occurs without a break, each time it does."""
  return [len(list(group)) for event, group in itertools.groupby(events) if event == wanted]


def test_a_contender_that_never_rests_is_waited_for_no_longer_than_a_second():
  restless = Spinning('a', [], 10**9)
  restless.run('a')
  start = time.monotonic()
  race._let_rest(restless)
  assert 0.9 < time.monotonic() - start < 20


def test_memory_of_the_first_call_counts_its_peak_and_not_what_was_held(process):
  entry = race.Entry('a', process, sleep_work(1, num_batches=200, batch_size=64))
  (found,) = race.run([entry], repetitions=1)
  assert 60 << 20 < found.first.peak_bytes < 120 << 20
  # The repetition needs as much again, at a time when the first call's is free or still kept.
  assert found.first.peak_bytes <= found.peak_bytes < 240 << 20


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
