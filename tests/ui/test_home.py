"""The overview: what a newcomer sees, and requests that wait for a second person."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton, QWidget

from console.secrets import Secret
from tests.ui.test_screens import settled

PASSWORD = "a long enough password 1"


def says(root: QWidget, text: str) -> bool:
    return any(text in label.text() and label.isVisible() for label in root.findChildren(QLabel))


def test_a_newcomer_is_shown_the_way_and_no_row_of_noughts(qtbot, window):
    home = window.current()
    assert says(home, "Welcome to Sealift.") and not home._figures_box.isVisible()
    window.desk.engine.site.init("Harbour data hall 2", "ca", "internal")
    home.refresh()
    settled(qtbot, window)
    assert home._figures_box.isVisible() and not says(home, "Welcome to Sealift.")


def test_a_request_is_answered_by_another_person(qtbot, window):
    engine, home = window.desk.engine, window.current()
    engine.site.init("Harbour data hall 2", "ca", "internal")
    engine.accounts.add("ada", ("admin", "operator", "approver"), Secret(PASSWORD))
    engine.login("ada", Secret(PASSWORD))
    engine.accounts.add("bo", ("approver",), Secret(PASSWORD))
    engine.site.set(policy={"two_person": True})
    digest = "ab" * 32
    engine.approvals.request("import", "Practice bundle", digest)
    home.refresh()
    settled(qtbot, window)
    assert says(home, "Approve an import: Practice bundle") and says(home, "Asked by ada")
    engine.login("bo", Secret(PASSWORD))
    yes = next(b for b in home.findChildren(QPushButton) if b.objectName() == "approve-request")
    qtbot.mouseClick(yes, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: engine.approvals.granted("import", digest) is not None)
    qtbot.waitUntil(lambda: not says(home, "Approve an import"))
