"""Waits for TFF's asynchronous managers from plain code."""

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar('T')


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
  """Returns the result of a coroutine, also where an event loop runs already (notebooks)."""
  with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
    return pool.submit(lambda: asyncio.run(coroutine)).result()
