"""Choosing some of many: a list with tick boxes and an all-or-none box above it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QListWidget, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

from console.i18n import N_
from ui import theme
from ui.widgets.basic import tip


class Picker(QWidget):
    """Ticked names; ``changed`` when the ticks change."""

    changed = Signal()

    def __init__(self, say: Callable[..., str], name: str, height: int | None = 148):
        super().__init__()
        self._say = say
        self._all = QCheckBox(say(N_("All")))
        self._list = QListWidget()
        self._list.setAccessibleName(name)
        self._list.setUniformItemSizes(True)
        if height:
            self._list.setFixedHeight(height)
        else:  # as high as what stands beside it
            self._list.setMinimumHeight(96)
            self._list.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.XS)
        layout.addWidget(self._all)
        layout.addWidget(self._list)
        self._all.clicked.connect(self._tick_all)
        self._list.itemChanged.connect(lambda _item: self._ticked())

    def show_names(self, entries: Iterable[tuple[str, str]], ticked: Iterable[str] | None = None) -> None:
        """Offer ``entries`` (name, remark); ``ticked`` None keeps the present ticks, and ticks all the first time."""
        entries = list(entries)
        before = set(self.names()) if ticked is None else set(ticked)
        if ticked is None and not self._list.count():
            before = {name for name, _remark in entries}
        self._list.blockSignals(True)
        self._list.clear()
        for name, remark in entries:
            item = QListWidgetItem(f"{name}   {remark}" if remark else name)
            item.setData(Qt.ItemDataRole.UserRole, name)
            item.setToolTip(tip(item.text()))
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if name in before else Qt.CheckState.Unchecked)
            self._list.addItem(item)
        self._list.blockSignals(False)
        self._ticked()

    def names(self) -> tuple[str, ...]:
        """The ticked names."""
        items = (self._list.item(place) for place in range(self._list.count()))
        return tuple(i.data(Qt.ItemDataRole.UserRole) for i in items if i.checkState() == Qt.CheckState.Checked)

    def offered(self) -> int:
        """How many names there are."""
        return self._list.count()

    def tick(self, names: Iterable[str]) -> None:
        """Tick exactly ``names``."""
        wanted = set(names)
        for place in range(self._list.count()):
            item = self._list.item(place)
            item.setCheckState(Qt.CheckState.Checked if item.data(Qt.ItemDataRole.UserRole) in wanted
                               else Qt.CheckState.Unchecked)

    def _tick_all(self, ticked: bool) -> None:
        self._list.blockSignals(True)
        for place in range(self._list.count()):
            self._list.item(place).setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        self._list.blockSignals(False)
        self._ticked()

    def _ticked(self) -> None:
        chosen, count = len(self.names()), self._list.count()
        self._all.setText(self._say(N_("All ({chosen} of {count})"), chosen=chosen, count=count))
        self._all.setChecked(bool(count) and chosen == count)
        self.changed.emit()
