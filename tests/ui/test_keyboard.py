"""The keyboard alone: everything that can be clicked is reached with Tab and arrows, in reading order, with a visible ring."""

from __future__ import annotations

import re

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QTabBar,
    QWidget,
)

from tests.ui import scenes
from tests.ui.test_screens import opened, settled
from ui import theme
from ui.window import SCREENS

INPUTS = (QAbstractButton, QAbstractItemView, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit, QTabBar)
MOST = 120


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    from console.engine import Engine

    scratch = tmp_path_factory.mktemp("full")
    with Engine.open(scratch / "workspace") as engine:
        scenes.full_site(engine, scratch)
        yield engine, scratch
        engine.practice.down()


@pytest.fixture
def window(qtbot, qapp, full):
    engine, scratch = full
    application = opened(qapp, engine)
    scenes.drives_at(application, scratch)
    shown = application.window
    shown.resize(1280, 800)
    with qtbot.waitActive(shown):
        shown.activateWindow()
    try:
        yield shown
    finally:
        application.close()


def inputs(root: QWidget) -> list[QWidget]:
    """What a person can use in ``root`` now. Parts of a larger input, such as a spin box's line, belong to it."""
    return [widget for widget in root.findChildren(QWidget)
            if isinstance(widget, INPUTS) and widget.isVisible() and widget.isEnabled() and widget.window() is root.window()
            and not isinstance(widget.parentWidget(), (QAbstractSpinBox, QComboBox, QLineEdit, QAbstractItemView, QTabBar))
            and not widget.objectName().startswith("qt_")]


def walk(qtbot, root: QWidget) -> list[QWidget]:
    """What Tab comes by, once round."""
    seen: list[QWidget] = []
    for _step in range(MOST):
        qtbot.keyClick(root.window().focusWidget() or root.window(), Qt.Key.Key_Tab)
        now = QApplication.focusWidget()
        if now in seen:
            return seen
        if now is not None:
            seen.append(now)
    raise AssertionError(f"Tab does not come round in {MOST} steps")


def in_a_group(widget: QWidget, reached: list[QWidget]) -> bool:
    """Of buttons that exclude each other Tab reaches one, and the arrows the others."""
    if not isinstance(widget, QAbstractButton) or not (widget.autoExclusive() or widget.group()):
        return False
    return any(isinstance(one, QAbstractButton) and one.parentWidget() is widget.parentWidget()
               and (one.autoExclusive() or one.group()) for one in reached)


def told(widget: QWidget) -> str:
    return f"{type(widget).__name__} {widget.accessibleName() or getattr(widget, 'text', str)()!r}"


@pytest.mark.parametrize("screen", [entry[0] for entry in SCREENS])
def test_tab_reaches_everything_on_a_screen(qtbot, window, screen):
    window.show_screen(screen)
    settled(qtbot, window)
    for view, step in scenes.views(window, screen):
        step()
        settled(qtbot, window)
        reached = walk(qtbot, window)
        missed = [widget for widget in inputs(window) if widget not in reached and not in_a_group(widget, reached)]
        assert not missed, f"{screen}{view}: " + "; ".join(map(told, missed))


def test_tab_goes_through_the_builder_in_reading_order(qtbot, window, full):
    window.show_screen("library")
    settled(qtbot, window)
    for name, dialog in scenes.dialogs(window, "library", full[1]):
        qtbot.waitUntil(lambda made=dialog: made.activateWindow() or QApplication.activeWindow() is made)
        if name == "builder":
            qtbot.waitUntil(lambda made=dialog: made._weight is not None, timeout=20_000)
        reached = walk(qtbot, dialog)
        missed = [widget for widget in inputs(dialog) if widget not in reached]
        assert not missed, f"{name}: " + "; ".join(map(told, missed))
        tops = [widget.mapTo(dialog, QPoint(0, widget.height() // 2)).y() for widget in reached]
        foot = tops.index(max(tops))  # the round ends with the buttons at the foot
        while foot + 1 < len(tops) and tops[foot + 1] > max(tops) - theme.ROW_HEIGHT:
            foot += 1
        tops = tops[foot + 1:] + tops[:foot + 1]
        back = [(one, other) for one, other in zip(tops, tops[1:], strict=False) if other < one - theme.ROW_HEIGHT]
        assert not back, f"{name}: the order jumps up at {back}"
        dialog.reject()


@pytest.mark.parametrize("theme_name", ["light", "dark"])
def test_what_has_the_focus_shows_it(qtbot, window, theme_name):
    window.restyle(theme_name, "en")
    kinds: dict[tuple[str, str], QWidget] = {}
    for screen in ("setup", "library", "readiness", "deploy", "proof"):
        window.show_screen(screen)
        settled(qtbot, window)
        for _view, step in scenes.views(window, screen):
            step()
            settled(qtbot, window)
            for widget in inputs(window):
                kind = (type(widget).__name__, str(widget.property("role") or ""))
                if kind in kinds or not widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
                    continue
                kinds[kind] = widget
                other = next(one for one in window._buttons.values() if one is not widget)
                other.setFocus(Qt.FocusReason.TabFocusReason)
                before = widget.grab().toImage()
                widget.setFocus(Qt.FocusReason.TabFocusReason)
                assert widget.hasFocus() and widget.grab().toImage() != before, f"{told(widget)} shows no focus"
    assert len(kinds) >= 8


def test_the_ring_follows_the_screen(qtbot, window):
    window._buttons["home"].setFocus()
    for place, entry in enumerate(SCREENS, 1):
        qtbot.keyClick(window, getattr(Qt.Key, f"Key_{place}"), Qt.KeyboardModifier.ControlModifier)
        qtbot.waitUntil(lambda name=entry[0]: window.current().id == name and window._buttons[name].hasFocus())


def twice(root: QWidget) -> list[str]:
    """Letters that two visible parts of ``root`` want for themselves."""
    wanted: dict[str, list[str]] = {}
    for widget in root.findChildren(QWidget):
        text = widget.text() if isinstance(widget, (QAbstractButton, QLabel)) else ""
        found = re.search(r"(?<!&)&([^&\s])", text)
        buddy = not isinstance(widget, QLabel) or widget.buddy() is not None
        if found and buddy and widget.isVisible() and widget.window() is root.window():
            wanted.setdefault(found[1].casefold(), []).append(text)
    return [f"{letter}: {texts}" for letter, texts in sorted(wanted.items()) if len(texts) > 1]


@pytest.mark.parametrize("lang", ["en", "zh_CN"])
def test_no_two_parts_in_sight_want_the_same_letter(qtbot, window, full, lang):
    window.restyle("light", lang)
    faults = []
    for screen, *_rest in SCREENS:
        window.show_screen(screen)
        settled(qtbot, window)
        for view, step in scenes.views(window, screen):
            step()
            settled(qtbot, window)
            faults += [f"{screen}{view} {fault}" for fault in twice(window)]
        for name, dialog in scenes.dialogs(window, screen, full[1]):
            qtbot.waitExposed(dialog)
            faults += [f"{screen}-{name} {fault}" for fault in twice(dialog)]
            dialog.reject()
    assert not faults, "\n".join(faults)
