"""Choosing a rate in bytes a second: one of a few, or any that is typed."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox

from console import units
from console.i18n import N_
from ui import theme

OFFERED_MIB_PER_S = (10, 25, 50, 100, 250, 500)


class RateBox(QComboBox):
    """No limit, a usual rate, or one that is typed, such as ``20 MiB``. ``given`` carries bytes a second, 0 for no limit."""

    given = Signal(int)

    def __init__(self, say: Callable[..., str]):
        super().__init__()
        self._say = say
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.addItem(say(N_("No limit")), 0)
        for rate in OFFERED_MIB_PER_S:
            self.addItem(f"{rate} MiB/s", rate << 20)
        self.setToolTip(say(N_("Most that is sent in a second, such as 20 MiB; write it as 20MiB or 25MB.")))
        self.setMinimumContentsLength(10)
        self._last = 0
        self.lineEdit().editingFinished.connect(self._typed)
        self.activated.connect(lambda _place: self._typed())
        self.editTextChanged.connect(lambda _text: self._judge())

    def bytes_per_s(self) -> int | None:
        """The rate; 0 for no limit, None where what is typed is no rate."""
        text = self.currentText().strip()
        place = self.findText(text)
        if place >= 0:
            return self.itemData(place)
        try:
            return units.parse_size(text.removesuffix("/s").replace(" ", ""))
        except ValueError:
            return None

    def show_rate(self, bytes_per_s: int) -> None:
        """Show a rate without giving it."""
        self._last = bytes_per_s
        place = self.findData(bytes_per_s)
        self.setEditText(self.itemText(place) if place >= 0 else units.rate(bytes_per_s))

    def _judge(self) -> None:
        theme.set_property(self.lineEdit(), "wrong", self.bytes_per_s() is None)

    def _typed(self) -> None:
        rate = self.bytes_per_s()
        if rate is not None and rate != self._last:
            self._last = rate
            self.given.emit(rate)
