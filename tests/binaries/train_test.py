"""Whole runs in processes of their own, on the embedded digits."""

import json
import pathlib
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import pytest

from tff_robust.program import history

ROOT = pathlib.Path(__file__).parents[2]
# After some 20 of them the accelerated runtime makes one graph of a round, which has to give the
# same: a run resumed in its first `EARLY` rounds comes to a graph too, later than one undisturbed.
ROUNDS, EARLY = 44, 15
FLAGS = (
  '--dataset=digits --model=logistic --num_clients=9 --clients_per_round=7'
  f' --num_rounds={ROUNDS}'
  ' --batch_size=20 --batch_sampling=poisson --l2_norm_clip=1 --noise_multiplier=0.8'
  ' --aggregator=krum --max_byzantine=2 --attack=inner_product_manipulation'
  ' --attack_epsilon=0.3 --num_byzantine=2 --attack_start=5 --seed=3 --checkpoint_every=2'
)
SECONDS = 300

pytestmark = pytest.mark.slow


def command(folder, flags=FLAGS):
  return [sys.executable, '-m', 'binaries.train', *flags.split(), f'--output_dir={folder}']


def run(arguments):
  # Into files: an orphan that held a pipe open would make the test wait for ever.
  return subprocess.run(
    arguments, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
  )


def start(arguments, folder):
  log = open(folder.with_suffix('.log'), 'w')  # noqa: SIM115
  return subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def rounds_written(folder):
  path = folder / history.FILE_NAME
  return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def wait_for_rounds(process, folder, rounds):
  deadline = time.monotonic() + SECONDS
  while rounds_written(folder) < rounds:
    assert process.poll() is None, folder.with_suffix('.log').read_text()
    assert time.monotonic() < deadline
    time.sleep(0.02)


def descendants(pid):
  """Returns the processes below a process, as Linux tells them."""
  found = []
  for entry in pathlib.Path('/proc').iterdir():
    if entry.name.isdecimal():
      try:
        parent = int((entry / 'stat').read_text().rsplit(')', 1)[1].split()[1])
      except OSError:
        continue
      if parent == pid:
        found += [int(entry.name), *descendants(int(entry.name))]
  return found


def wait_until_gone(pids):
  deadline = time.monotonic() + 30
  while any(pathlib.Path(f'/proc/{pid}').exists() for pid in pids):
    assert time.monotonic() < deadline, [
      pid for pid in pids if pathlib.Path(f'/proc/{pid}').exists()
    ]
    time.sleep(0.1)


def history_of(folder):
  kept = history.read(folder / history.FILE_NAME)
  for row in kept:
    for name in history.TIMING_COLUMNS:
      row.pop(name)
  return repr(kept)


def weights_after(folder, rounds):
  (path,) = (folder / 'checkpoints' / f'state_after_round_{rounds}').rglob('variables.data-*')
  return path.read_bytes()


@pytest.fixture(scope='module', params=['accelerated', 'native'])
def whole(request, tmp_path_factory):
  """A run that nobody disturbs, and its flags."""
  folder = tmp_path_factory.mktemp('whole') / 'run'
  flags = f'{FLAGS} --runtime={request.param}'
  done = run(command(folder, flags))
  assert done.returncode == 0, done.stderr
  return folder, done, flags


def test_a_run_leaves_history_summary_picture_and_what_was_decided(whole):
  folder, done, flags = whole
  rows = history.read(folder / history.FILE_NAME)
  assert [row['round'] for row in rows] == list(range(ROUNDS + 1))
  assert rows[5]['test_accuracy'] > 0.15
  assert [row['attack_active'] for row in rows[:-1]] == [0] * 5 + [1] * (ROUNDS - 5)
  assert {row['num_byzantine'] for row in rows[:-1]} == {2}
  found = json.loads((folder / 'summary.json').read_text())
  assert found['status'] == 'completed'
  assert found['accuracy_before_attack'] == rows[5]['test_accuracy']
  decided = json.loads((folder / 'config.json').read_text())
  assert decided['experiment']['seed'] == 3
  assert (folder / 'curves.png').stat().st_size > 10_000
  assert 'epsilon = ' in done.stdout
  assert str(folder) in done.stdout
  assert 'Traceback' not in done.stderr
  assert f'round {ROUNDS}/{ROUNDS}' in done.stderr
  assert decided['runtime'].startswith(flags.rpartition('--')[2].replace('=', ' '))


def test_a_run_killed_in_an_early_round_and_resumed_equals_the_undisturbed_one(whole, tmp_path):
  undisturbed, _, flags = whole
  folder = tmp_path / 'run'
  process = start(command(folder, flags), folder)
  wait_for_rounds(process, folder, random.SystemRandom().randint(1, EARLY))
  below = descendants(process.pid)
  process.send_signal(signal.SIGKILL)
  process.wait()
  wait_until_gone(below)
  done = run([sys.executable, '-m', 'binaries.train', '--resume', f'--output_dir={folder}'])
  assert done.returncode == 0, done.stderr
  assert history_of(folder) == history_of(undisturbed)
  assert weights_after(folder, ROUNDS) == weights_after(undisturbed, ROUNDS)
  assert 'other conditions' not in done.stderr
  (resumption,) = json.loads((folder / 'config.json').read_text())['resumptions']
  assert resumption['repeated_rounds'] >= 1
  # A control: the weights of four rounds earlier, where the resumed run has them, are others.
  assert weights_after(folder, ROUNDS - 4) != weights_after(undisturbed, ROUNDS)


def ended_by(number, folder, flags):
  """Starts a run, sends it a signal after a few rounds, and returns its status and log."""
  process = start(command(folder, f'{flags} --evaluate_every=1'), folder)
  wait_for_rounds(process, folder, 3)
  below = descendants(process.pid)
  process.send_signal(number)
  status = process.wait(SECONDS)
  wait_until_gone(below)
  assert json.loads((folder / 'summary.json').read_text())['status'] == 'interrupted'
  return status, folder.with_suffix('.log').read_text()


def test_a_run_that_is_asked_to_end_says_how_to_go_on(whole, tmp_path):
  undisturbed, _, flags = whole
  folder = tmp_path / 'run'
  status, log = ended_by(signal.SIGINT, folder, flags)
  assert status == 130
  assert 'Traceback' not in log
  (advice,) = re.findall(r'to go on: (.*)', log)
  done = run([sys.executable, '-m', 'binaries.train', *shlex.split(advice)])
  assert done.returncode == 0, done.stderr
  assert json.loads((folder / 'summary.json').read_text())['status'] == 'completed'
  assert weights_after(folder, ROUNDS) == weights_after(undisturbed, ROUNDS)


def test_a_terminated_run_ends_in_order(tmp_path):
  status, log = ended_by(signal.SIGTERM, tmp_path / 'run', f'{FLAGS} --runtime=native')
  assert status == 143
  assert 'Traceback' not in log


def test_resuming_with_other_flags_is_refused(whole):
  folder, _, _ = whole
  before = (folder / history.FILE_NAME).read_bytes()
  resume = [sys.executable, '-m', 'binaries.train', '--resume', f'--output_dir={folder}']
  done = run([*resume, '--batch_size=21'])
  assert done.returncode == 2
  assert done.stderr.startswith('--batch_size=21 differs from the run to resume')
  done = run([*resume, '--evaluate_every=4'])
  assert done.returncode == 2
  assert done.stderr.startswith('--evaluate_every=4 differs from the run to resume')
  assert (folder / history.FILE_NAME).read_bytes() == before


def test_a_run_into_a_pipe_ends_and_leaves_no_process(tmp_path):
  flags = '--model=logistic --num_rounds=2 --num_clients=3 --clients_per_round=3 --runtime=native'
  pipeline = f'{shlex.join(command(tmp_path / "run", flags))} 2>&1 | cat'
  process = subprocess.Popen(
    pipeline,
    shell=True,
    cwd=ROOT,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  below = set()
  deadline = time.monotonic() + SECONDS
  while process.poll() is None and time.monotonic() < deadline:
    below.update(descendants(process.pid))
    time.sleep(0.05)
  output, _ = process.communicate(timeout=SECONDS)
  assert 'completed after 2 of 2 rounds' in output
  # The run, `cat`, the worker and who watches over it, in a session of its own.
  assert len(below) >= 4
  wait_until_gone(below)


def test_a_model_that_diverges_is_a_result(tmp_path):
  flags = (
    '--model=mlp --num_rounds=40 --num_clients=5 --clients_per_round=5 --client_learning_rate=1e20'
  )
  done = run(command(tmp_path / 'run', flags))
  assert done.returncode == 0, done.stderr
  assert 'diverged after' in done.stdout
  found = json.loads((tmp_path / 'run' / 'summary.json').read_text())
  assert found['status'] == 'diverged'
  assert found['rounds'] < 40
  rows = history.read(tmp_path / 'run' / history.FILE_NAME)
  assert rows[-1]['round'] == found['rounds']
  assert (tmp_path / 'run' / 'curves.png').exists()


def start_worker(port):
  process = subprocess.Popen(
    [sys.executable, '-m', 'binaries.worker', f'--listen=127.0.0.1:{port}', '--client_threads=1'],
    cwd=ROOT,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  )
  assert 'worker on' in process.stdout.readline()
  return process


def unused_port():
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


def end(process):
  process.kill()
  process.wait()
  process.stdout.close()


def test_a_run_over_two_workers_that_loses_one_keeps_what_it_has(tmp_path):
  ports = [unused_port(), unused_port()]
  workers = [start_worker(port) for port in ports]
  addresses = ','.join(f'127.0.0.1:{port}' for port in ports)
  # Of no graph, and slower: fewer rounds.
  remote = f'--num_rounds=12 --runtime=remote --workers={addresses}'
  try:
    undisturbed = tmp_path / 'undisturbed'
    done = run(command(undisturbed, f'{FLAGS} {remote}'))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / 'run'
    process = start(command(folder, f'{FLAGS} {remote} --worker_retry_seconds=1'), folder)
    wait_for_rounds(process, folder, 5)
    end(workers[1])
    assert process.wait(SECONDS) == 1
    log = folder.with_suffix('.log').read_text()
    assert 'Traceback' not in log
    sentence = rf'worker 127.0.0.1:{ports[1]}: .* for \d+ seconds no try has come to its end'
    assert re.search(sentence, log, re.DOTALL)
    (advice,) = re.findall(r'To go on from the last whole round: (.*)', log)
    workers[1] = start_worker(ports[1])
    resume = [sys.executable, '-m', 'binaries.train', *shlex.split(advice)]
    done = run(resume)
    assert done.returncode == 0, done.stderr
    assert history_of(folder) == history_of(undisturbed)
    assert weights_after(folder, 12) == weights_after(undisturbed, 12)
  finally:
    for worker in workers:
      end(worker)
