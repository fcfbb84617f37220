"""Work done by several threads at once, its answers in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_A = TypeVar("_A")


def in_step(pool: ThreadPoolExecutor, work: Iterable[Callable[[], _A]], ahead: int = 0) -> Iterator[_A]:
    """Answers in order, with only a few tasks handed over at a time: the queue of a bundle with a million objects would
    otherwise stand in memory.

    Args:
        ahead: how many tasks may wait or run; four for each core when not given.
    """
    pending: deque[Future[_A]] = deque()
    try:
        for task in work:
            pending.append(pool.submit(task))
            if len(pending) > (ahead or 4 * (os.cpu_count() or 1)):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
