import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from binaries.benchmarks import (
  gather_section,
  machine,
  race,
  report,
  round_sections,
  sections,
  suites,
)
from binaries.benchmarks import work as work_lib

ROOT = pathlib.Path(__file__).parents[2]


def timing(name, *seconds, **fields):
  return race.Timing(name=name, seconds=list(seconds), **fields)


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
    ('--output_dir=README.md', 'README.md is a file'),
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


@pytest.mark.parametrize(
  ('section', 'expected'),
  [
    # 20 rounds, then the first of the graph, and 10 that are compared.
    (round_sections.fed_sgd, 31),
    (round_sections.dp_sgd, 31),
    # Of clients that take longer, no graph is made.
    (round_sections.fed_avg, 0),
  ],
)
def test_rounds_are_timed_when_it_is_decided_whether_they_are_one_graph(
  section, expected, monkeypatch
):
  asked = []
  monkeypatch.setattr(race, 'run', lambda entries, **options: asked.append(options) or [])
  section(sections.Options())
  assert [options['warm_up'] for options in asked] == [expected]


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
