"""The only crossing between the engine's threads and Qt.

Engine events and the results of reads go into one locked queue, which pings the GUI thread once; the GUI thread
drains it at most twenty times a second and for a bounded time each, so that no flood of events can hold up the
window. Progress gives way to newer progress of the same job and server; everything else is kept, in order.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Qt, QThread, QTimer, Signal
from shiboken6 import isValid

from console.errors import Cancelled
from console.events import Changed, Event, EventBus, JobState, Progress
from ui.models.jobs import JobBoard

INTERVAL_MS = 50
"""Twenty drains a second: smooth to the eye, and cheap under any number of events."""

BUDGET_S = 0.012
"""How long one drain may hold the GUI thread before the rest waits for the next."""

READERS = 2
"""Threads that read from the engine for the screens."""


@dataclass(frozen=True)
class _Answer:
    """What a read gave, on its way back to the screen that asked."""

    owner: QObject | None
    deliver: Callable[[Any], None] | None
    value: Any


class Question:
    """Something only the operator can answer, asked by a thread that waits for it."""

    def __init__(self, topic: str, about: dict[str, Any]):
        self.topic, self.about = topic, about
        self.value: Any = None
        self._answered = threading.Event()

    def answer(self, value: Any) -> None:
        """Let the asking thread go on with ``value``; None is a refusal. The first answer counts."""
        if not self._answered.is_set():
            self.value = value
            self._answered.set()

    def wait(self) -> Any:
        """The answer, once there is one."""
        self._answered.wait()
        return self.value


class Bridge(QObject):
    """Carries engine events to the window, and the window's questions to the engine.

    Signals, all emitted in the GUI thread:
        events: the events of one drain, in order, as a list.
        jobs_changed: the ids of jobs that moved, as a frozenset.
        changed: the kinds of thing that changed, as a frozenset.
        broke: an unexpected exception from a read.
        asked: a Question, to be answered.
    """

    events = Signal(object)
    jobs_changed = Signal(object)
    changed = Signal(object)
    broke = Signal(object)
    asked = Signal(object)
    _pinged = Signal()

    def __init__(self, bus: EventBus, parent: QObject | None = None):
        super().__init__(parent)
        self.board = JobBoard()
        self._lock = threading.Lock()
        self._queue: dict[Any, Event | _Answer | Question] = {}
        self._open: set[Question] = set()
        self._serial = itertools.count()
        self._pending = self._closed = False
        self._last = 0.0
        self._timer = QTimer(self, singleShot=True, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._drain)
        self._pinged.connect(self._schedule, Qt.ConnectionType.QueuedConnection)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sealift-read")
        self._unsubscribe = bus.subscribe(self._take)

    # -- any thread ---------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        key = ("progress", event.job, event.server) if isinstance(event, Progress) else next(self._serial)
        self._put(key, event)

    def _put(self, key: Any, item: Event | _Answer) -> None:
        with self._lock:
            if self._closed:
                return
            self._queue.pop(key, None)  # the newest goes to the end, so that it never overtakes its job's beginning
            self._queue[key] = item
            ping, self._pending = not self._pending, True
        if ping:
            self._pinged.emit()

    def ask(self, topic: str, about: dict[str, Any]) -> Any:
        """Ask the operator and wait; None when refused, when the window closes, or in the GUI thread itself."""
        if QThread.currentThread() is self.thread():
            return None
        question = Question(topic, about)
        with self._lock:
            if self._closed:
                return None
            self._open.add(question)
        self._put(next(self._serial), question)
        try:
            return question.wait()
        finally:
            with self._lock:
                self._open.discard(question)

    # -- the GUI thread -----------------------------------------------------------------------------------------

    def read(self, owner: QObject | None, work: Callable[[], Any], done: Callable[[Any], None] | None = None,
             failed: Callable[[Exception], None] | None = None) -> None:
        """Do ``work`` in a reader thread, then call ``done`` with its value in the GUI thread.

        An exception goes to ``failed``, or to the signal ``broke``. Nothing is called once ``owner`` is deleted.
        """
        def job() -> None:
            try:
                answer = _Answer(owner, done, work())
            except Cancelled:
                return
            except Exception as error:  # a reader thread must hand every failure on, or the screen would wait for ever
                answer = _Answer(owner, failed or self.broke.emit, error)
            self._put(next(self._serial), answer)

        if not self._closed:
            self._readers.submit(job)

    def _schedule(self) -> None:
        wait_ms = INTERVAL_MS - (time.monotonic() - self._last) * 1000
        if not self._timer.isActive() and not self._closed:
            self._timer.start(max(0, round(wait_ms)))

    def _drain(self) -> None:
        started = self._last = time.monotonic()
        events: list[Event] = []
        while time.monotonic() - started < BUDGET_S:
            batch = self._next(200)
            if not batch:
                break
            for item in batch:
                if isinstance(item, _Answer):
                    self._deliver(item)
                elif isinstance(item, Question):
                    self.asked.emit(item)
                else:
                    events.append(item)
        if events:
            self._announce(events)
        self._rest()

    def _next(self, limit: int) -> list[Event | _Answer]:
        with self._lock:
            keys = list(itertools.islice(self._queue, limit))
            return [self._queue.pop(key) for key in keys]

    def _rest(self) -> None:
        with self._lock:
            left = self._pending = bool(self._queue)
        if left and not self._closed:
            self._timer.start(INTERVAL_MS)

    @staticmethod
    def _deliver(answer: _Answer) -> None:
        if answer.deliver and (answer.owner is None or isValid(answer.owner)):
            answer.deliver(answer.value)

    def _announce(self, events: list[Event]) -> None:
        moved = self.board.take(events)
        changed: set[str] = set()
        for event in events:
            if isinstance(event, (JobState, Changed)):
                changed |= event.changed if isinstance(event, JobState) else event.things
        self.events.emit(events)
        if moved:
            self.jobs_changed.emit(moved)
        if changed:
            self.changed.emit(frozenset(changed))

    def close(self) -> None:
        """Stop listening and wait for the readers; nothing is delivered afterwards. Safe to call twice."""
        self._unsubscribe()
        with self._lock:
            self._closed = True
            self._queue.clear()
            waiting = tuple(self._open)
        for question in waiting:
            question.answer(None)
        self._timer.stop()
        self._readers.shutdown(wait=True, cancel_futures=True)
