"""A job that a screen started: how far each server is, holding it, going on, and ending it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal

from ui import theme
from ui.models.jobs import JobView
from ui.screens import tasks, wording
from ui.widgets.basic import Card, ElidedLabel, button, label, row
from ui.widgets.jobstrip import amount
from ui.widgets.ratebox import RateBox
from ui.widgets.serverruns import ServerRuns

PUSHING = "Push"
"""The engine's name for the phase in which a server's files are sent; only then there is something to hold."""


class JobRun(Card):
    """One job, in a card. ``stopped`` when it was cancelled; ``watched`` when one ended that was taken up again after the
    screen was built anew, whose result nobody waits for any more; ``grew`` when it needs more room than before.

    Args:
        place: where in the screen's memory the job is kept, so that it can be taken up again.
    """

    stopped = Signal()
    watched = Signal()
    grew = Signal()

    def __init__(self, screen: Any, place: str, title: str, names: tuple[str, ...]):
        super().__init__("")
        self._screen, self._place, self._names, t = screen, place, names, screen.t
        self.job: str | None = None
        self._taken_up, self._paused = False, False
        self._runs = ServerRuns(t, wording.outcome, lambda error: wording.problem(error, screen.desk.lang)[0])
        self._runs.expect(names)
        self._phase, self._numbers = ElidedLabel("", "muted"), label("", "small")
        self._hold = button(t("&Pause"), self._hold_or_go_on, icon="pause",
                            hint=t("Sends nothing until it is told to go on; what is verified stays verified."))
        self._hold.setObjectName("hold")
        self._stop = button(t("&Cancel"), self._cancel, icon="close",
                            hint=t("Stops at the next safe point; what was begun is taken back or can go on later."))
        self._stop.setObjectName("stop")
        self._rate = RateBox(t)
        self._rate.setAccessibleName(t("Most speed, all servers together"))
        self._rate.given.connect(self._limit)
        self.add(row(ElidedLabel(wording.job_title(title, t), "heading"), self._phase, self._hold, self._stop))
        self._most = label(t("Most speed"), "small")
        reins = row(gap=theme.S)
        reins.addWidget(self._numbers, 1)
        reins.addWidget(self._most)
        reins.addWidget(self._rate)
        self.add(reins)
        self.add(self._runs)
        self._reins(False)
        self._say_how_far("")
        screen.desk.bridge.jobs_changed.connect(self._moved)

    @classmethod
    def take_up(cls, screen: Any, place: str) -> JobRun | None:
        """The job that is under way since before the screen was built anew in another language or theme, if there is one."""
        running = screen.memory.get(place)
        view = screen.desk.bridge.board.jobs.get(running["job"]) if running else None
        if view is None or view.over:
            return None
        made = cls(screen, place, view.title, tuple(running["names"]))
        made._taken_up = True
        made.follow(view.id)
        return made

    def follow(self, job_id: str) -> None:
        """Show this job from now on."""
        self.job = job_id
        self._screen.memory[self._place] = {"job": job_id, "names": self._names}
        self._moved(frozenset({job_id}))

    def show_rate(self, bytes_per_s: int) -> None:
        """The limit that the job begins with."""
        self._rate.show_rate(bytes_per_s)

    def over(self) -> None:
        """The job has ended; how each server fared stays in sight."""
        self._screen.memory.pop(self._place, None)
        self._stop.hide()
        self._reins(False)
        self._say_how_far("")

    def _say_how_far(self, text: str) -> None:
        self._numbers.setText(text)
        self._numbers.setVisible(bool(text))

    def _reins(self, shown: bool) -> None:
        grows = shown and self._hold.isHidden()
        self._hold.setVisible(shown)
        self._rate.setVisible(shown)
        self._most.setVisible(shown)
        if grows:
            self.grew.emit()

    def _moved(self, ids: frozenset[str]) -> None:
        view = self._screen.desk.bridge.board.jobs.get(self.job or "")
        if view is None or view.id not in ids:
            return
        self._runs.show_job(view)
        self._phase.setText("" if view.over else self._screen.t(view.phase))
        self._say_how_far("" if view.over or len(self._names) < 2 else amount(view.overall(), self._screen.t))
        self._reins(not view.over and _sends(view))
        if view.state == "cancelling":
            self._stop.setEnabled(False)
            self._hold.setEnabled(False)
            self._stop.setText(self._screen.t("Stopping…"))
        if view.over and self._taken_up:
            self.over()
            self.watched.emit()
        elif view.state == "cancelled":
            self.over()
            self.stopped.emit()

    def _cancel(self) -> None:
        job_id = self.job
        if job_id:
            self._screen.act(lambda: self._screen.engine.jobs.cancel(job_id))

    def _hold_or_go_on(self) -> None:
        job_id, engine, paused = self.job, self._screen.engine, not self._paused
        self._hold.setEnabled(False)

        def done(_nothing: Any) -> None:
            self._paused = paused
            self._hold.setText(self._screen.t("&Go on") if paused else self._screen.t("&Pause"))
            self._hold.setEnabled(True)

        def failed(problem: Exception) -> None:
            self._hold.setEnabled(True)
            self._screen.desk.problem.emit(problem)

        self._screen.act(lambda: tasks.hold_push(engine, job_id, paused), done, failed)

    def _limit(self, bytes_per_s: int) -> None:
        job_id, engine = self.job, self._screen.engine
        self._screen.act(lambda: tasks.limit_push(engine, job_id, bytes_per_s))


def _sends(view: JobView) -> bool:
    return any(part.phase == PUSHING and part.outcome is None for part in view.servers.values())
