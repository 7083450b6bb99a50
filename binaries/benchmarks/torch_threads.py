"""How many threads PyTorch computes with."""

from __future__ import annotations

import time
from collections.abc import Callable

from tff_robust import processor

# A work that takes longer is not tried again with another number of threads.
_LONG_SECONDS = 3.0


def use_best(run: Callable[[], object]) -> None:
  """Keeps the number of threads with which PyTorch is faster: one, or one a core."""
  import torch  # type: ignore[import-not-found]

  cores = processor.num_cores()
  torch.set_num_threads(cores)
  start = time.perf_counter()
  run()
  if time.perf_counter() - start > _LONG_SECONDS:
    return
  seconds = {}
  for threads in sorted({cores, 1}):
    torch.set_num_threads(threads)
    start = time.perf_counter()
    run()
    seconds[threads] = time.perf_counter() - start
  torch.set_num_threads(min(seconds, key=lambda threads: seconds[threads]))
