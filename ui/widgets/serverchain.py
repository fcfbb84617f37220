"""The way to a server, hop by hop, from this desktop."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

from console.i18n import N_
from ui import theme
from ui.widgets.basic import ElidedLabel, button, row


class HopChain(QWidget):
    """Jump servers, nearest first; ``changed`` when there is one more or less."""

    changed = Signal()

    def __init__(self, say: Callable[..., str], names: Iterable[str], hops: Iterable[str] = ()):
        super().__init__()
        self._say, self._names, self._hops, self._target = say, sorted(names), list(hops), ""
        self._way = ElidedLabel("")
        self._choice = QComboBox()
        self._choice.setAccessibleName(say(N_("Through (jump servers)")))
        self._back = button(say(N_("Remove the last")), self.take_back)
        self._choice.activated.connect(self._chosen)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.XS)
        top = row(self._choice, self._back)
        top.setStretch(0, 1)
        layout.addLayout(top)
        layout.addWidget(self._way)
        self.setFocusProxy(self._choice)
        self._show()

    def hops(self) -> tuple[str, ...]:
        """The names, nearest first."""
        return tuple(self._hops)

    def show_target(self, name: str) -> None:
        """Name the server at the end of the way."""
        self._target = name
        self._show()

    def add(self, name: str) -> None:
        """One hop more, behind the last."""
        self._hops.append(name)
        self._show()
        self.changed.emit()

    def take_back(self) -> None:
        """The last hop goes."""
        if self._hops:
            self._hops.pop()
            self._show()
            self.changed.emit()

    def _chosen(self, place: int) -> None:
        name = self._choice.itemData(place)
        if name:
            self.add(name)

    def _show(self) -> None:
        left = [name for name in self._names if name not in self._hops and name != self._target]
        self._choice.clear()
        self._choice.addItem(self._say(N_("Add a jump server…") if left else N_("No other server to go through")), "")
        for name in left:
            self._choice.addItem(name, name)
        self._choice.setEnabled(bool(left))
        self._back.setEnabled(bool(self._hops))
        here, there = self._say(N_("this desktop")), self._target or self._say(N_("the server"))
        self._way.setText(" → ".join((here, *self._hops, there)))
