"""The window asks for the password once more: for what asks for it each time, and after a while without a sign of life."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QDialog, QPushButton

from console.engine import Engine
from console.secrets import Secret
from console.servers.record import ServerRecord
from console.site import session as sessions
from tests.ui.test_screens import opened, settled
from ui.screens.signin import SignInDialog

PASSWORD = "seven grey herons wade"


@pytest.fixture
def later(monkeypatch):
    """Moves the sessions' clock on."""
    def move(engine, seconds: float) -> None:
        real = engine.session._clock
        monkeypatch.setattr(engine.session, "_clock", lambda: real() + seconds)

    return move


def ada(engine) -> None:
    engine.site.init("Harbour data hall 2", "ca", "internal")
    engine.accounts.add("ada", ("admin", "operator", "approver"), Secret(PASSWORD))
    engine.login("ada", Secret(PASSWORD))


def dialog(qtbot, window) -> SignInDialog:
    qtbot.waitUntil(lambda: any(d.isVisible() for d in window.findChildren(SignInDialog)))
    return next(d for d in window.findChildren(SignInDialog) if d.isVisible())


def answer(qtbot, shown: SignInDialog) -> None:
    shown.password.setText(PASSWORD)
    qtbot.mouseClick(next(b for b in shown.findChildren(QPushButton) if b.objectName() == "confirm"), Qt.MouseButton.LeftButton)


def test_what_asks_for_the_password_each_time_is_done_after_it_was_entered(qtbot, window, later, tmp_path):
    engine = window.desk.engine
    ada(engine)
    later(engine, sessions.PROOF_S + 1)
    done, problems = [], []
    window.desk.problem.connect(problems.append)
    window.desk.read(window, lambda: engine.audit.export(tmp_path / "drive"), done.append)
    shown = dialog(qtbot, window)
    assert shown.name.text() == "ada" and shown.name.isReadOnly() and not done
    answer(qtbot, shown)
    qtbot.waitUntil(lambda: bool(done))
    assert not problems
    assert [r["event"] for r in engine.audit.list(event="auth.")][:2] == ["auth.login", "auth.refused"]
    settled(qtbot, window)


def test_an_idle_session_locks_and_the_password_unlocks_it(qtbot, window, later):
    engine = window.desk.engine
    ada(engine)
    later(engine, sessions.ADMIN_IDLE_S + 1)
    window._lock_when_idle()
    shown = dialog(qtbot, window)
    qtbot.waitUntil(lambda: engine.audit.list(limit=1, event="auth.lock") != [])
    answer(qtbot, shown)
    qtbot.waitUntil(lambda: not engine.session.locked)
    assert engine.audit.list(limit=1, event="auth.")[0]["event"] == "auth.unlock"
    settled(qtbot, window)


def test_a_key_or_a_click_keeps_the_session(qtbot, window, later):
    engine = window.desk.engine
    ada(engine)
    later(engine, 300)
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_Shift)
    assert engine.session.left_s > sessions.ADMIN_IDLE_S - 60
    later(engine, 300)
    QTest.mouseClick(window.windowHandle(), Qt.MouseButton.LeftButton, pos=QPoint(300, 20))
    assert engine.session.left_s > sessions.ADMIN_IDLE_S - 60
    later(engine, sessions.ADMIN_IDLE_S + 1)
    QTest.keyClick(window.windowHandle(), Qt.Key.Key_Shift)
    assert engine.session.locked, "what is locked stays so"


def test_a_key_in_a_dialog_keeps_the_session(qtbot, window, later):
    engine = window.desk.engine
    ada(engine)
    window.show_problem(sessions.PASSWORD_AGAIN(actor="ada"))
    shown = next(w for w in window.findChildren(QDialog) if w.isVisible())
    qtbot.waitUntil(lambda: shown.windowHandle() is QApplication.focusWindow())
    later(engine, 300)
    QTest.keyClick(shown.windowHandle(), Qt.Key.Key_Shift)
    assert engine.session.left_s > sessions.ADMIN_IDLE_S - 60
    shown.close()


def test_a_session_begins_with_looking_after_what_a_broken_push_left(qtbot, qapp, tmp_path):
    with Engine.open(tmp_path / "workspace") as engine:
        ada(engine)
        engine.servers.add(ServerRecord("gone", "127.0.0.1", 9, "ops"))
        engine.push.leftovers.expect(["gone"])
        engine.push.leftovers.settle(["gone"], [])
        engine.logout()
        application = opened(qapp, engine)
        try:
            shown = dialog(qtbot, application.window)
            assert not engine.jobs.history(), "nobody is logged in yet"
            shown.name.setText("ada")
            answer(qtbot, shown)
            qtbot.waitUntil(lambda: any(j["kind"] == "push.tidy" and j["state"] == "succeeded" for j in engine.jobs.history()))
            settled(qtbot, application.window)
        finally:
            application.close()
        assert engine.push.leftovers.where() == ["gone"]
