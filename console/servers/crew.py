"""The same work for many servers side by side, where those that keep silent do not hold up the rest."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
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

LEAST, CROWDED_S, FREE_S = 4, 0.0004, 0.0001
"""Never fewer than so many at once for a crowd; and what it takes to be one, and to be none: the time, on average of the last, in which
the interpreter comes back to a thread that gave it away. A window's thread waits for it as long, hundreds of times for each picture."""

BEHIND = 5
"""How much nicer than the window's thread those beside it are, so that it gets a processor first; not more, or what else runs on the
machine would keep from its end whoever holds the interpreter."""

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


class Pace:
    """How many work at once beside a window: few while the threads of this program keep each other from running, for more of them would
    keep the window's thread waiting, and as many as allowed while they wait for servers.

    Attributes:
        now: how many. wait_s: how long a thread waits for the interpreter, as an average that forgets.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter, give_way: Callable[[], object] = lambda: time.sleep(0)):
        self.now, self.wait_s = min(LEAST, most), 0.0
        self._most, self._clock, self._give_way = most, clock, give_way

    def look(self) -> None:
        """Give the interpreter away once, and see how long it stays away."""
        began = self._clock()
        self._give_way()
        self.wait_s += (self._clock() - began - self.wait_s) / 4
        if self.wait_s > CROWDED_S and self.now > LEAST:
            self.now = max(LEAST, self.now // 2)
        elif self.wait_s < FREE_S:
            self.now = min(self.now * 2, self._most)


def _step_behind() -> None:
    """Give this thread, and those that it starts, a lower priority, where the system has one for each."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            own = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + BEHIND)
    elif sys.platform == "win32":
        import ctypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.GetCurrentThread.restype = ctypes.c_void_p
        kernel.SetThreadPriority(ctypes.c_void_p(kernel.GetCurrentThread()), -1)  # THREAD_PRIORITY_BELOW_NORMAL


def results(items: Iterable[Item], work: Callable[[Item, Turn], Result], threads: int, *, name: str = "crew",
            checkpoint: Callable[[], object] = lambda: None, most: int = MOST, finish: bool = False, pace: Pace | None = None) -> Iterator[Result]:  # fmt: skip
    """What ``work`` gives for each item, as it comes; ``threads`` at a time, or as many as ``pace`` says, those not counted that take long.

    ``checkpoint`` is called now and then while nothing comes, and ends the whole by raising.

    Whoever stops taking results leaves threads behind that end with their work, for the caller to wake them; with ``finish``,
    for work that changes something, what was begun is waited for. An exception of ``work`` is raised here, and ends the whole.
    """
    waiting, running, ended = deque(items), dict[int, Turn](), queue.SimpleQueue()

    def run(number: int, item: Item, turn: Turn) -> None:
        if pace:
            _step_behind()
        try:
            ended.put((number, work(item, turn), None))
        except BaseException as problem:  # it belongs to whoever takes the results
            ended.put((number, None, problem))

    begun = 0
    try:
        while waiting or running:
            now = time.monotonic()
            fresh = [until for until in (turn.counts_until() for turn in running.values()) if until > now]
            for _free in range(min((pace.now if pace else threads) - len(fresh), most - len(running), len(waiting))):
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
            finally:
                if pace:
                    pace.look()
            del running[number]
            if problem is not None:
                raise problem
            yield result
    finally:
        while finish and running:
            del running[ended.get()[0]]
