"""The side of a contender: answers requests on standard input, one JSON a line.

Only the standard library is imported here, so that a Python without TensorFlow can serve.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

# Work as plain values -> a function that does it once and returns a figure of its result.
BuildWork = Callable[[dict[str, Any]], Callable[[], float]]


def serve(build: BuildWork, *, describe: Callable[[], dict[str, Any]]) -> None:
  """Answers `prepare`, `run` and `forget` until standard input ends.

  * `{"prepare": key, "work": {...}}` builds a work and answers with facts and seconds;
  * `{"run": key, "times": k}` does it k times and answers with all seconds together and the
    figure of the last result;
  * `{"forget": key}` drops it.

  Whatever else is written to standard output goes to standard error.

  Args:
    build: Makes a work.
    describe: Returns facts for the report; called when the first work is prepared.
  """
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)
  works: dict[str, Callable[[], float]] = {}
  for line in sys.stdin:
    request = json.loads(line)
    try:
      answer = _answer(request, works, build, describe)
    except Exception as error:  # The report tells the reason, whatever it is.
      answer = {'error': f'{type(error).__name__}: {" ".join(str(error).split())[:500]}'}
    answers.write(json.dumps(answer) + '\n')
    answers.flush()


def _answer(
  request: dict[str, Any],
  works: dict[str, Callable[[], float]],
  build: BuildWork,
  describe: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
  start = time.perf_counter()
  if 'prepare' in request:
    facts = describe()
    described = time.perf_counter()
    works[request['prepare']] = build(request['work'])
    return {
      'facts': facts,
      'import_seconds': described - start,
      'build_seconds': time.perf_counter() - described,
    }
  if 'forget' in request:
    works.pop(request['forget'], None)
    return {}
  run = works[request['run']]
  figure = 0.0
  for _ in range(request['times']):
    figure = run()
  return {'seconds': time.perf_counter() - start, 'figure': figure}
