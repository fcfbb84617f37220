"""Dialogs: secrets leave no trace in widgets, fingerprints are compared, errors speak the reader's language."""

from __future__ import annotations

import threading

import pytest
from PySide6.QtWidgets import QApplication, QCheckBox, QLineEdit, QPushButton

from console.engine import Engine
from console.i18n import tr
from console.secrets import Secret
from ui.app import Application
from ui.preferences import Preferences
from ui.widgets.dialogs import ErrorDialog, FingerprintDialog, SecretDialog, error_parts, plain_fingerprint


def say(text: str, **params) -> str:
    return tr(text, "en", **params)


@pytest.fixture
def application(qapp, tmp_path):
    with Engine.open(tmp_path / "workspace") as engine:
        made = Application(qapp, engine, Preferences(engine.settings), "en")
        made.window.show()
        yield made
        made.close()


def shown(qtbot, kind: type):
    def found():
        return [w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible()]

    qtbot.waitUntil(lambda: bool(found()), timeout=5000)
    return found()[0]


def test_a_secret_is_asked_for_once_and_kept_out_of_the_widget(qtbot, application):
    answers = []
    asking = application.engine.servers.credentials
    threads = [threading.Thread(target=lambda name=name: answers.append(asking.needed("password", name)))
               for name in ("a", "b")]
    for thread in threads:
        thread.start()
    dialog = shown(qtbot, SecretDialog)
    entry = dialog.findChild(QLineEdit)
    assert entry.echoMode() == QLineEdit.EchoMode.Password
    entry.setText("open sesame")
    dialog.findChildren(QCheckBox)[-1].setChecked(True)
    dialog.accept()
    assert entry.text() == ""
    qtbot.waitUntil(lambda: len(answers) == 2, timeout=5000)
    for thread in threads:
        thread.join()
    assert answers == [Secret("open sesame")] * 2, "the second thread was served by the first answer"


def test_refusing_a_secret_lets_the_job_go_on_without(qtbot, application):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(application.engine.servers.credentials.needed("passphrase",
                                                                                                          "a")))
    thread.start()
    shown(qtbot, SecretDialog).reject()
    qtbot.waitUntil(lambda: bool(answers), timeout=5000)
    thread.join()
    assert answers == [None]


@pytest.mark.parametrize(("one", "other", "same"), [
    ("SHA256:abcDEF+/1", " SHA256:abcDEF+/1= ", True), ("SHA256:abcDEF", "SHA256:abcdef", False),
    ("ab12 " * 16, "AB12" * 16, True), ("sha256:" + "ab12" * 16, "ab:12:" * 15 + "ab:12", True),
    ("ab12 " * 16, "ab13" + "ab12" * 15, False)])
def test_fingerprints_are_compared_as_people_write_them(one, other, same):
    assert (plain_fingerprint(one) == plain_fingerprint(other)) is same


def test_a_fingerprint_has_to_be_compared_before_it_is_trusted(qtbot):
    trusted = []
    dialog = FingerprintDialog(None, say, "Is it?", "Compare.", "SHA256:" + "x" * 43, [], lambda: trusted.append(True))
    qtbot.addWidget(dialog)
    yes = dialog.findChild(QPushButton, "confirm")
    assert not yes.isEnabled()
    dialog._looked.setChecked(True)
    assert yes.isEnabled()
    dialog._other.setText("SHA256:" + "y" * 43)
    assert not yes.isEnabled(), "a wrong fingerprint outweighs the tick"
    dialog._other.setText("SHA256:" + "x" * 43)
    yes.click()
    assert trusted == [True]


def test_errors_speak_the_readers_language_and_never_show_a_traceback(qtbot):
    from console.servers.book import UNKNOWN

    problem = UNKNOWN(server="gpu-\x1b[31m07")
    message, remedy, code = error_parts(problem, "zh_CN")
    assert code == "server.unknown" and "\x1b" not in message and remedy
    assert error_parts(problem.as_dict(), "en") == error_parts(problem, "en")
    dialog = ErrorDialog(None, say, "en", ValueError("secret path /x/y"))
    qtbot.addWidget(dialog)
    from PySide6.QtWidgets import QLabel

    assert not any("secret path" in made.text() or "Traceback" in made.text() for made in dialog.findChildren(QLabel))


def test_a_wrapped_label_gives_room_back_when_it_gets_wider(qtbot):
    from PySide6.QtWidgets import QWidget

    from ui.widgets.basic import column, label

    root, text = QWidget(), label("several words that need several lines where there is little room for them", wrap=True)
    qtbot.addWidget(root)
    root.setLayout(column(text, None))
    root.resize(140, 400)
    root.show()
    tall = text.height()
    root.resize(900, 400)
    qtbot.waitUntil(lambda: text.height() < tall)
    assert text.height() <= text.fontMetrics().height() + 2
