"""Servers as a list: rows change in place as answers arrive, and the operator chooses the columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import QMenu

from console.errors import shown
from ui.models.rows import RECORD, Column, RowModel
from ui.models.servers import ServerView
from ui.widgets.table import Table


class ServerRows(RowModel):
    """Server views as rows. Cells are rendered when they are looked at, since most rows are out of sight."""

    def __init__(self, columns: Sequence[Column], parent: Any):
        super().__init__(columns, parent)
        self._place_of: dict[str, int] = {}

    def show_records(self, records: Sequence[ServerView]) -> None:
        """Replace all rows."""
        self.beginResetModel()
        self.records = list(records)
        self._cells = [() for _record in records]
        self._place_of = {view.name: place for place, view in enumerate(records)}
        self.endResetModel()

    def update_records(self, views: Iterable[ServerView]) -> None:
        """Take newer states of servers that have a row; rows are neither added nor taken away."""
        places = []
        for view in views:
            place = self._place_of.get(view.name)
            if place is not None and self.records[place] is not view:
                self.records[place], self._cells[place] = view, ()
                places.append(place)
        for place in sorted(places):
            self.dataChanged.emit(self.index(place, 0), self.index(place, len(self.columns) - 1))

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Qt's."""
        if index.isValid() and role != RECORD and not self._cells[index.row()]:
            record = self.records[index.row()]
            self._cells[index.row()] = tuple(" ".join(str(shown(c.text(record))).split("\n")) for c in self.columns)
        return super().data(index, role)


class ServerTable(Table):
    """The list of servers.

    Signals:
        columns_chosen: the titles' ids of the columns that are shown now, as a list.
        asked_menu: a server's name and where on the screen its menu should open.
    """

    columns_chosen = Signal(object)
    asked_menu = Signal(str, QPoint)

    def __init__(self, columns: Sequence[Column], ids: Sequence[str], name: str):
        super().__init__(columns, name, key=lambda view: view.name)
        self._ids = tuple(ids)
        self.rows = ServerRows(columns, self)
        self.filter.setSourceModel(self.rows)
        self.filter.setDynamicSortFilter(True)
        self._heads(True)
        head = self.horizontalHeader()
        head.setSectionsMovable(True)
        head.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        head.customContextMenuRequested.connect(lambda at: self.columns_menu().popup(head.mapToGlobal(at)))
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._menu_at)

    def _menu_at(self, at: QPoint) -> None:
        index = self.indexAt(at)
        if index.isValid():
            self.asked_menu.emit(index.data(RECORD).name, self.viewport().mapToGlobal(at))

    def show_columns(self, ids: Iterable[str]) -> None:
        """Show exactly these columns; the first always is."""
        wanted = {self._ids[0], *ids}
        for place, name in enumerate(self._ids):
            self.setColumnHidden(place, name not in wanted)

    def columns_shown(self) -> list[str]:
        """The ids of the columns in sight."""
        return [name for place, name in enumerate(self._ids) if not self.isColumnHidden(place)]

    def columns_menu(self) -> QMenu:
        """A menu in which columns are ticked."""
        menu = QMenu(self)
        for place, column in enumerate(self.rows.columns):
            action = QAction(column.title, menu, checkable=True, checked=not self.isColumnHidden(place))
            action.setEnabled(place > 0)
            action.toggled.connect(lambda on, place=place: self._toggle(place, on))
            menu.addAction(action)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        return menu

    def _toggle(self, place: int, on: bool) -> None:
        self.setColumnHidden(place, not on)
        self.columns_chosen.emit(self.columns_shown())

    def hold_order(self, on: bool) -> None:
        """Keep rows where they are while answers arrive; let go, they are sorted once."""
        self.filter.setDynamicSortFilter(not on)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt's; Enter opens on every platform."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.current() is not None:
            self.opened.emit(self.current())
        else:
            super().keyPressEvent(event)

