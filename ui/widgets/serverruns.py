"""A running job server by server: phase, progress, rate, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from console.i18n import N_
from ui import theme
from ui.models.jobs import JobView, ServerPart
from ui.widgets.basic import Badge, ElidedLabel, label, line
from ui.widgets.gauges import ProgressLine
from ui.widgets.jobstrip import amount

Words = Callable[[str | None], tuple[str, str]]
"""From an outcome to its tone and word."""

Why = Callable[[dict[str, Any]], str]
"""From an error that was kept to its message in the reader's language."""


class ServerRuns(QWidget):
    """One row a server, in the order in which they were first heard of."""

    def __init__(self, say: Callable[..., str], words: Words, why: Why):
        super().__init__()
        self._say, self._words, self._why = say, words, why
        self._rows: dict[str, _Row] = {}
        self._notes = label("", "small", wrap=True)
        self._notes.hide()
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(theme.M)
        self._grid.setVerticalSpacing(theme.S)
        self._grid.setColumnStretch(1, 2)
        self._grid.setColumnStretch(2, 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.S)
        layout.addLayout(self._grid)
        self._rule = line()
        self._rule.hide()
        layout.addWidget(self._rule)
        layout.addWidget(self._notes)

    def expect(self, names: tuple[str, ...]) -> None:
        """Show rows for ``names`` before anything was heard of them."""
        for name in names:
            self._row(name).show_part(ServerPart(), False)

    def show_job(self, job: JobView) -> None:
        """Draw the job's present state."""
        for name, part in job.servers.items():
            self._row(name).show_part(part, job.over)
        notes = [self._say(note.text, **note.params) if not note.server
                 else f"{note.server}: {self._say(note.text, **note.params)}" for note in list(job.notes)[-4:]]
        self._notes.setText("\n".join(notes))
        self._notes.setVisible(bool(notes))
        self._rule.setVisible(bool(notes))

    def _row(self, name: str) -> _Row:
        if name not in self._rows:
            self._rows[name] = _Row(self._grid, len(self._rows), name, self._say, self._words, self._why)
        return self._rows[name]


class _Row:
    def __init__(self, grid: QGridLayout, place: int, name: str, say: Callable[..., str], words: Words, why: Why):
        self._say, self._words, self._why = say, words, why
        self._name, self._phase, self._bar = ElidedLabel(name, "strong"), ElidedLabel("", "small"), ProgressLine()
        self._numbers, self._badge = ElidedLabel("", "small"), Badge()
        self._name.setMinimumWidth(130)
        self._name.setMaximumWidth(220)
        self._numbers.setMinimumWidth(230)
        for column, widget in enumerate((self._name, self._phase, self._bar, self._numbers, self._badge)):
            grid.addWidget(widget, place, column)
        self._badge.show_status("muted", say(N_("Waiting")))

    def show_part(self, part: ServerPart, over: bool) -> None:
        if part.outcome is not None:
            tone, word = self._words(part.outcome)
            self._badge.show_status(tone, self._say(word))
            self._bar.show_part(1.0 if tone == "ok" else part.gauge.part or 0.0, tone if tone != "muted" else "accent")
            error = part.detail.get("error")
            self._phase.setText(self._why(error) if isinstance(error, dict) else "")
            self._numbers.setText("")
            return
        started = bool(part.phase or part.gauge.unit)
        if over:
            self._badge.show_status("muted", self._say(N_("Stopped")))
        else:
            self._badge.show_status("info" if started else "muted",
                                    self._say(N_("Running") if started else N_("Waiting")))
        self._phase.setText(self._say(part.phase) if part.phase and not over else "")
        self._bar.show_part(part.gauge.part if part.gauge.unit or started and not over else 0.0, "accent")
        self._numbers.setText(amount(part.gauge, self._say))
