"""Finds text that does not fit: walks what is visible and compares what each part needs with what it has."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QComboBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QScrollArea,
    QStyle,
    QStyleOptionComboBox,
    QTabBar,
    QTableView,
    QWidget,
)

SLACK = 1


def cut_off(root: QWidget) -> list[str]:
    """What is cut off in ``root``, in words; empty when all is well."""
    found: list[str] = []
    for widget in [root, *root.findChildren(QWidget)]:
        if widget.isVisibleTo(root) and widget.window() is root.window():
            found += [f"{_path(widget)}: {what}" for what in _faults(widget)]
    return found


def _faults(widget: QWidget) -> list[str]:
    from ui.widgets.basic import ElidedLabel

    if isinstance(widget, ElidedLabel):
        # Giving way is its work; then the whole text has to be in the tool tip.
        return [f"elided without a tool tip: {widget.text()!r}"] if widget.elided() and not widget.toolTip() else []
    if isinstance(widget, QLabel):
        return _label(widget)
    if isinstance(widget, (QPushButton, QCheckBox)) or (isinstance(widget, QAbstractButton) and widget.text()):
        return _room(widget, widget.text()) if widget.text() else []
    if isinstance(widget, QComboBox):
        return _combo(widget)
    if isinstance(widget, QTabBar):
        return [f"tabs need {widget.sizeHint().width()}, have {widget.width()}"] \
            if widget.sizeHint().width() > widget.width() + SLACK else []
    if isinstance(widget, QHeaderView):
        return _header(widget)
    if isinstance(widget, QScrollArea):
        return _page(widget)
    return []


def _label(widget: QLabel) -> list[str]:
    if not widget.text():
        return []
    if widget.wordWrap():
        need = widget.heightForWidth(widget.width())
        longest = max((widget.fontMetrics().horizontalAdvance(word) for word in widget.text().split()), default=0)
        low = need > widget.height() + SLACK
        faults = [f"{widget.text()!r} needs a height of {need}, has {widget.height()}"] if low else []
        broken = longest > widget.contentsRect().width() + SLACK and widget.text().isascii()
        return faults + ([f"a word of {widget.text()!r} is wider than its label"] if broken else [])
    return _room(widget, widget.text())


def _room(widget: QWidget, text: str) -> list[str]:
    need = widget.minimumSizeHint() if isinstance(widget, QLabel) else widget.sizeHint()
    faults = []
    if need.width() > widget.width() + SLACK:
        faults.append(f"{text!r} needs a width of {need.width()}, has {widget.width()}")
    if need.height() > widget.height() + SLACK:
        faults.append(f"{text!r} needs a height of {need.height()}, has {widget.height()}")
    return faults + _outside(widget, text)


def _outside(widget: QWidget, text: str) -> list[str]:
    """A widget that sticks out of the window to the right cannot be scrolled to."""
    window = widget.window()
    over = widget.mapTo(window, QPoint(widget.width(), 0)).x() - window.width()
    return [f"{text!r} ends {over} px outside of the window"] if over > SLACK else []


def _combo(widget: QComboBox) -> list[str]:
    option = QStyleOptionComboBox()
    widget.initStyleOption(option)
    room: QRect = widget.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option,
                                                QStyle.SubControl.SC_ComboBoxEditField, widget)
    need = QFontMetrics(widget.font()).horizontalAdvance(widget.currentText())
    return [f"{widget.currentText()!r} needs {need}, has {room.width()}"] \
        if need > room.width() + SLACK and not widget.toolTip() else []


def _header(widget: QHeaderView) -> list[str]:
    if widget.orientation() != Qt.Orientation.Horizontal or not isinstance(widget.parent(), QTableView):
        return []
    model, faults = widget.model(), []
    for section in range(widget.count()):
        text = model.headerData(section, Qt.Orientation.Horizontal)
        need = widget.fontMetrics().horizontalAdvance(str(text)) + 22
        if text and not widget.isSectionHidden(section) and need > widget.sectionSize(section) + SLACK:
            faults.append(f"heading {text!r} needs {need}, has {widget.sectionSize(section)}")
    return faults


def _page(widget: QScrollArea) -> list[str]:
    inner = widget.widget()
    if inner is None or widget.horizontalScrollBarPolicy() != Qt.ScrollBarPolicy.ScrollBarAlwaysOff:
        return []
    over = inner.minimumSizeHint().width() - widget.viewport().width()
    return [f"the page needs {over} px more than it has"] if over > SLACK else []


def _path(widget: QWidget) -> str:
    names = []
    while widget is not None and len(names) < 5:
        names.append(widget.objectName() or type(widget).__name__)
        widget = widget.parentWidget()
    return "/".join(reversed(names))
