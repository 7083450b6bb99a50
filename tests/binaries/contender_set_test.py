import sys

import pytest

from binaries.benchmarks import contender, contender_set, rule_section, sections


def make(name):
  return contender.Contender(name, [sys.executable, '-c', 'print("hello")'])


def test_members_keep_their_order_and_only_those_that_started_have_facts():
  contenders = contender_set.ContenderSet()
  first, second = contenders.add(make('first')), contenders.add(make('second'))
  assert contenders.everyone() == [first, second]
  assert contenders.facts() == {}
  second.facts, second.start_seconds = {'python': '3'}, 1.5
  assert list(contenders.facts()) == ['second']
  assert contenders.facts()['second'].items() >= {'python': '3', 'start_seconds': 1.5}.items()


def test_all_are_closed_when_the_context_ends_in_an_error(monkeypatch):
  closed = []
  monkeypatch.setattr(contender.Contender, 'close', lambda self: closed.append(self.name))

  def measure():
    with contender_set.ContenderSet() as contenders:
      contenders.add(make('first'))
      contenders.add(make('second'))
      raise KeyError(len(closed))

  with pytest.raises(KeyError, match='0'):
    measure()
  assert closed == ['first', 'second']


def test_sections_have_the_contenders_that_the_options_allow():
  options = sections.Options()
  names = [member.name for member in sections.Contenders(options).everyone()]
  everyone = ['stock', 'stock without oneDNN', 'native', 'accelerated', 'tf.function']
  assert names == everyone
  with_torch = sections.Contenders(sections.Options(torch_python='python'))
  assert with_torch.everyone()[-1] is with_torch.torch
  with_peers = rule_section._Contenders(sections.Options(peers_python='python'), with_memory=True)
  assert [member.name for member in with_peers.everyone()] == [
    'tf.function',
    'accelerated',
    'product',
    'memory of tf.function',
    'memory of accelerated',
    'peers',
  ]
