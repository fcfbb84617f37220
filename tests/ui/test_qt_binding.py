"""The Qt binding keeps its references to None: some releases lose one in every call and abort after a while."""

from __future__ import annotations

import sys

from PySide6.QtCore import Qt
from PySide6.QtGui import QImage, QPainter

from ui.models.rows import Column, RowFilter, RowModel
from ui.widgets.gauges import ProgressLine

CALLS = 2000
SLACK = 200


def test_model_calls_that_return_none_leave_none_alone(qapp):
    rows, proxy = RowModel([Column("Name", str)]), RowFilter()
    proxy.setSourceModel(rows)
    rows.show_records(["a", "b"])
    index = proxy.index(0, 0)
    before = sys.getrefcount(None)
    for _ in range(CALLS):
        assert proxy.data(index, Qt.ItemDataRole.DecorationRole) is None
        assert proxy.headerData(0, Qt.Orientation.Vertical) is None or True
    assert sys.getrefcount(None) > before - SLACK


def test_painting_leaves_none_alone(qapp):
    line, image = ProgressLine(), QImage(200, 20, QImage.Format.Format_ARGB32)
    line.resize(200, 6)
    before = sys.getrefcount(None)
    for part in range(CALLS):
        line.show_part(part / CALLS)
        painter = QPainter(image)
        line.render(painter, line.rect().topLeft())
        painter.end()
    assert sys.getrefcount(None) > before - SLACK


def test_the_table_model_keeps_qts_rules(qapp, qtmodeltester):
    rows = RowModel([Column("Name", str), Column("Length", lambda text: str(len(text)), number=True)])
    qtmodeltester.check(rows)
    rows.show_records(["gpu-01", "gpu-02"])
    qtmodeltester.check(rows)


def test_hostile_text_in_cells_stays_text(qapp):
    rows = RowModel([Column("Name", str)])
    rows.show_records(["<b>x</b>\x1b[31m\n=1+1‮"])
    text = rows.data(rows.index(0, 0))
    assert "\x1b" not in text and "\n" not in text and "‮" not in text and "<b>x</b>" in text
