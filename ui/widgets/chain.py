"""The chain of a job's stages, one below the other, with where things stand and the way on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QGridLayout, QWidget

from ui import icons, theme
from ui.widgets.basic import button, column, holder, label


@dataclass(frozen=True)
class Link:
    """One stage: ``state`` is ``done``, ``next``, ``attention`` or ``later``; texts are in the reader's language."""

    number: int
    title: str
    summary: str
    state: str
    word: str
    action: str
    go: Callable[[], object]


class Chain(QWidget):
    """Stages as a line of marks with their words; only the next one has a loud button."""

    def __init__(self, links: list[Link]):
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.L)
        grid.setVerticalSpacing(0)
        grid.setColumnStretch(1, 1)
        for place, link in enumerate(links):
            mark = _Mark(link, first=place == 0, last=place == len(links) - 1)
            words = column(label(link.title, "strong"), label(link.summary, "muted", wrap=True), gap=1,
                           margins=(0, theme.M, 0, theme.M))
            loud = link.state in ("next", "attention")
            way = button(link.action, link.go, role="primary" if loud else "quiet", icon="arrow" if loud else None)
            way.setObjectName(f"go-{link.number}")
            way.setAccessibleName(f"{link.title}: {link.action}")
            grid.addWidget(mark, place, 0)
            grid.addWidget(holder(words), place, 1)
            grid.addWidget(way, place, 2, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight)


class _Mark(QWidget):
    def __init__(self, link: Link, *, first: bool, last: bool):
        super().__init__()
        self._link, self._first, self._last = link, first, last
        self.setFixedWidth(34)
        self.setMinimumHeight(58)
        self.setAccessibleName(f"{link.number}: {link.word}")

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        shades, middle = theme.palette(), self.height() / 2
        painter.setPen(QPen(QColor(shades.border_strong), 2))
        if not self._first:
            painter.drawLine(17, 0, 17, round(middle) - 16)
        if not self._last:
            painter.drawLine(17, round(middle) + 16, 17, self.height())
        disc = QRectF(3, middle - 14, 28, 28)
        state = self._link.state
        if state == "done":
            icons.draw(painter, "check", shades.ok, disc.adjusted(-2, -2, 2, 2))
        elif state == "attention":
            icons.draw(painter, "alert", shades.warn, disc)
        else:
            now = state == "next"
            painter.setPen(QPen(QColor(shades.accent if now else shades.border_strong), 2))
            painter.setBrush(QColor(shades.accent if now else shades.surface))
            painter.drawEllipse(disc)
            painter.setPen(QColor(shades.on_accent if now else shades.muted))
            painter.setFont(theme.font(10, bold=True))
            painter.drawText(disc, int(Qt.AlignmentFlag.AlignCenter), str(self._link.number))
        painter.end()
