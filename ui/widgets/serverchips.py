"""How many servers are in which state, each a button that shows only those; words give way where there is no room."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QButtonGroup, QPushButton, QSizePolicy, QWidget

from console.i18n import N_
from ui import icons, theme
from ui.models.servers import CHANGED, SERVER_STATES
from ui.widgets.basic import tip

GAP = 6


class StateChips(QWidget):
    """One button for each class of server that occurs. ``chosen`` carries the class, empty for all."""

    chosen = Signal(str)

    def __init__(self, say: Callable[..., str]):
        super().__init__()
        self._say = say
        self._group = QButtonGroup(self)
        self._buttons: dict[str, _Chip] = {}
        self._current = ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(say(N_("Servers by state")))
        self.show_counts({}, 0)

    def show_counts(self, counts: dict[str, int], total: int) -> None:
        """Offer all, and each class with its count."""
        words = {"": (None, self._say(N_("All")), total)}
        for name, count in counts.items():
            tone, word = ("info", N_("Changed")) if name == CHANGED else SERVER_STATES[name]
            words[name] = "triangle" if name == CHANGED else tone, self._say(word), count
        if self._current and self._current not in words:
            tone, word = ("triangle", N_("Changed")) if self._current == CHANGED else SERVER_STATES[self._current]
            words[self._current] = tone, self._say(word), 0  # it stays while it is chosen, or the operator would be lost
        for name in self._buttons.keys() - words.keys():
            self._group.removeButton(self._buttons[name])
            gone = self._buttons.pop(name)
            gone.hide()
            gone.deleteLater()
        for name, (tone, word, count) in words.items():
            if name not in self._buttons:
                self._add(name, tone)
            self._buttons[name].show_count(word, count)
        self._order = list(words)
        self._buttons[self._current].setChecked(True)
        self._lay_out()

    def current(self) -> str:
        """The class that is shown."""
        return self._current

    def choose(self, name: str) -> None:
        """Show a class without announcing it."""
        self._current = name if name in self._buttons else ""
        self._buttons[self._current].setChecked(True)

    def _add(self, name: str, tone: str | None) -> None:
        made = self._buttons[name] = _Chip(tone)
        made.setParent(self)
        self._group.addButton(made)
        made.clicked.connect(lambda _checked=False, name=name: self._clicked(name))
        made.show()

    def _clicked(self, name: str) -> None:
        self._current = name
        self.chosen.emit(name)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt's."""
        super().resizeEvent(event)
        self._lay_out()

    def sizeHint(self) -> QSize:
        """As wide as all chips with their words."""
        chips = [self._buttons[name].full for name in self._order]
        return QSize(sum(chips) + GAP * (len(chips) - 1), _Chip.HIGH)

    def minimumSizeHint(self) -> QSize:
        """As wide as all chips without their words."""
        chips = [self._buttons[name].small for name in self._order]
        return QSize(sum(chips) + GAP * (len(chips) - 1), _Chip.HIGH)

    def _lay_out(self) -> None:
        """Chips from the right lose their words first: what needs a person stands at the left."""
        chips = [self._buttons[name] for name in self._order]
        room = self.width() - GAP * (len(chips) - 1)
        worded, left = len(chips), sum(chip.full for chip in chips)
        while left > room and worded > 1:
            worded -= 1
            left += chips[worded].small - chips[worded].full
        at, before = 0, None
        for place, chip in enumerate(chips):
            chip.show_words(place < worded)
            width = chip.full if place < worded else chip.small
            chip.setGeometry(at, 0, width, _Chip.HIGH)
            at += width + GAP
            if before is not None:
                QWidget.setTabOrder(before, chip)
            before = chip


class _Chip(QPushButton):
    HIGH = 28

    def __init__(self, tone: str | None):
        super().__init__(checkable=True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAutoDefault(False)
        self.setProperty("role", "chip")
        self._word, self._count, self.full, self.small = "", 0, 0, 0
        if tone:
            name, tone = ("change", "info") if tone == "triangle" else (icons.TONE_ICONS[tone], tone)
            self.setIcon(icons.icon(name, theme.palette().tone(tone).name(), size=14))
            self.setIconSize(QSize(14, 14))

    def show_count(self, word: str, count: int) -> None:
        """Say how many."""
        self._word, self._count = word, count
        said = f"{word} {count}"
        self.setAccessibleName(said)
        self.setToolTip(tip(said))
        metrics, icon = self.fontMetrics(), 20 if not self.icon().isNull() else 0
        self.full = metrics.horizontalAdvance(said) + icon + 28
        self.small = metrics.horizontalAdvance(str(count)) + icon + 24 if icon else self.full

    def show_words(self, words: bool) -> None:
        """Show the word beside the count, or the count alone."""
        text = f"{self._word} {self._count}" if words or self.icon().isNull() else str(self._count)
        if text != self.text():
            self.setText(text)

    def sizeHint(self) -> QSize:
        """Qt's."""
        return QSize(self.full if self._word and self._word in self.text() else self.small, self.HIGH)

