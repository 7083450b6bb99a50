import io

from tff_robust.program import history, progress


class Terminal(io.StringIO):
  def isatty(self):
    return True


def shown(stream, *, num_rounds, first_round=0, show_bar=True):
  bar = progress.Progress(num_rounds, first_round=first_round, show_bar=show_bar, stream=stream)
  for round_number in range(first_round, num_rounds):
    row = history.blank_row(round_number, 0.0)
    if round_number % 10 == 0:
      row['test_accuracy'] = 0.5 + round_number / 1000
    bar.update(row)
  bar.close()
  return stream.getvalue()


def test_about_twenty_plain_lines_where_there_is_no_terminal():
  lines = shown(io.StringIO(), num_rounds=1000).splitlines()
  assert len(lines) == 20
  assert lines[0].startswith('round 50/1000, ')
  assert 'rounds/s' in lines[0]
  assert lines[0].endswith('test accuracy 0.540')
  assert lines[-1].startswith('round 1000/1000, ')


def test_a_short_run_shows_every_round():
  assert len(shown(io.StringIO(), num_rounds=3).splitlines()) == 3


def test_a_terminal_gets_a_bar_with_rate_and_accuracy():
  text = shown(Terminal(), num_rounds=20)
  assert '20/20' in text
  assert 'round/s' in text
  assert 'test accuracy 0.5' in text


def test_no_bar_when_none_is_wanted():
  text = shown(Terminal(), num_rounds=2, show_bar=False)
  assert text.splitlines()[0].startswith('round 1/2')


def test_a_resumed_run_goes_on_counting():
  lines = shown(io.StringIO(), num_rounds=10, first_round=8).splitlines()
  assert [line.split(',')[0] for line in lines] == ['round 9/10', 'round 10/10']
  assert '20/20' in shown(Terminal(), num_rounds=20, first_round=15)
