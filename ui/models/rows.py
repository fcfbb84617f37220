"""A table of records: columns say how a record is shown, aligned, coloured and sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QSortFilterProxyModel, Qt

from console.errors import shown

RECORD = Qt.ItemDataRole.UserRole
SORT = Qt.ItemDataRole.UserRole + 1
TONE = Qt.ItemDataRole.UserRole + 2
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: its heading, in the reader's language.
        text: the cell's text of a record.
        number: whether cells and heading are set flush right.
        tone: the status tone of a record's cell, or None for plain text.
        sort: what to sort by, where that is not the text.
        width: its width in pixels; 0 takes what is left.
        mono: whether cells are set in the fixed-width font.
    """

    title: str
    text: Callable[[Any], str]
    number: bool = False
    tone: Callable[[Any], str | None] | None = None
    sort: Callable[[Any], Any] | None = None
    width: int = 0
    mono: bool = False


class RowModel(QAbstractTableModel):
    """Records as rows. Replacing them keeps the columns; cells are rendered once, when the records arrive."""

    def __init__(self, columns: Sequence[Column], parent: QObject | None = None):
        super().__init__(parent)
        self.columns = tuple(columns)
        self.records: list[Any] = []
        self._cells: list[tuple[str, ...]] = []
        self.ticked: set[Any] | None = None

    def show_records(self, records: Sequence[Any]) -> None:
        """Replace all rows."""
        self.beginResetModel()
        self.records = list(records)
        self._cells = [tuple(" ".join(str(shown(c.text(record))).split("\n")) for c in self.columns)
                       for record in records]
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Qt's."""
        return 0 if parent and parent.isValid() else len(self.records)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Qt's."""
        return 0 if parent and parent.isValid() else len(self.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Qt's."""
        if not index.isValid():
            return None
        column = self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return self._cells[index.row()][index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT if column.number else _LEFT
        return self._more(index, column, role)

    def _more(self, index: QModelIndex, column: Column, role: int) -> Any:
        record = self.records[index.row()]
        if role == RECORD:
            return record
        if role == TONE:
            return column.tone(record) if column.tone else None
        if role == SORT:
            return column.sort(record) if column.sort else self._cells[index.row()][index.column()].casefold()
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{column.title}: {self._cells[index.row()][index.column()]}"
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Qt's."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(self.columns):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section].title
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT if self.columns[section].number else _LEFT
        return None


class RowFilter(QSortFilterProxyModel):
    """Sorts by each column's own key, and keeps the rows in which every word of the filter occurs."""

    def __init__(self, parent: QObject | None = None):
        super().__init__(parent)
        self.setSortRole(SORT)
        self._words: list[str] = []

    def look_for(self, text: str) -> None:
        """Show only rows that hold all words of ``text``."""
        self._words = text.casefold().split()
        self.invalidate()

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        """Qt's."""
        if not self._words:
            return True
        model = self.sourceModel()
        text = "\t".join(model._cells[row]).casefold()
        return all(word in text for word in self._words)

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        """Qt's; what is unknown comes last, and mixed kinds compare as text."""
        one, two = left.data(SORT), right.data(SORT)
        if one is None or two is None:
            return two is None and one is not None
        try:
            return one < two
        except TypeError:
            return str(one) < str(two)
