"""The same work for many servers side by side, where those that keep silent do not hold up the rest."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

PATIENCE_S = 3.0
"""Work that has gone on for this long is mostly waiting for its server: it no longer counts, and other work is begun beside it."""

MOST = 256
"""Never more than so many at once, however many of them wait."""

CHECK_S = 0.3
"""How often a cancel is looked for while nothing comes."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def results(items: Iterable[Item], work: Callable[[Item], Result], threads: int, *, name: str = "crew",
            checkpoint: Callable[[], object] = lambda: None, patience_s: float | None = None,
            most: int = MOST) -> Iterator[Result]:  # fmt: skip
    """What ``work`` gives for each item, as it comes; ``threads`` at a time, those not counted that take long.

    ``checkpoint`` is called now and then while nothing comes, and ends the whole by raising.

    Whoever stops taking results leaves threads behind that end with their work; it is for the caller to wake them.
    An exception of ``work`` is raised here, and ends the whole.
    """
    patience_s = PATIENCE_S if patience_s is None else patience_s
    waiting, running, ended = deque(items), dict[int, float](), queue.SimpleQueue()

    def run(number: int, item: Item) -> None:
        try:
            ended.put((number, work(item), None))
        except BaseException as problem:  # it belongs to whoever takes the results
            ended.put((number, None, problem))

    begun = 0
    while waiting or running:
        now = time.monotonic()
        fresh = [since for since in running.values() if now - since < patience_s]
        for _free in range(min(threads - len(fresh), most - len(running), len(waiting))):
            begun += 1
            running[begun] = now
            fresh.append(now)
            threading.Thread(target=run, args=(begun, waiting.popleft()), daemon=True, name=f"{name}-{begun}").start()
        # With more work to begin, look again as soon as the oldest of those that count does so no longer.
        more = waiting and fresh and len(running) < most
        try:
            number, result, problem = ended.get(timeout=min(CHECK_S, max(0.0, min(fresh) + patience_s - now) if more else CHECK_S))
        except queue.Empty:
            checkpoint()
            continue
        del running[number]
        if problem is not None:
            raise problem
        yield result
