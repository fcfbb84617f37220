"""Every screen, empty and full, in both languages, both themes and two sizes, with no text cut off."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from console.engine import Engine
from tests.ui import scenes
from tests.ui.fit import cut_off
from ui import theme
from ui.app import Application
from ui.preferences import Preferences
from ui.window import SCREENS

VARIANTS = (("light", "en", 1024, 700), ("dark", "zh_CN", 1024, 700), ("light", "zh_CN", 1680, 1050),
            ("dark", "en", 1680, 1050))
"""Every language in every size; the themes share one layout, so each is seen in both sizes but not with all languages."""


def opened(qapp, engine: Engine) -> Application:
    qapp.setStyle("Fusion")
    engine.settings.set("window.theme", "light")
    engine.settings.set("window.language", "en")
    application = Application(qapp, engine, Preferences(engine.settings), "en")
    application.window.show()
    return application


def scratch_of(application: Application) -> Path:
    """Where a scene keeps its drive: beside the workspace."""
    return application.engine.workspace.parent


def settled(qtbot, window) -> None:
    qtbot.waitUntil(lambda: window.current().ready and not window.current().busy(), timeout=20_000)
    qtbot.wait(60)


def faults_of(qtbot, widget, patience_ms: int = 2_000) -> list[str]:
    """What is cut off in a widget once it stands still: answers still coming in move what is below them for a moment."""
    faults = cut_off(widget)
    for _turn in range(patience_ms // 50):
        if not faults:
            break
        qtbot.wait(50)
        faults = cut_off(widget)
    return faults


def walk(qtbot, window, scratch) -> list[str]:
    faults = []
    for name, *_rest in SCREENS:
        window.show_screen(name)
        settled(qtbot, window)
        for view, step in scenes.views(window, name):
            step()
            settled(qtbot, window)
            faults += [f"{name}{view}: {fault}" for fault in faults_of(qtbot, window)]
        for view, dialog in scenes.dialogs(window, name, scratch):
            qtbot.waitExposed(dialog)
            qtbot.wait(60)
            faults += [f"{name}-{view}: {fault}" for fault in faults_of(qtbot, dialog)]
            too_large = dialog.width() > window.width() or dialog.height() > window.height()
            faults += [f"{name}-{view}: the dialog is larger than the window: {dialog.size()}"] if too_large else []
            dialog.reject()
    return faults


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    with Engine.open(tmp_path_factory.mktemp("empty") / "workspace") as engine:
        yield engine


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("full")
    with Engine.open(scratch / "workspace") as engine:
        scenes.full_site(engine, scratch)
        yield engine
        engine.practice.down()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v)))
@pytest.mark.parametrize("site", ["empty", "full"])
def test_no_text_is_cut_off(qtbot, qapp, request, site, variant):
    application = opened(qapp, request.getfixturevalue(site))
    try:
        theme_name, lang, width, height = variant
        application.window.resize(width, height)
        scenes.drives_at(application, scratch_of(application))
        application.window.restyle(theme_name, lang)
        assert not walk(qtbot, application.window, scratch_of(application))
        assert theme.palette().name == theme_name
        assert not list((application.engine.workspace / "crashes").glob("*")) if (
            application.engine.workspace / "crashes").is_dir() else True
    finally:
        application.close()


def test_the_check_for_cut_text_sees_cut_text(qtbot):
    from PySide6.QtWidgets import QLabel, QWidget

    from ui.widgets.basic import button, column, label

    root = QWidget()
    qtbot.addWidget(root)
    narrow, low = label("a long line in a narrow place"), QLabel("several words that need several lines", wordWrap=True)
    pressed = button("A button with too little room")
    for widget in (narrow, pressed):
        widget.setFixedWidth(40)
    root.setLayout(column(narrow, low, pressed))
    root.resize(60, 200)
    root.show()
    low.setFixedHeight(8)
    assert len(cut_off(root)) >= 3


def test_an_empty_screen_says_what_to_do_next(qtbot, qapp, empty):
    from ui.widgets.basic import EmptyState

    application = opened(qapp, empty)
    try:
        for name in ("setup", "library", "site", "readiness", "deploy"):
            application.window.show_screen(name)
            settled(qtbot, application.window)
            shown = [state for state in application.window.current().findChildren(EmptyState) if state.isVisible()]
            assert shown, name
            assert any(button.isVisible() for state in shown for button in state.findChildren(_button())), name
    finally:
        application.close()


def _button():
    from PySide6.QtWidgets import QPushButton

    return QPushButton


def test_the_keyboard_alone_reaches_every_screen(qtbot, qapp, empty):
    from PySide6.QtCore import Qt

    application = opened(qapp, empty)
    try:
        window = application.window
        with qtbot.waitActive(window):
            window.activateWindow()
        for place, entry in enumerate(SCREENS, 1):
            qtbot.keyClick(window, getattr(Qt.Key, f"Key_{place}"), Qt.KeyboardModifier.ControlModifier)
            qtbot.waitUntil(lambda name=entry[0]: window.current().id == name)
        settled(qtbot, window)
        qtbot.keyClick(window, Qt.Key.Key_T, Qt.KeyboardModifier.ControlModifier)
        qtbot.waitUntil(lambda: theme.palette().name == "dark" and window.current().id == "proof")
        qtbot.keyClick(window, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
        qtbot.waitUntil(lambda: application.desk.lang == "zh_CN" and window.current().id == "proof")
    finally:
        application.close()


def test_everything_that_takes_focus_has_a_name(qtbot, qapp, full):
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QAbstractButton, QTabBar, QWidget

    application = opened(qapp, full)
    try:
        nameless = []
        for name, *_rest in SCREENS:
            application.window.show_screen(name)
            settled(qtbot, application.window)
            for widget in application.window.current().findChildren(QWidget):
                takes = widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isVisible()
                said = widget.accessibleName() or (isinstance(widget, QAbstractButton) and widget.text())
                if takes and not said and not isinstance(widget, QTabBar) and not hasattr(widget, "textFormat") \
                        and not widget.objectName().startswith("qt_"):
                    nameless.append(f"{name}: {type(widget).__name__} {widget.objectName()}")
        assert not nameless, "\n".join(nameless)
    finally:
        application.close()


def test_the_first_frame_is_quick(qtbot, qapp, empty):
    """By what it costs the window's thread, which is the same on a machine that others keep busy."""
    started = time.thread_time()
    application = opened(qapp, empty)
    try:
        qtbot.waitUntil(lambda: application.window._seen, timeout=30_000)
        assert time.thread_time() - started < 1.5
    finally:
        application.close()
