"""The main job by clicking alone, on the practice site, from an empty workspace to a verified export."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog, QFileDialog, QLabel, QWidget

from console.engine import Engine
from ui.app import Application
from ui.preferences import Preferences
from ui.widgets.basic import Badge
from ui.widgets.dialogs import FingerprintDialog

SERVER = "practice-nvidia"
LONG_MS = 120_000

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="the practice servers need a POSIX shell")


class Operator:
    """Clicks what is visible, and waits for what follows."""

    def __init__(self, qtbot, application: Application):
        self.qtbot, self.application, self.window = qtbot, application, application.window
        self.watch: Callable[[], AbstractContextManager[None]] = nullcontext

    def go(self, name: str) -> QWidget:
        """To a screen, by the rail; waits for its data."""
        self.qtbot.mouseClick(self.window._buttons[name], Qt.MouseButton.LeftButton)
        self.until(lambda: self.window.current().id == name)
        self.rest()
        return self.window.current()

    def rest(self) -> None:
        """Until the screen has what it asked for."""
        screen = self.window.current()
        self.qtbot.waitUntil(lambda: screen.ready and not screen.busy(), timeout=LONG_MS)

    def click(self, name: str, root: QWidget | None = None) -> None:
        """A visible, enabled button by its object name or its text."""
        self.qtbot.waitUntil(lambda: self._button(name, root) is not None, timeout=LONG_MS)
        self.qtbot.mouseClick(self._button(name, root), Qt.MouseButton.LeftButton)

    def until(self, good) -> None:
        """Wait for a state."""
        def looked() -> bool:
            with self.watch():
                return bool(good())

        try:
            self.qtbot.waitUntil(looked, timeout=LONG_MS)
        except self.qtbot.TimeoutError as late:
            raise AssertionError(f"{self.in_sight()} after {LONG_MS / 1000:.0f} s") from late

    def in_sight(self) -> str:
        """The screen in sight and what stands in the dialogs over it."""
        dialogs = [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog) and w.isVisible()]
        dialogs += [w for w in self.window.findChildren(QDialog) if w.isVisible()]
        said = [text.text() for shown in dialogs for text in shown.findChildren(QLabel) if text.isVisible()]
        return f"the screen is {self.window.current().id}, dialogs say {said}"

    def dialog(self, kind: type) -> QWidget:
        """The open dialog of a kind."""
        self.until(lambda: any(isinstance(w, kind) and w.isVisible() for w in QApplication.topLevelWidgets()))
        return next(w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible())

    def badges(self) -> set[str]:
        """The status words in sight."""
        return {b.accessibleName() for b in self.window.current().findChildren(Badge) if b.isVisible()}

    def says(self, text: str) -> bool:
        """Whether a text is in sight."""
        return any(text in label.text() and label.isVisible() for label in self.window.current().findChildren(QLabel))

    def _button(self, name: str, root: QWidget | None) -> QAbstractButton | None:
        for made in (root or self.window.current()).findChildren(QAbstractButton):
            named = made.objectName() == name or made.text().replace("&", "") == name
            if named and made.isVisible() and made.isEnabled():
                return made
        return None


@pytest.fixture
def operator(qtbot, qapp, tmp_path):
    qapp.setStyle("Fusion")
    with Engine.open(tmp_path / "workspace") as engine:
        application = Application(qapp, engine, Preferences(engine.settings), "en")
        application.window.resize(1280, 800)
        application.window.show()
        qtbot.waitExposed(application.window)
        try:
            yield Operator(qtbot, application)
        finally:
            application.close()
            engine.practice.down()


def test_from_an_empty_workspace_to_a_verified_export(operator, tmp_path, monkeypatch):
    whole_job(operator, tmp_path / "drive", monkeypatch)


def whole_job(operator: Operator, drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main job by clicking alone; ``drive`` is made and stands for the drive."""
    engine = operator.application.engine
    drive.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", staticmethod(lambda *_: str(drive)))
    public = str(drive / "practice-builder.pub")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", staticmethod(lambda *_: (public, "")))
    open_the_practice_site(operator, engine)
    make_and_trust_the_bundle(operator, engine)
    bring_it_in(operator, engine)
    ask_the_servers(operator, engine)
    check_readiness(operator)
    deploy(operator, engine)
    prove(operator)
    assert not list((engine.workspace / "crashes").glob("*")) if (engine.workspace / "crashes").exists() else True


def open_the_practice_site(operator: Operator, engine: Engine) -> None:
    operator.go("setup")
    operator.click("open-practice")
    operator.until(lambda: len(engine.servers.list()) >= 4)
    operator.until(lambda: operator.window.current().id == "home")


def make_and_trust_the_bundle(operator: Operator, engine: Engine) -> None:
    screen = operator.go("library")
    operator.click("Make a practice bundle…")
    operator.until(lambda: screen._found.rows.records)
    operator.rest()
    operator.click("verify")
    operator.until(lambda: screen._job is None and "Not verified" in operator.badges())
    operator.click("Trusted keys")
    operator.rest()
    operator.click("Add a key…")
    dialog = operator.dialog(FingerprintDialog)
    assert not dialog._yes.isEnabled(), "nothing is trusted before it was compared"
    dialog._other.setText("0000 " + dialog._fingerprint[5:])
    assert not dialog._yes.isEnabled()
    dialog._other.setText(dialog._fingerprint.replace(" ", "").upper())
    operator.click("confirm", dialog)
    operator.until(lambda: len(engine.trust.list()) == 1)


def bring_it_in(operator: Operator, engine: Engine) -> None:
    screen = operator.go("library")
    operator.click("verify")
    operator.until(lambda: screen._job is None and "Verified" in operator.badges())
    operator.click("import")
    operator.until(lambda: screen._job is None and engine.library.list())
    operator.rest()


def ask_the_servers(operator: Operator, engine: Engine) -> None:
    screen = operator.go("site")
    operator.click("inventory")
    operator.until(lambda: engine.inventory.latest(SERVER) is not None)
    operator.until(lambda: any(view.devices for view in screen._views))
    assert {view.name for view in screen._views} >= {SERVER, "practice-ascend", "practice-amd"}


def check_readiness(operator: Operator) -> None:
    screen = operator.go("readiness")
    screen._servers.tick([SERVER])
    operator.click("check")
    operator.until(lambda: screen._results and not screen.busy())
    assert {check.server for check in screen._results} == {SERVER}
    assert len(screen._results) >= 10


def deploy(operator: Operator, engine: Engine) -> None:
    screen = operator.go("deploy")
    screen._servers.tick([SERVER])
    operator.click("make-plan")
    operator.until(lambda: screen._plan is not None and not screen.busy())
    assert [part.name for part in screen._plan.servers] == [SERVER]
    operator.click("apply")
    operator.until(lambda: screen._run is None and engine.deployments.list() and not screen.busy())
    operator.click("Show the deployment")
    operator.rest()
    shown = screen._deployments.current()
    assert shown["servers"][0]["state"] == "serving", shown["servers"]
    operator.click("smoke")
    operator.until(lambda: operator.says("The model answers."))


def prove(operator: Operator) -> None:
    operator.go("proof")
    operator.click("verify-log")
    operator.until(lambda: "Verified" in operator.badges())
    operator.click("Export…")
    operator.click("check-now")
    operator.until(lambda: not operator.window.current().busy() and "Verified" in operator.badges())
