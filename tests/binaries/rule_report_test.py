import csv
import json
import pathlib
import subprocess
import sys

import pytest

from binaries import rule_report
from tff_robust import registry
from tff_robust.testing import rule_contract, rule_findings

SETTINGS = {'num_stacks': 20, 'num_clients': 9, 'max_byzantine': 2, 'seed': 1}


def entry(**values):
  base = {'rule': 'krum', 'n': 25, 'd': 100, 'where': 'cpu', 'seconds': 0.25, 'ratio': 0.5}
  return {**base, 'byzfl_seconds': 0.5, 'flwr_seconds': None, **values}


def benchmark(path, entries):
  sections = [{'figures': {}}, {'figures': {'rules': entries}}]
  path.write_text(json.dumps({'machine': {}, 'sections': sections}))
  return path


def test_report_has_a_row_for_each_rule_with_all_its_columns(tmp_path, capsys):
  speeds = rule_report.read_speeds(benchmark(tmp_path / 'benchmark.json', [entry()]))
  status = rule_report.run(tmp_path / 'report', ['mean', 'krum'], SETTINGS, speeds)
  assert status == 0
  text = (tmp_path / 'report' / 'rule_report.md').read_text()
  assert text in capsys.readouterr().out
  lines = {line.split(' | ')[0].strip('| '): line.split(' | ') for line in text.splitlines()}
  promises = len(rule_contract.PROMISES)
  assert lines['mean'][2] == f'{promises - 2} of {promises}, 2 explained'
  assert lines['krum'][2] == f'{promises} of {promises}'
  assert float(lines['krum'][1]) < 1e-6
  assert lines['krum'][3] == '9.33'  # 7 / 4 * (2 + 4 * 5 / 6)
  assert 0 < float(lines['krum'][4].split()[0]) < 9.33 < float(lines['mean'][4].split()[0])
  assert lines['krum'][5] == '0.25 s, 0.50 times the faster peer (n=25, d=100, cpu) |'
  assert lines['mean'][3] == lines['mean'][5].rstrip(' |') == '-'
  assert 'mean deviates from survives_far_rows: It has no robustness' in text
  with (tmp_path / 'report' / 'rule_report.csv').open(newline='') as file:
    rows = list(csv.DictReader(file))
  assert [row['rule'] for row in rows] == ['mean', 'krum']
  assert rows[0]['deviations'] == ' '.join(registry.AGGREGATORS['mean'].deviations)
  plain = json.loads((tmp_path / 'report' / 'rule_report.json').read_text())
  assert [row['passed'] for row in plain['rules']] == [True, True]
  assert plain['rules'][1]['speed'] == [entry()]


def test_a_broken_promise_is_written_and_is_a_failure(tmp_path, monkeypatch, capsys):
  honest = registry.AGGREGATORS['mean']._replace(deviations={})
  monkeypatch.setitem(registry.AGGREGATORS, 'mean', honest)
  assert rule_report.run(tmp_path, ['mean'], SETTINGS, {}) == 1
  text = capsys.readouterr().out
  assert '| 15 of 17 |' in text
  assert "mean breaks survives_far_rows: AssertionError: rule 'mean' with n=" in text


@pytest.mark.parametrize(
  ('deviation', 'note'),
  [
    (0.002, '- krum fails: it is off its oracle by 2.0e-03, more than 0.001.'),
    (float('inf'), '- krum fails: it is off its oracle by inf, more than 0.001.'),
    (0.001, None),
    (None, None),
  ],
)
def test_a_rule_that_is_off_its_oracle_fails_and_is_said_to(
  tmp_path, monkeypatch, capsys, deviation, note
):
  monkeypatch.setattr(rule_findings, 'oracle_deviation', lambda *args, **kwargs: deviation)
  status = rule_report.run(tmp_path, ['krum'], SETTINGS, {})
  notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith('- krum')]
  assert (status, notes) == ((0, []) if note is None else (1, [note]))


def test_speed_names_the_largest_size_on_each_device():
  entries = [entry(), entry(d=10**6, seconds=2.0, ratio=None), entry(where='gpu:0', seconds=0.125)]
  assert rule_report.speed(entries) == (
    '2 s (n=25, d=1000000, cpu); 0.125 s, 0.50 times the faster peer (n=25, d=100, gpu:0)'
  )
  assert rule_report.speed([]) == '-'


def test_speed_leaves_out_sizes_at_which_a_rule_gave_up():
  gave_up = entry(d=10**6, seconds=None, ratio=None)
  assert rule_report.speed([entry(), gave_up]) == (
    '0.25 s, 0.50 times the faster peer (n=25, d=100, cpu)'
  )
  assert rule_report.speed([gave_up]) == '-'


@pytest.mark.slow
def test_one_command_measures_speed_too(tmp_path):
  command = [
    *(sys.executable, '-m', 'binaries.rule_report', '--rules=mean', '--num_stacks=5'),
    *('--speed_sections=n25_d1e5', f'--output_dir={tmp_path}'),
  ]
  done = subprocess.run(
    command, cwd=pathlib.Path(__file__).parents[2], capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  plain = json.loads((tmp_path / 'rule_report.json').read_text())
  assert [figures['where'] for figures in plain['rules'][0]['speed']] == ['eager', 'federated']
  row = next(line for line in done.stdout.splitlines() if line.startswith('| mean'))
  for figures in plain['rules'][0]['speed']:
    assert (figures['n'], figures['d']) == (25, 10**5)
    assert 0 < figures['seconds'] < 60
    assert f'{figures["seconds"]:.3g} s (n=25, d=100000, {figures["where"]})' in row


@pytest.mark.parametrize(
  ('content', 'words'),
  [
    (None, 'FileNotFoundError'),
    ('{', 'JSONDecodeError'),
    ('{"sections": [{}]}', 'KeyError'),
    ('{"sections": []}', 'holds no rules'),
    ('{"sections": [{"figures": {"rules": [{"rule": "krum"}]}}]}', 'entry without'),
  ],
)
def test_a_file_that_is_no_benchmark_of_rules_is_refused(tmp_path, content, words):
  path = tmp_path / 'benchmark.json'
  if content is not None:
    path.write_text(content)
  with pytest.raises(ValueError, match=words) as caught:
    rule_report.read_speeds(path)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('flag', 'words'),
  [
    ('--rules=', 'rules is an empty list'),
    ('--rules=krun', "Did you mean 'krum'"),
    ('--max_byzantine=6', 'less than half of num_clients=11'),
    ('--benchmark=nowhere.json', 'nowhere.json'),
    ('--num_stacks=0', '--num_stacks=0'),
    ('--output_dir=README.md', 'README.md is a file'),
    ('--speed_sections=', 'speed_sections is an empty list'),
    ('--speed_sections=n3_d7', 'n3_d7'),
    ('--peers_python=python3', 'no effect without speed_sections'),
    ('--speed_sections=n25_d1e5 --benchmark=EXISTING', 'no effect with speed_sections'),
    ('--speed_sections=n25_d1e5 --peers_python=/no/such/python', 'is no program'),
  ],
)
def test_bad_flags_are_refused_in_one_sentence_without_tensorflow(tmp_path, flag, words):
  code = (
    "import sys; sys.modules['tensorflow'] = None; sys.argv[0] = 'rule_report';"
    'from binaries import command_line, rule_report;'
    'command_line.run(rule_report.define_flags, rule_report.prepare, takes_plugins=True)'
  )
  existing = benchmark(tmp_path / 'benchmark.json', [entry()])
  done = subprocess.run(
    [sys.executable, '-c', code, *flag.replace('EXISTING', str(existing)).split()],
    cwd=pathlib.Path(__file__).parents[2],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2, done.stderr
  assert words in done.stderr
  assert done.stderr.count('\n') == 1
