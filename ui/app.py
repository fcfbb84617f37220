"""Builds the engine, the bridge and the main window, in that order, and takes them down again."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from PySide6.QtCore import QLibraryInfo, QObject, Qt, QTimer, QTranslator, Signal
from PySide6.QtWidgets import QApplication
from shiboken6 import isValid

from console.errors import EXIT_DONE, EXIT_FAILED, SealiftError
from ui import crash, icons, theme
from ui.bridge import Bridge, Question
from ui.desk import Desk
from ui.preferences import Preferences
from ui.rubbish import Rubbish
from ui.widgets.basic import window_icon
from ui.widgets.dialogs import ErrorDialog, SecretDialog
from ui.window import MainWindow, NoticeDialog


class Application:
    """The window program over one workspace.

    Attributes:
        engine, bridge, desk, window: what it is made of; ``close`` takes them down in reverse.
    """

    def __init__(self, qt: QApplication, engine: Any, preferences: Preferences, lang: str | None = None):
        self.qt, self.engine, self._preferences = qt, engine, preferences
        self.bridge = Bridge(engine.events)
        self.desk = Desk(engine, self.bridge, lang or preferences.lang)
        theme.apply(qt, preferences.theme)
        self._notice: NoticeDialog | None = None
        self._one_question = threading.Lock()
        self._reports = _Reports()
        self._reports.written.connect(self._crashed, Qt.ConnectionType.QueuedConnection)
        crash.install(Path(engine.workspace) / "crashes", self._reports.written.emit)
        self.window = MainWindow(self.desk, preferences.theme)
        self.window.restyled.connect(self._restyled)
        self.bridge.asked.connect(self._asked)
        self._rubbish = Rubbish(self.bridge)
        engine.servers.credentials.ask = self._ask_secret
        engine.inventory.beside_window = True
        self._translator: QTranslator | None = None
        self._qt_language()

    def close(self) -> None:
        """Take everything down but the engine; no thread of ours is left afterwards."""
        self.engine.servers.credentials.ask = None
        self._rubbish.stop()
        self.bridge.close()
        crash.uninstall()
        self.window.close()
        self.window.deleteLater()
        icons.forget()

    def _restyled(self, theme_name: str, lang: str) -> None:
        self.bridge.read(None, lambda: self._preferences.keep(theme_name, lang))
        self._qt_language()

    def _qt_language(self) -> None:
        """Qt's own words (standard menus, file dialogs) in the window's language."""
        if self._translator is not None:
            self.qt.removeTranslator(self._translator)
        self._translator = QTranslator()
        if self._translator.load(f"qtbase_{self.desk.lang}",
                                 QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)):
            self.qt.installTranslator(self._translator)

    def _ask_secret(self, server: str, kind: str) -> Any:
        """Called by the threads that connect; they come one after another, and what one was told may serve the next."""
        credentials = self.engine.servers.credentials
        with self._one_question:
            known = credentials.get(kind, server)
            answer = None if known is not None else self.bridge.ask("secret", {"server": server, "kind": kind})
            if answer is None:
                return known
            secret, everywhere = answer
            if everywhere:
                credentials.set(kind, secret)
            return secret

    def _asked(self, question: Question) -> None:
        t, server = self.desk.t, question.about.get("server", "")
        texts = {"password": (t("Log in to {server}", server=server),
                              t("The password of the login account is needed.")),
                 "passphrase": (t("Unlock the key file for {server}", server=server),
                                t("The key file is protected by a passphrase.")),
                 "sudo_password": (t("Administrator rights on {server}", server=server),
                                   t("The sudo password of the login account is needed."))}
        title, text = texts.get(question.about.get("kind", ""), texts["password"])
        dialog = SecretDialog(self.window, t, title, f"{text} {t('It is kept in memory until Sealift closes.')}",
                              lambda secret, everywhere: question.answer((secret, everywhere)))
        dialog.finished.connect(lambda _code: QTimer.singleShot(0, lambda: question.answer(None)))
        dialog.open()

    def _crashed(self, report: Path | None) -> None:
        if self._notice is not None and isValid(self._notice):
            return  # one failure often brings others; their reports are written all the same
        t = self.desk.t
        where = (t("A report was written to {path}. It holds no passwords and no file contents. Give it to whoever "
                   "supports "
                   "this installation.", path=str(report)) if report else t("A report could not be written."))
        self._notice = NoticeDialog(self.window, t, t("Sealift met a condition that it should not have"), where)
        self._notice.open()


class _Reports(QObject):
    written = Signal(object)


TURN_S = 0.0005
"""How long another thread may keep the interpreter once the window's thread wants it. Drawing a table comes back to it
for every cell; at Python's 5 ms each, a busy job would make the window crawl."""


def make_qt() -> QApplication:
    """The one QApplication, in our style."""
    sys.setswitchinterval(TURN_S)
    qt = QApplication.instance() or QApplication([sys.argv[0] if sys.argv else "sealift"])
    qt.setApplicationName("Sealift")
    qt.setApplicationDisplayName("Sealift")
    qt.setStyle("Fusion")
    qt.setWindowIcon(window_icon())
    return qt


def run(workspace: Path, lang: str | None = None) -> int:
    """Open the window over ``workspace`` and stay until it closes.

    Returns:
        The exit code.
    """
    qt = make_qt()
    try:
        engine = _open_engine(workspace)
    except SealiftError as problem:
        return _could_not_open(qt, problem, lang or "en")
    with engine:
        preferences = Preferences(engine.settings)
        application = Application(qt, engine, preferences, lang)
        application.window.show()
        try:
            qt.exec()
        finally:
            application.close()
    return EXIT_DONE


def _open_engine(workspace: Path) -> Any:
    from console.engine import Engine

    engine = Engine.open(workspace)
    with engine.store.read():
        pass  # it loads what queries take, which screens would else do in threads, side by side
    return engine


def _could_not_open(qt: QApplication, problem: SealiftError, lang: str) -> int:
    from console.i18n import tr

    theme.apply(qt, "light")
    dialog = ErrorDialog(None, lambda text, **params: tr(text, lang, **params), lang, problem)
    dialog.finished.connect(qt.quit)
    dialog.open()
    qt.exec()
    return problem.exit_code or EXIT_FAILED


