"""Tabs inside a page that scrolls: only the chosen part takes room, which a stacked widget would not grant."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QTabBar, QVBoxLayout, QWidget

from ui import theme


class Tabs(QWidget):
    """A tab bar over parts of which one is in sight."""

    currentChanged = Signal(int)

    def __init__(self, name: str, parts: tuple[tuple[str, QWidget], ...]):
        super().__init__()
        self._bar, self._parts = QTabBar(drawBase=False, documentMode=True, expanding=False), [part for _caption,
                                                                                               part in parts]
        self._bar.setAccessibleName(name)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.M)
        layout.addWidget(self._bar)
        for caption, part in parts:
            self._bar.addTab(caption)
            layout.addWidget(part, 1)
        self._bar.currentChanged.connect(self._show)
        self._show(0)

    def count(self) -> int:
        """How many parts there are."""
        return len(self._parts)

    def currentIndex(self) -> int:
        """The part in sight."""
        return self._bar.currentIndex()

    def setCurrentIndex(self, place: int) -> None:
        """Bring a part up."""
        self._bar.setCurrentIndex(place)

    def _show(self, place: int) -> None:
        for number, part in enumerate(self._parts):
            part.setVisible(number == place)
        self.currentChanged.emit(place)
