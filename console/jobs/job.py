"""What a job is: a plain function of a :class:`Context`, with a frozen description.

A job never sees a widget, a thread or a signal. It reports through its context, and every report is also a place
where it can be stopped.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from console.errors import Cancelled
from console.events import Event, EventBus, Note, Phase, Progress, ServerResult, Thing


@dataclass(frozen=True)
class JobSpec:
    """A job to run.

    Attributes:
        kind: dotted word, such as ``push.run``; the journal's readers know from it how to go on.
        title: one line for people, already in their language.
        servers: names of the servers it touches.
        changes: whether it changes them; two such jobs with a server in common never overlap.
        params: what would be needed to start it again; JSON values, no secrets.
        changed: the kinds of thing that its ending may have changed.
    """

    kind: str
    title: str
    run: Callable[[Context], Any]
    servers: tuple[str, ...] = ()
    changes: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    changed: frozenset[Thing] = frozenset()


class Context:
    """What a running job may say and ask. Safe from several threads of the job."""

    def __init__(self, bus: EventBus | None = None, job: str | None = None, server: str | None = None, root: Context | None = None):
        self._bus, self._job, self._server, self._root = bus, job, server, root or self
        if root is None:
            self._stop = threading.Event()
            self._lock = threading.Lock()
            self._wakers: list[Callable[[], None]] = []

    @property
    def job(self) -> str | None:
        """The job's id; None outside any job."""
        return self._job

    @property
    def cancelled(self) -> bool:
        """Whether the operator asked to stop."""
        return self._root._stop.is_set()

    def checkpoint(self) -> None:
        """Raises :class:`console.errors.Cancelled` when the job is to stop."""
        if self.cancelled:
            raise Cancelled

    def phase(self, name: str) -> None:
        """Enter a named part of the job."""
        self.checkpoint()
        self._publish(Phase(self._job, name, self._server))

    def progress(self, done: int, total: int | None, unit: str, left_s: float | None = None) -> None:
        """Say how far it is, and how many seconds it still takes where that was measured."""
        self.checkpoint()
        self._publish(Progress(self._job, done, total, unit, self._server, left_s))

    def note(self, text: str, **params: Any) -> None:
        """A line for the operator; ``text`` is marked with ``N_``."""
        self._publish(Note(self._job, text, params, self._server))

    def warn(self, text: str, **params: Any) -> None:
        """A line that the operator should not miss."""
        self._publish(Note(self._job, text, params, self._server, "warning"))

    def result(self, outcome: str, **detail: Any) -> None:
        """How this server's part ended; only on a context bound by :meth:`server`."""
        self._publish(ServerResult(self._job, self._server or "", outcome, detail))

    def server(self, name: str) -> Context:
        """This context, speaking of one server."""
        return Context(self._bus, self._job, name, self._root)

    @contextlib.contextmanager
    def on_cancel(self, wake: Callable[[], None]) -> Iterator[None]:
        """While inside, a cancel calls ``wake`` from the cancelling thread, to close what is being waited on."""
        root = self._root
        with root._lock:
            root._wakers.append(wake)
            late = root._stop.is_set()
        try:
            if late:
                wake()
            yield
        finally:
            with root._lock:
                root._wakers.remove(wake)

    def cancel(self) -> None:
        """Ask the job to stop; called from outside it."""
        root = self._root
        with root._lock:
            root._stop.set()
            wakers = tuple(root._wakers)
        for wake in wakers:
            wake()

    def _publish(self, event: Event) -> None:
        if self._bus is not None:
            self._bus.publish(event)


class NullContext(Context):
    """A context that tells nobody; for calls outside any job."""
