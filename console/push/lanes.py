"""The further connections of a push: each a worker process, fed by a thread here."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from console.push import worker
from console.push.connection import SILENCE_S
from console.push.manifest import PushPlan
from console.push.work import SPAN_BYTES, Work
from console.transport.target import Login, Target

MAX_LANES = 3
"""To one server, and in all: each takes some 33 MB, and the console is to stay under 150 MB whatever it pushes."""

WORTH_BYTES = 64 << 20
"""Less than this is over before a process has started."""

WINDOW_S = 1.5
GAIN = 1.1


@dataclass(frozen=True)
class Way:
    """How a further connection to the server is made. ``jumps`` are the bastions on the way, nearest first."""

    target: Target
    login: Login
    python: str
    jumps: tuple[tuple[Target, Login], ...] = ()


class Slots:
    """How many worker processes there may be at once, over all servers: one for each processor but the first, and not too many."""

    def __init__(self, count: int | None = None):
        usual = min(MAX_LANES, (os.cpu_count() or 1) - 1)
        self._left, self._lock = usual if count is None else count, threading.Lock()

    def take(self) -> bool:
        """Take one, if there is one left."""
        with self._lock:
            if self._left <= 0:
                return False
            self._left -= 1
            return True

    def give(self) -> None:
        """One has ended."""
        with self._lock:
            self._left += 1


class Lane(threading.Thread):
    """Feeds one worker. Its end gives back what the worker did not bring."""

    def __init__(
        self,
        work: Work,
        process: subprocess.Popen,
        on_sent: Callable[[int, int], None],
        on_good: Callable[[], None],
        on_problem: Callable[[BaseException], None],
        plan: PushPlan,
        on_end: Callable[[], None],
    ):
        super().__init__(name="push-lane", daemon=True)
        self._work, self._process, self._plan = work, process, plan
        self._on_sent, self._on_good, self._on_problem, self._on_end = on_sent, on_good, on_problem, on_end
        self._mine: set[tuple[int, int]] = set()
        self._writing, self._ordering = threading.Lock(), threading.RLock()
        self.joined = False

    def run(self) -> None:
        """Until the worker ends."""
        try:
            for line in self._process.stdout:
                self._heard(json.loads(line))
        except BaseException as problem:  # noqa: B036 - handed to the thread that leads, which raises it
            self._on_problem(problem)
        finally:
            self.kill()
            self._process.wait()
            self._work.give_back(self._mine)
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    pipe.close()
            self._on_end()

    def _heard(self, told: dict[str, Any]) -> None:
        if "sent" in told:
            self._on_sent(self._plan.length(*told["sent"]), told["bytes"])
            return
        if "joined" in told:
            self.joined = True
        elif "ok" in told or "bad" in told:
            key = tuple(told.get("ok") or told.get("bad"))
            with self._ordering:
                if key not in self._mine:
                    return
                self._mine.discard(key)
            if "ok" in told:
                self._work.good(key)
                self._on_good()
            else:
                self._work.bad(key)
        if self.joined:
            self.order()

    def order(self) -> None:
        """Keep two spans under way, so that the worker never waits for us."""
        with self._ordering:
            while sum(self._plan.length(*key) for key in tuple(self._mine)) <= SPAN_BYTES:
                span = self._work.take(lane=True)
                if span is None:
                    return
                number, indices = span
                self._mine.update((number, index) for index in indices)
                source = self._plan.sources[number]
                # All that the worker needs to know comes with the order: a table of every chunk would fill each of them.
                chunks = [[index, source.offsets[index], self._plan.length(number, index)] for index in indices]
                self._write({"file": number, "place": source.place, "path": source.entry.path, "chunks": chunks})

    def _write(self, order: dict[str, Any]) -> None:
        with self._writing, suppress(OSError, ValueError):  # a worker that is gone is noticed by its reader
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def finish(self) -> None:
        """Nothing more comes: have the server flush what this lane wrote."""
        if not self.joined:
            self.kill()
        self._write({"end": True})
        self.join(SILENCE_S)
        self.kill()
        self.join(10)

    def kill(self) -> None:
        """End the worker at once; the receiver at its other end saves what it has."""
        with suppress(OSError):
            self._process.kill()


class Lanes:
    """Adds connections while the measured rate grows with them."""

    def __init__(
        self,
        work: Work,
        plan: PushPlan,
        way: Way | None,
        slots: Slots,
        message: Callable[[], bytes],
        start: Callable[[subprocess.Popen, Callable[[], None]], Lane],
        wanted: int | None = None,
    ):
        self._work, self._plan, self._way, self._slots = work, plan, way, slots
        self._message, self._start, self._wanted = message, start, wanted
        self._lanes: list[Lane] = []
        self._growing = way is not None and wanted != 1
        self._since, self._verified, self._rate = time.monotonic(), work.verified, 0.0

    @property
    def count(self) -> int:
        """Lanes that were started."""
        return len(self._lanes)

    def consider(self, announce: Callable[[], None]) -> None:
        """Add a lane where that is likely to pay; ``announce`` is called before the first."""
        if not self._growing or (self._lanes and not self._window_says_so()):
            return
        most = MAX_LANES if self._wanted is None else min(MAX_LANES, self._wanted - 1)
        if len(self._lanes) >= most or self._work.big_bytes < WORTH_BYTES or not self._slots.take():
            self._growing = False
            return
        if not self._lanes:
            announce()
        way = self._way
        process = worker.start(way.target, way.login, way.python, self._plan.store, self._message(), way.jumps)
        self._lanes.append(self._start(process, self._slots.give))
        self._since, self._verified = time.monotonic(), self._work.verified

    def wake(self) -> None:
        """There is something to take again."""
        for lane in self._lanes:
            if lane.joined and lane.is_alive():
                lane.order()

    def _window_says_so(self) -> bool:
        now, verified = time.monotonic(), self._work.verified
        if not all(lane.joined or not lane.is_alive() for lane in self._lanes):
            self._since, self._verified = now, verified
            return False
        if now - self._since < WINDOW_S:
            return False
        rate = (verified - self._verified) / (now - self._since)
        self._growing = rate > GAIN * self._rate
        self._rate, self._since, self._verified = rate, now, verified
        return self._growing

    def finish(self) -> None:
        """All is sent: flush and end every lane."""
        self._growing = False
        for lane in self._lanes:
            lane.finish()

    def kill(self) -> None:
        """End every lane at once."""
        self._growing = False
        for lane in self._lanes:
            lane.kill()
        for lane in self._lanes:
            lane.join(10)
