"""The drives and folders of the library screen, a line each: what it is, how full, in what state, what to do next."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from console import units
from console.bundles.drives import Place
from console.i18n import N_
from ui import theme
from ui.screens import wording
from ui.widgets.basic import (
    ICON_BUTTON_PX,
    Badge,
    Card,
    ElidedLabel,
    button,
    clear,
    column,
    holder,
    icon_button,
    label,
    line,
    picture,
    row,
)
from ui.widgets.gauges import ProgressLine

Say = Callable[..., str]
BADGE_WIDTH = 176
"""Room for the longest state, so that the bars of all drives stand below each other."""
FILLED_WARN = 0.9
"""Past this part of a drive its bar takes the colour of a warning."""


class PlaceLine(QWidget):
    """One drive or folder."""

    def __init__(self, place: Place, say: Say, forget: Callable[[], object] | None, beside: bool = False):
        """``beside``: stands with lines that can be taken off the list, and keeps clear what their button takes."""
        super().__init__()
        self._say = say
        tone, word, step = wording.PLACE_STATES[place.state]
        kind = say(N_("Drive")) if place.drive else say(N_("Folder"))
        about = " · ".join(part for part in (kind, place.file_system, str(place.path)) if part)
        name = column(ElidedLabel(place.label, "strong"), ElidedLabel(about, "small"), gap=0)
        self._bar, self._room = ProgressLine("accent"), label("", "small")
        self._bar.setFixedWidth(190)
        room = column(self._room, self._bar, gap=5)
        badge = holder(row(None, Badge(tone, say(word)), gap=0))
        badge.setMinimumWidth(BADGE_WIDTH)
        top = row(picture("drive" if place.drive else "folder", theme.palette().muted, 20), gap=theme.M)
        top.addLayout(name, 1)
        top.addLayout(room)
        top.addWidget(badge)
        if forget is not None:
            top.addWidget(icon_button("close", say(N_("Take {path} off the list"), path=str(place.path)), forget))
        elif beside:
            gap = QWidget()
            gap.setFixedWidth(ICON_BUTTON_PX)
            top.addWidget(gap)
        layout = column(top, gap=theme.XS)
        if step:
            layout.addLayout(row(32, label(say(step), "small", wrap=True), gap=0))
        self.setLayout(layout)
        self.show_room(place)
        self.setAccessibleName(f"{kind} {place.label}: {say(word)}. {self._room.text()}")

    def show_room(self, place: Place) -> None:
        """How full it is now."""
        total, free = place.total_bytes, place.free_bytes
        self._bar.setVisible(bool(total) and free is not None)
        if total and free is not None:
            used = 1 - free / total
            self._bar.show_part(used, "warn" if used > FILLED_WARN else "accent")
            self._room.setText(self._say(N_("{free} free of {total}"), free=units.size(free), total=units.size(total)))
        else:
            self._room.setText(units.size(total) if total else "")


class DrivesPanel(Card):
    """All drives and chosen folders. ``forgotten`` carries the path of a folder that is no longer wanted."""

    forgotten = Signal(str)

    def __init__(self, say: Say, browse: Callable[[], object]):
        choose = button(say(N_("&Choose a folder…")), browse, icon="folder")
        super().__init__(say(N_("Drives and folders")), actions=(choose,))
        self._say = say
        self._shown: tuple[tuple[str, ...], ...] | None = None
        self._lines: list[PlaceLine] = []
        self._none = label(say(N_("No drive is plugged in. One that is plugged in appears here by itself.")), "muted",
                           wrap=True)
        self._box = QVBoxLayout()
        self._box.setSpacing(theme.M)
        self.add(self._none)
        self.add(holder(self._box))

    def show_places(self, places: list[Place]) -> bool:
        """Show ``places``.

        Returns:
            Whether one came, went or changed its state since the last time, free room aside.
        """
        now = tuple(place.identity for place in places)
        if now == self._shown:
            for shown, place in zip(self._lines, places, strict=True):
                shown.show_room(place)
            return False
        self._shown = now
        clear(self._box)
        self._lines = []
        for place in places:
            if self._lines:
                self._box.addWidget(line())
            forget = None if place.drive else (lambda path=str(place.path): self.forgotten.emit(path))
            self._lines.append(PlaceLine(place, self._say, forget, not all(p.drive for p in places)))
            self._box.addWidget(self._lines[-1])
        self._none.setVisible(not places)
        return True
