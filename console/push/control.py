"""What an operator may do with a push under way, and when it may send at all; how long it still takes."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from console.errors import InputError, code
from console.i18n import N_
from console.push.connection import Limit

if TYPE_CHECKING:
    from console.jobs.job import Context

PRIORITIES = ("low", "normal", "high")
BAD_WINDOW = code(
    "push.bad-window", InputError, N_("{window} is not a time of day."), N_("Write it as 20:00-06:00, in this computer's own time.")
)
BAD_PRIORITY = code("push.bad-priority", InputError, N_("{priority} is not a priority."), N_("Choose low, normal or high."))

NOT_UNDER_WAY = code(
    "push.not-under-way", InputError, N_("This job sends nothing now."), N_("Only a push that is under way can be held or limited.")
)

LOOK, PUSH, FINISH = N_("Look at what is there"), N_("Push"), N_("Put into place")
"""The parts of a push to one server; in the first and the last the server hashes and flushes, and nothing is sent."""

PAUSED = N_("Paused.")
RESUMED = N_("Going on.")
OUTSIDE = N_("Waiting until {time}, when pushes may send.")
YIELDING = N_("Waiting for a push of higher priority.")


@dataclass(frozen=True)
class Window:
    """The hours of a day in which a push may send, in minutes since midnight; ``end`` may be on the next day."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """From ``20:00-06:00``.

        Raises:
            InputError: ``push.bad-window``.
        """
        found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)\s*[-–]\s*([01]?\d|2[0-4]):([0-5]\d)", text.strip())
        start, end = (int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])) if found else (0, 0)
        if not found or end > 24 * 60 or start == end:
            raise BAD_WINDOW(window=text[:40])
        return cls(start, end)

    def opens_at(self, now: datetime) -> datetime | None:
        """When it opens next; None while it is open."""
        minute = now.hour * 60 + now.minute
        inside = self.start <= minute < self.end if self.start < self.end else minute >= self.start or minute < self.end
        if inside:
            return None
        opens = now.replace(hour=self.start // 60, minute=self.start % 60, second=0, microsecond=0)
        return opens if opens > now else opens + timedelta(days=1)


class Control:
    """The reins of one push. Safe from several threads.

    Attributes:
        limit: for all servers together; its rate may be changed while it runs.
        priority: ``low``, ``normal`` or ``high``; a push waits while one of higher priority sends.
    """

    def __init__(self, limit: Limit | None = None, priority: str = "normal", window: Window | None = None, job: str | None = None):
        if priority not in PRIORITIES:
            raise BAD_PRIORITY(priority=priority[:40])
        self.limit, self.priority, self.window, self.job = limit or Limit(0), priority, window, job
        self.now: Callable[[], datetime] = datetime.now
        self._traffic: Traffic | None = None
        self._paused, self._said = threading.Event(), ""
        self._lock = threading.Lock()

    @property
    def paused(self) -> bool:
        """Whether the operator paused it."""
        return self._paused.is_set()

    def pause(self) -> None:
        """Send nothing more until :meth:`resume`; connections stay, and what was verified stays."""
        self._paused.set()

    def resume(self) -> None:
        """Go on."""
        self._paused.clear()

    def waits_for(self) -> tuple[str, dict[str, str]] | None:
        """Why nothing may be sent now, as a text with its parameters; None when it may."""
        if self.paused:
            return PAUSED, {}
        if self.window is not None and (opens := self.window.opens_at(self.now())) is not None:
            return OUTSIDE, {"time": opens.strftime("%H:%M")}
        if self._traffic is not None and self._traffic.others_first(self):
            return YIELDING, {}
        return None

    def holds(self, ctx: Context) -> bool:
        """Whether nothing may be sent now. Said once when it changes."""
        why = self.waits_for()
        text, params = why or ("", {})
        with self._lock:
            before, self._said = self._said, text
        if text and text != before:
            ctx.note(text, **params)
        elif before and not text:
            ctx.note(RESUMED)
        return why is not None


class Traffic:
    """All pushes of this program that are under way."""

    def __init__(self) -> None:
        self._lock, self._running = threading.Lock(), []

    @contextmanager
    def running(self, control: Control) -> Iterator[None]:
        """While inside, the push counts."""
        with self._lock:
            self._running.append(control)
        control._traffic = self
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(control)

    def list(self) -> list[Control]:
        """The pushes under way."""
        with self._lock:
            return list(self._running)

    def of(self, job: str) -> Control:
        """The push that a job is doing now.

        Raises:
            InputError: ``push.not-under-way``.
        """
        found = next((control for control in self.list() if control.job == job), None)
        if found is None:
            raise NOT_UNDER_WAY()
        return found

    def others_first(self, control: Control) -> bool:
        """Whether one of higher priority wants to send."""
        rank = PRIORITIES.index(control.priority)
        ahead = [c for c in self.list() if PRIORITIES.index(c.priority) > rank]
        return any(not c.paused and (c.window is None or c.window.opens_at(c.now()) is None) for c in ahead)


class Pace:
    """How long something still takes, from the rate of the last while and not from hope.

    Args:
        now: a clock in seconds that only goes forward.
    """

    SPAN_S = 20.0
    LEAST_S = 3.0

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._marks: deque[tuple[float, int]] = deque()

    def move(self, done: int) -> None:
        """So much is done now."""
        now = self._now()
        if self._marks and done < self._marks[-1][1]:
            self._marks.clear()
        if len(self._marks) > 1 and now - self._marks[-2][0] < 0.2:
            self._marks.pop()
        self._marks.append((now, done))
        while now - self._marks[0][0] > self.SPAN_S:
            self._marks.popleft()

    def forget(self) -> None:
        """What was measured says nothing about what comes: a pause."""
        self._marks.clear()

    def left_s(self, total: int) -> float | None:
        """Seconds that the rest takes at the rate measured; None while that is not known."""
        if len(self._marks) < 2:
            return None
        (then, low), (now, high) = self._marks[0], self._marks[-1]
        # What came before the last mark, over the time until now: silence since then makes it longer, as it should.
        span = max(now, self._now()) - then
        if span < self.LEAST_S or high <= low:
            return None
        return (total - high) / ((high - low) / span)
