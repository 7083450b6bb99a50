import os
import signal
import threading

import pytest

from tff_robust.program import interruption


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_remembered_and_the_second_interrupts(capsys, number, status):
  before = signal.getsignal(number)
  with interruption.Interruption() as stop:
    assert not stop.requested
    os.kill(os.getpid(), number)
    assert stop.requested
    assert stop.exit_status == status
    assert 'once more ends at once' in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt) as interrupt:
      os.kill(os.getpid(), number)
  assert interruption.Interruption.status_at_once(interrupt.value) == status
  assert signal.getsignal(number) is before


def test_an_interrupt_from_elsewhere_counts_as_ctrl_c():
  assert interruption.Interruption.status_at_once(KeyboardInterrupt()) == 130


def test_other_threads_handle_no_signals():
  before = signal.getsignal(signal.SIGINT)
  found = []

  def enter():
    with interruption.Interruption() as stop:
      found.append((stop.requested, signal.getsignal(signal.SIGINT)))

  thread = threading.Thread(target=enter)
  thread.start()
  thread.join()
  assert found == [(False, before)]
