"""Own-painted pictures of amounts: a stacked bar of bytes with its legend, and a progress line."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QGridLayout, QSizePolicy, QWidget

from console import units
from ui import theme
from ui.widgets.basic import label, tip


@dataclass(frozen=True)
class Slice:
    """A part of a bar: its caption, its amount, and the palette colour it is drawn in."""

    caption: str
    amount: int
    colour: str


class StackedBar(QWidget):
    """Slices of one whole, side by side. Past the whole, the bar goes on behind a line that says so."""

    def __init__(self, height: int = 22):
        super().__init__()
        self._slices: tuple[Slice, ...] = ()
        self._whole = 1
        self.setFixedHeight(height)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(120)

    def show_slices(self, slices: tuple[Slice, ...], whole: int) -> None:
        """Draw ``slices`` of ``whole`` bytes."""
        self._slices, self._whole = slices, max(1, whole)
        said = ", ".join(f"{s.caption} {units.size(s.amount)}" for s in slices)
        self.setAccessibleName(said)
        self.setToolTip(tip(said))
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt's."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        shades, room = theme.palette(), QRectF(self.rect()).adjusted(0, 0, -1, 0)
        shape = QPainterPath()
        shape.addRoundedRect(room, 5, 5)
        painter.setClipPath(shape)
        painter.fillRect(room, QColor(shades.free))
        span = max(self._whole, sum(max(0, s.amount) for s in self._slices))
        left = room.left()
        for part in self._slices:
            width = room.width() * max(0, part.amount) / span
            painter.fillRect(QRectF(left, room.top(), max(0.0, width - 1), room.height()),
                             QColor(getattr(shades, part.colour)))
            left += width
        if span > self._whole:
            edge = room.left() + room.width() * self._whole / span
            painter.fillRect(QRectF(edge - 1, room.top(), 3, room.height()), QColor(shades.fail))
        painter.end()


class Legend(QWidget):
    """The captions of a stacked bar's slices, with their amounts."""

    def __init__(self, columns: int = 4):
        super().__init__()
        self._columns = columns
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(theme.L)
        self._grid.setVerticalSpacing(theme.S)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def show_slices(self, slices: tuple[Slice, ...]) -> None:
        """Explain ``slices``."""
        from ui.widgets.basic import clear, column, holder, row

        clear(self._grid)
        for place, part in enumerate(slices):
            words = column(label(part.caption, "small"), label(units.size(part.amount), "strong"), gap=0)
            entry = row(_Swatch(part.colour), words, gap=theme.XS)
            self._grid.addWidget(holder(entry), place // self._columns, place % self._columns)
        self._grid.setColumnStretch(self._columns, 1)


class _Swatch(QWidget):
    def __init__(self, colour: str):
        super().__init__()
        self._colour = colour
        self.setFixedSize(12, 32)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(getattr(theme.palette(), self._colour)))
        painter.drawRoundedRect(QRectF(0, 3, 8, 26), 3, 3)
        painter.end()


class ProgressLine(QWidget):
    """A thin bar: part of the whole, or a quiet stripe while the whole is not known."""

    def __init__(self, tone: str = "accent", height: int = 6):
        super().__init__()
        self._part: float | None = 0.0
        self._tone = tone
        self.setFixedHeight(height)
        self.setMinimumWidth(60)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_part(self, part: float | None, tone: str | None = None) -> None:
        """Draw ``part`` (0 to 1), or None when the total is not known."""
        if (part, tone or self._tone) != (self._part, self._tone):
            self._part, self._tone = part, tone or self._tone
            self.setAccessibleName("" if part is None else f"{part:.0%}")
            self.update()

    def part(self) -> float | None:
        """What is drawn."""
        return self._part

    def sizeHint(self) -> QSize:
        """Qt's."""
        return QSize(160, self.height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt's."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        shades, room = theme.palette(), QRectF(self.rect())
        painter.setBrush(QColor(shades.free))
        painter.drawRoundedRect(room, room.height() / 2, room.height() / 2)
        colour = shades.tone(self._tone)
        if self._part is None:
            colour.setAlphaF(0.45)
        painter.setBrush(colour)
        width = room.width() * (0.33 if self._part is None else self._part)
        if width > 0:
            painter.drawRoundedRect(QRectF(0, 0, max(width, room.height()), room.height()), room.height() / 2,
                                    room.height() / 2)
        painter.end()
