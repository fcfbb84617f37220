"""The strip at the foot of the window: what is under way, how far, how fast, and the way to stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from console import units
from console.i18n import N_
from ui import theme
from ui.models.jobs import Gauge, JobBoard, JobView
from ui.widgets.basic import Badge, ElidedLabel, button, icon_button, label, row
from ui.widgets.gauges import ProgressLine

STATES = {"queued": ("muted", N_("Waiting")), "running": ("info", N_("Running")),
          "cancelling": ("warn", N_("Stopping…")), "succeeded": ("ok", N_("Done")), "failed": ("fail", N_("Failed")),
          "cancelled": ("muted", N_("Stopped")), "interrupted": ("warn", N_("Interrupted"))}
LINES = 3
SHOWN_MS = 12_000
"""How long a job that ended well stays in sight."""


def amount(gauge: Gauge, say: Callable[..., str]) -> str:
    """``"1.2 GiB of 4.0 GiB · 118 MiB/s · 24 s left"``, as far as it is known."""
    if not gauge.unit:
        return ""
    number = units.size if gauge.unit == "bytes" else lambda value: f"{value:,}"
    said = [say(N_("{done} of {total}"), done=number(gauge.done), total=number(gauge.total)) if gauge.total
            else number(gauge.done)]
    if gauge.unit == "bytes" and gauge.rate_per_s:
        said.append(units.rate(gauge.rate_per_s))
    if gauge.left_s is not None:
        said.append(say(N_("{time} left"), time=units.duration(gauge.left_s)))
    return " · ".join(said)


class JobLine(QWidget):
    """One job in one line."""

    def __init__(self, say: Callable[..., str], cancel: Callable[[], Any], dismiss: Callable[[], Any],
                 explain: Callable[[], Any], name: Callable[[str], str]):
        super().__init__()
        self._say, self._name = say, name
        self._badge, self._title = Badge(), ElidedLabel("", "strong")
        self._phase, self._numbers = ElidedLabel("", "small"), label("", "small")
        self._bar = ProgressLine()
        self._bar.setMaximumWidth(240)
        self.cancel = button(say(N_("Cancel")), cancel, role="quiet", icon="close")
        self.cancel.setObjectName("cancel-job")
        self._why = button(say(N_("Why?")), explain, role="quiet", icon="info")
        self._away = icon_button("close", say(N_("Take off the list")), dismiss)
        layout = row(self._badge, gap=theme.M)
        layout.addWidget(self._title, 3)
        layout.addWidget(self._phase, 2)
        layout.addWidget(self._bar, 2)
        for widget in (self._numbers, self.cancel, self._why, self._away):
            layout.addWidget(widget)
        self.setLayout(layout)
        self.setFixedHeight(36)

    def show_job(self, job: JobView) -> None:
        """Draw the job's present state."""
        tone, word = STATES[job.state]
        self._badge.show_status(tone, self._say(word))
        self._title.setText(self._name(job.title))
        gauge = job.overall()
        self._phase.setText("" if job.over else self._say(job.phase))
        self._numbers.setText("" if job.over else amount(gauge, self._say))
        self._bar.setVisible(not job.over)
        self._bar.show_part(gauge.part)
        self.cancel.setVisible(not job.over)
        self.cancel.setEnabled(job.state in ("queued", "running"))
        self._why.setVisible(job.state == "failed" and job.error is not None)
        self._away.setVisible(job.over)
        self.setAccessibleName(f"{job.title}: {self._say(word)}")


class JobStrip(QFrame):
    """The jobs under way, and the last ones that ended until they are taken off."""

    cancelled = Signal(str)
    explained = Signal(object)

    def __init__(self, board: JobBoard, say: Callable[..., str], name: Callable[[str], str]):
        super().__init__()
        self._board, self._say, self._name = board, say, name
        self._lines: dict[str, JobLine] = {}
        self.setProperty("role", "strip")
        self.setAccessibleName(say(N_("Jobs")))
        self._fading = ""
        self._fade = QTimer(self, singleShot=True, interval=SHOWN_MS)
        self._fade.timeout.connect(self._faded)
        self._idle = label(say(N_("No job is running.")), "small")
        self._more = label("", "small")
        self._list = QVBoxLayout(self)
        self._list.setContentsMargins(theme.L, theme.XS, theme.L, theme.XS)
        self._list.setSpacing(0)
        self._list.addWidget(self._idle, 0, Qt.AlignmentFlag.AlignVCenter)
        self._list.addWidget(self._more)
        self.setMinimumHeight(36)
        self.refresh(frozenset(board.jobs))

    def refresh(self, _moved: Any = None) -> None:
        """Bring the lines up to date with the board."""
        self._forget_the_good()
        jobs = sorted(self._board.jobs.values(), key=lambda job: job.over)
        visible = {job.id: job for job in jobs[:LINES]}
        for gone in set(self._lines) - set(visible):
            self._lines.pop(gone).deleteLater()
        for job_id, job in visible.items():
            if job_id not in self._lines:
                self._lines[job_id] = self._line(job_id)
                self._list.insertWidget(self._list.count() - 1, self._lines[job_id])
            self._lines[job_id].show_job(job)
        self._idle.setVisible(not visible)
        self._more.setVisible(len(jobs) > LINES)
        self._more.setText(self._say(N_("and {count} more"), count=max(0, len(jobs) - LINES)))

    def _forget_the_good(self) -> None:
        """What ended well is shown for a while, and only the last of it; what did not stays until it is taken off."""
        good = [job for job in self._board.jobs.values() if job.state in ("succeeded", "cancelled")]
        for job in good[:-1]:
            self._board.forget(job.id)
        if good and good[-1].id != self._fading:
            self._fading = good[-1].id
            self._fade.start()

    def _faded(self) -> None:
        self._board.forget(self._fading)
        self.refresh()

    def _line(self, job_id: str) -> JobLine:
        return JobLine(self._say, lambda: self.cancelled.emit(job_id), lambda: self._dismiss(job_id),
                       lambda: self.explained.emit(self._board.jobs[job_id].error), self._name)

    def _dismiss(self, job_id: str) -> None:
        self._board.forget(job_id)
        self.refresh()
