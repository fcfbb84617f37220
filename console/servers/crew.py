"""The same work for many servers side by side, where those that keep silent do not hold up the rest."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

SILENT_S, PATIENCE_S = 0.7, 3.0
"""Work that has gone on for so long, the first while its server has not said a word, is mostly waiting: it no longer counts, and other
work is begun beside it."""

MOST = 256
"""Never more than so many at once, however many of them wait."""

CHECK_S = 0.3
"""How often a cancel is looked for while nothing comes."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Turn:
    """One piece of work under way. ``heard`` is for the work to call when its server answers for the first time."""

    def __init__(self) -> None:
        self._began, self._heard = time.monotonic(), False

    def heard(self) -> None:
        """The server is there."""
        self._heard = True

    def counts_until(self) -> float:
        """When the work stops counting, on the monotonic clock."""
        return self._began + (PATIENCE_S if self._heard else SILENT_S)


def results(items: Iterable[Item], work: Callable[[Item, Turn], Result], threads: int, *, name: str = "crew",
            checkpoint: Callable[[], object] = lambda: None, most: int = MOST, finish: bool = False) -> Iterator[Result]:  # fmt: skip
    """What ``work`` gives for each item, as it comes; ``threads`` at a time, those not counted that take long.

    ``checkpoint`` is called now and then while nothing comes, and ends the whole by raising.

    Whoever stops taking results leaves threads behind that end with their work, for the caller to wake them; with ``finish``,
    for work that changes something, what was begun is waited for. An exception of ``work`` is raised here, and ends the whole.
    """
    waiting, running, ended = deque(items), dict[int, Turn](), queue.SimpleQueue()

    def run(number: int, item: Item, turn: Turn) -> None:
        try:
            ended.put((number, work(item, turn), None))
        except BaseException as problem:  # it belongs to whoever takes the results
            ended.put((number, None, problem))

    begun = 0
    try:
        while waiting or running:
            now = time.monotonic()
            fresh = [until for until in (turn.counts_until() for turn in running.values()) if until > now]
            for _free in range(min(threads - len(fresh), most - len(running), len(waiting))):
                begun += 1
                turn = running[begun] = Turn()
                fresh.append(turn.counts_until())
                threading.Thread(target=run, args=(begun, waiting.popleft(), turn), daemon=True, name=f"{name}-{begun}").start()
            # With more work to begin, look again as soon as the first of those that count does so no longer.
            more = waiting and fresh and len(running) < most
            try:
                number, result, problem = ended.get(timeout=min(CHECK_S, max(0.0, min(fresh) - now) if more else CHECK_S))
            except queue.Empty:
                checkpoint()
                continue
            del running[number]
            if problem is not None:
                raise problem
            yield result
    finally:
        while finish and running:
            del running[ended.get()[0]]
