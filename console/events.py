"""What the engine can say while it works: frozen records, published on an :class:`EventBus`.

Progress may be dropped in favour of newer progress; notes, verdicts and endings never are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Thing = Literal["site", "accounts", "trust", "servers", "library", "drives", "deployments", "audit", "settings", "jobs"]
"""The kinds of thing that can change; a screen re-reads only its own kinds."""

State = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled", "interrupted"]


@dataclass(frozen=True)
class Event:
    """Base of all events. ``job`` is the job's id, or None for news outside any job."""

    job: str | None


@dataclass(frozen=True)
class JobState(Event):
    """A job moved to ``state``. ``error`` is set on failed, as ``SealiftError.as_dict`` gives it."""

    state: State
    title: str
    error: dict[str, Any] | None = None
    changed: frozenset[Thing] = frozenset()


@dataclass(frozen=True)
class Phase(Event):
    """The job entered a named part; ``server`` is set when the part concerns one server."""

    name: str
    server: str | None = None


@dataclass(frozen=True)
class Progress(Event):
    """``done`` of ``total`` ``unit`` ("bytes", "servers", …); ``total`` None when not known. ``left_s`` where it was measured."""

    done: int
    total: int | None
    unit: str
    server: str | None = None
    left_s: float | None = None


@dataclass(frozen=True)
class Note(Event):
    """A line for the operator. ``params`` fill the marked text when it is rendered."""

    text: str
    params: dict[str, Any] = field(default_factory=dict)
    server: str | None = None
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class ServerResult(Event):
    """One server's part of a job ended."""

    server: str
    outcome: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Changed(Event):
    """Things changed outside a job's ending."""

    things: frozenset[Thing]


class EventBus:
    """Fans events out to listeners, in the publishing thread. Listeners must return at once."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []
        self._lock = threading.Lock()

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Add a listener; the returned function takes it away again."""
        with self._lock:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe

    def publish(self, event: Event) -> None:
        """Hand ``event`` to every listener."""
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(event)
