"""What every screen is handed: the engine, the bridge, the reader's language, and ways to run and ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Signal

from console.errors import DeniedError, shown
from console.i18n import tr
from console.site.session import LOCKED, PASSWORD_AGAIN
from ui.bridge import Bridge
from ui.models.jobs import OVER


class Desk(QObject):
    """One window's working place.

    Attributes:
        engine: the open engine.
        bridge: events in, reads out.
        lang: the language of the window.
        memory: what a screen wants to find again after it was rebuilt, by screen id.

    Signals:
        go: the id of a screen to show.
        problem: an error to show, as an exception or an error dict.
        prove: the password is wanted once more; what to do again after it, a function without arguments.
    """

    go = Signal(str)
    problem = Signal(object)
    prove = Signal(object)

    def __init__(self, engine: Any, bridge: Bridge, lang: str = "en", parent: QObject | None = None):
        super().__init__(parent)
        self.engine, self.bridge, self.lang = engine, bridge, lang
        self.memory: dict[str, dict[str, Any]] = {}

    def t(self, text: str, /, **params: Any) -> str:
        """Render marked text in the window's language; hostile parameters are made fit to show."""
        return tr(text, self.lang, **{key: shown(value) for key, value in params.items()})

    def remember(self, screen: str) -> dict[str, Any]:
        """The memory of one screen."""
        return self.memory.setdefault(screen, {})

    def read(self, owner: QObject, work: Callable[[], Any], done: Callable[[Any], None] | None = None,
             failed: Callable[[Exception], None] | None = None) -> None:
        """Ask the engine off the GUI thread; an error without ``failed`` is shown to the operator.

        Where the engine wants the password once more, it is asked for, and then ``work`` is done again.
        """
        refused = failed or self.problem.emit

        def over(error: Exception) -> None:
            if isinstance(error, DeniedError) and error.code in (PASSWORD_AGAIN.code, LOCKED.code):
                self.prove.emit(lambda: self.bridge.read(owner, work, done, refused))
            else:
                refused(error)

        self.bridge.read(owner, work, done, over)

    def run(self, owner: QObject, spec: Any, started: Callable[[str], None] | None = None,
            ended: Callable[[Any], None] | None = None, failed: Callable[[Exception], None] | None = None) -> None:
        """Submit a job; ``started`` gets its id, ``ended`` its result, ``failed`` its error.

        The waiting is done by a listener on the job's ending, not by a thread. A cancelled job calls neither.
        """
        _JobWatch(self, owner, spec, started, ended, failed)


class _JobWatch(QObject):
    def __init__(self, desk: Desk, owner: QObject, spec: Any, started, ended, failed):
        super().__init__(owner)
        self._desk, self._started, self._ended, self._failed = desk, started, ended, failed
        self._job = None
        desk.bridge.jobs_changed.connect(self._moved)
        desk.read(self, lambda: desk.engine.jobs.submit(spec), self._submitted, self._refused)

    def _submitted(self, job: Any) -> None:
        self._job = job
        if self._started:
            self._started(job.id)
        self._moved({job.id})

    def _refused(self, error: Exception) -> None:
        self._finish()
        (self._failed or self._desk.problem.emit)(error)

    def _moved(self, ids: Any) -> None:
        if self._job is None or self._job.id not in ids:
            return
        state = self._job.state
        if state not in OVER:
            return
        self._finish()
        if state == "succeeded":
            if self._ended:
                self._ended(self._job.result)
        elif state == "failed":
            (self._failed or self._desk.problem.emit)(self._job.error)

    def _finish(self) -> None:
        self._desk.bridge.jobs_changed.disconnect(self._moved)
        self.deleteLater()
