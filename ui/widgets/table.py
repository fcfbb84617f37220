"""The table every list is shown in: fixed rows, numbers flush right, elided text with a tool tip, status cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QEvent, QModelIndex, QRectF, Qt, Signal
from PySide6.QtGui import QHelpEvent, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QToolTip,
)

from ui import icons, theme
from ui.models.rows import RECORD, TONE, Column, RowFilter, RowModel
from ui.widgets.basic import tip


class _Cell(QStyledItemDelegate):
    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        tone = index.data(TONE)
        mono = self.parent().rows.columns[self.parent().source_column(index)].mono
        if mono:
            option.font = theme.mono()
        if not tone:
            super().paint(painter, option, index)
            return
        colour = theme.palette().tone(tone)
        self.initStyleOption(option, index)
        text, option.text = option.text, ""
        style = option.widget.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, option, painter, option.widget)
        painter.save()
        area = option.rect.adjusted(8, 0, -8, -1)  # the rule below the row is not part of the cell
        icons.draw(painter, icons.TONE_ICONS[tone], colour, QRectF(area.left(), area.center().y() - 7, 15, 15))
        painter.setPen(colour)
        painter.setFont(option.font)
        area.adjust(21, 0, 0, 0)
        painter.drawText(area, int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft),
                         option.fontMetrics.elidedText(text, Qt.TextElideMode.ElideRight, area.width()))
        painter.restore()

    def helpEvent(self, event: QHelpEvent, view: QAbstractItemView, option: QStyleOptionViewItem,
                  index: QModelIndex) -> bool:
        """Qt's; shows a cell in full when it does not fit."""
        if event.type() != QEvent.Type.ToolTip:
            return super().helpEvent(event, view, option, index)
        text = index.data() or ""
        room = option.rect.width() - 16 - (21 if index.data(TONE) else 0)
        fits = view.fontMetrics().horizontalAdvance(text) <= room
        QToolTip.showText(event.globalPos(), "" if fits else tip(text), view)
        return True


class Table(QTableView):
    """Records in columns. ``chosen`` carries the current record (or None), ``opened`` the one that was activated."""

    chosen = Signal(object)
    opened = Signal(object)

    def __init__(self, columns: Sequence[Column], name: str, *, sortable: bool = True, multi: bool = False,
                 key: Callable[[Any], Any] | None = None):
        super().__init__()
        self.rows, self.filter, self._key = RowModel(columns, self), RowFilter(self), key
        self.filter.setSourceModel(self.rows)
        self.setModel(self.filter)
        self.setItemDelegate(_Cell(self))
        self.setAccessibleName(name)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection if multi
                              else QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self._heads(sortable)
        self.selectionModel().currentRowChanged.connect(lambda *_: self.chosen.emit(self.current()))
        self.activated.connect(lambda index: self.opened.emit(index.data(RECORD)))

    def _heads(self, sortable: bool) -> None:
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(theme.ROW_HEIGHT)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        head = self.horizontalHeader()
        head.setHighlightSections(False)
        head.setMinimumSectionSize(56)
        head.setTextElideMode(Qt.TextElideMode.ElideRight)
        for place, column in enumerate(self.rows.columns):
            head.setSectionResizeMode(place, QHeaderView.ResizeMode.Interactive if column.width
                                      else QHeaderView.ResizeMode.Stretch)
            if column.width:
                head.resizeSection(place, column.width)
        self.setSortingEnabled(sortable)
        if sortable:
            self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)

    def source_column(self, index: QModelIndex) -> int:
        """The model's column of a view's ``index``."""
        return index.column()

    def show_records(self, records: Sequence[Any], *, select_first: bool = False) -> None:
        """Replace all rows, keeping the current record where its key is still there."""
        before = self._key(self.current()) if self._key and self.current() is not None else None
        self.rows.show_records(records)
        if not self._select(before) and select_first and records:
            self.setCurrentIndex(self.filter.index(0, 0))

    def _select(self, key: Any) -> bool:
        for place, record in enumerate(self.rows.records if key is not None and self._key else ()):
            if self._key(record) == key:
                self.setCurrentIndex(self.filter.mapFromSource(self.rows.index(place, 0)))
                return True
        return False

    def select_key(self, key: Any) -> bool:
        """Make the record with ``key`` current."""
        return self._select(key)

    def current(self) -> Any:
        """The current record, or None."""
        return self.currentIndex().data(RECORD) if self.currentIndex().isValid() else None

    def selected(self) -> list[Any]:
        """All selected records."""
        return [index.data(RECORD) for index in self.selectionModel().selectedRows()]

    def fit_rows(self, most: int = 12) -> None:
        """Be as high as the rows are, at most ``most`` of them."""
        rows = max(1, min(most, self.filter.rowCount()))
        self.setFixedHeight(rows * theme.ROW_HEIGHT + self.horizontalHeader().sizeHint().height() + 3)
