"""The main window: the rail of journeys, the screen, and the strip of jobs."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QSize, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QIcon, QKeySequence, QShortcut, QWindow
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QMainWindow,
    QMenu,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

import console
from console.errors import SealiftError
from console.i18n import LANGUAGES, N_
from ui import icons, theme
from ui.desk import Desk
from ui.screens import wording
from ui.screens.base import Screen
from ui.widgets.basic import ElidedLabel, button, holder, label, picture, row, tip, window_icon
from ui.widgets.dialogs import AskDialog, Dialog, ErrorDialog
from ui.widgets.jobstrip import JobStrip

SCREENS = (
    ("home", "home", N_("Overview"), "ui.screens.home", "HomeScreen"),
    ("setup", "setup", N_("Site setup"), "ui.screens.setup", "SetupScreen"),
    ("library", "library", N_("Library"), "ui.screens.library", "LibraryScreen"),
    ("site", "servers", N_("Servers"), "ui.screens.site", "SiteScreen"),
    ("readiness", "readiness", N_("Readiness"), "ui.screens.readiness", "ReadinessScreen"),
    ("deploy", "deploy", N_("Deploy"), "ui.screens.deploy", "DeployScreen"),
    ("proof", "proof", N_("Proof"), "ui.screens.proof", "ProofScreen"),
)
"""The rail, top to bottom: id, icon, caption, and where the screen is; each is built when it is first shown."""

RAIL_WIDTH = 204

IDLE_MS = 10_000
"""How often it is looked whether the session has locked itself."""

AHEAD_MS = 120
"""Between two screens that are built ahead of the first click on them; long enough for whoever is clicking now."""


class MainWindow(QMainWindow):
    """One window over one engine. Changing language or theme builds its contents anew."""

    painted = Signal()
    restyled = Signal(str, str)

    def __init__(self, desk: Desk, theme_name: str = "light"):
        super().__init__()
        self.desk, self.t, self._theme = desk, desk.t, theme_name
        self.screens: dict[str, Screen] = {}
        self.manual: QWidget | None = None
        self._site_line: dict[str, str] = {}
        self._seen = self._asked_who = self._warm = self._between = self._locked = self._tidied = False
        self._going = ""
        self._ahead = QTimer(self, interval=AHEAD_MS)
        self._ahead.timeout.connect(self._build_one)
        self.setWindowIcon(window_icon())
        self.setAcceptDrops(True)
        self.setMinimumSize(1024, 680)
        self.resize(1280, 820)
        desk.go.connect(self.show_screen)
        desk.problem.connect(self.show_problem)
        desk.prove.connect(self._prove)
        self._idle = QTimer(self, interval=IDLE_MS)
        self._idle.timeout.connect(self._lock_when_idle)
        self._idle.start()
        QApplication.instance().focusWindowChanged.connect(self._watch_window)
        desk.bridge.changed.connect(self._news)
        desk.bridge.jobs_changed.connect(self._jobs_moved)
        desk.bridge.broke.connect(self.show_problem)
        self._shortcuts()
        self.build("home")
        self.painted.connect(self._warm_up)

    # -- building -------------------------------------------------------------------------------------------------

    def build(self, screen: str) -> None:
        """Make the contents, in the present language and theme, and show ``screen``."""
        self.screens = {}
        self._stack, self._buttons = QStackedWidget(), {}
        self._strip = JobStrip(self.desk.bridge.board, self.t, lambda title: wording.job_title(title, self.t))
        self._strip.cancelled.connect(self._cancel)
        self._strip.explained.connect(self.show_problem)
        right = QVBoxLayout()
        right.setSpacing(0)
        right.addWidget(self._stack, 1)
        right.addWidget(self._strip)
        layout = QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._rail())
        layout.addLayout(right, 1)
        self.setCentralWidget(holder(layout, "page"))
        self._title()
        self.show_screen(screen)
        self._read_site()
        if self._warm:
            self._ahead.start()

    def _rail(self) -> QWidget:
        shades = theme.palette()
        rail = QVBoxLayout()
        rail.setContentsMargins(theme.M, theme.L, theme.M, theme.M)
        rail.setSpacing(theme.XS)
        name = label("Sealift", "brand")
        rail.addLayout(row(6, picture("mark", "#7fd0e2", 26), name, None, gap=theme.S))
        rail.addSpacing(theme.L)
        for place, (screen, icon, caption, _module, _name) in enumerate(SCREENS, 1):
            entry = self._nav(screen, icon, self.t(caption), place)
            self._buttons[screen] = entry
            rail.addWidget(entry)
        rail.addStretch(1)
        rail.addLayout(self._foot(shades))
        made = holder(rail, "rail")
        made.setFixedWidth(RAIL_WIDTH)
        return made

    def _nav(self, screen: str, icon: str, caption: str, place: int) -> QPushButton:
        shades = theme.palette()
        entry = QPushButton("  " + caption)
        entry.setProperty("role", "nav")
        entry.setCheckable(True)
        entry.setAutoExclusive(True)
        entry.setIconSize(QSize(18, 18))
        picture_of = QIcon()
        picture_of.addPixmap(icons.pixmap(icon, shades.rail_muted), QIcon.Mode.Normal, QIcon.State.Off)
        picture_of.addPixmap(icons.pixmap(icon, "#7fd0e2"), QIcon.Mode.Normal, QIcon.State.On)
        entry.setIcon(picture_of)
        entry.setAccessibleName(caption)
        entry.setToolTip(tip(f"{caption} (Ctrl+{place})"))
        entry.clicked.connect(lambda: self.go(screen))
        return entry

    def _foot(self, shades: theme.Palette) -> QVBoxLayout:
        self._site_name, self._who = ElidedLabel("", "strong"), ElidedLabel("", "small")
        foot = QVBoxLayout()
        foot.setSpacing(2)
        foot.addWidget(self._site_name)
        foot.addWidget(self._who)
        foot.addSpacing(theme.S)
        dark = self._theme == "dark"
        other = next(code for code in LANGUAGES if code != self.desk.lang)
        look = self._foot_button("sun" if dark else "moon", self.t("Light theme") if dark else self.t("Dark theme"),
                                 lambda: self.switch("light" if dark else "dark", self.desk.lang))
        look.setObjectName("theme")
        tongue = self._foot_button("language", LANGUAGES[other], lambda: self.switch(self._theme, other))
        tongue.setObjectName("language")
        tongue.setText(" " + LANGUAGES[other])
        self._sign = self._foot_button("user", self.t("Log in as another account"), self._sign_in)
        helping = self._foot_button("question", self.t("Help"), None)
        helping.setMenu(self._help_menu())
        foot.addLayout(row(look, tongue, None, self._sign, helping, gap=2))
        self._sign.hide()
        self._show_site()
        return foot

    def _help_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.addAction(self.t("&Manual") + "\tF1", self.open_manual)
        menu.addAction(self.t("&Save a crash report…"), self._save_report)
        menu.addAction(self.t("&About Sealift"), self._about)
        return menu

    def open_manual(self) -> None:
        """Show the manual at the page about the present screen; one window of it at the most."""
        from ui.manualwindow import PAGE_OF_SCREEN, ManualWindow

        page = PAGE_OF_SCREEN.get(self.current().id, "start")
        if self.manual is None:
            self.manual = ManualWindow(self.desk, page)
            self.manual.destroyed.connect(self._manual_gone)
            self.manual.show()
        else:
            self.manual.open_page(page)
            self.manual.activateWindow()

    def _manual_gone(self) -> None:
        self.manual = None

    def close_manual(self) -> None:
        """Close it, if it is open."""
        if self.manual is not None:
            self.manual.close()

    def _save_report(self) -> None:
        newest = max((self.desk.engine.workspace / "crashes").glob("crash-*.txt"), default=None)
        if newest is None:
            NoticeDialog(self, self.t, self.t("There is no crash report"),
                         self.t("Nothing unexpected has happened in this workspace.")).open()
            return
        path, _kind = QFileDialog.getSaveFileName(self, self.t("Save a crash report"), str(Path.home() / newest.name))
        if path:
            self.desk.read(self, lambda: shutil.copyfile(newest, path))

    def _about(self) -> None:
        NoticeDialog(self, self.t, f"Sealift {console.__version__}", self.t(
            "Takes an open-weight model from a removable drive into service inside an isolated facility, and "
            "proves it. "
            "Apache License 2.0. It speaks to the servers it was given, and to nothing else.")).open()

    def _foot_button(self, icon: str, name: str, click: Any) -> QPushButton:
        made = button("", click, role="nav", hint=name)
        made.setIcon(icons.icon(icon, theme.palette().rail_muted, size=16))
        made.setAccessibleName(name)
        made.setProperty("small", "true")
        return made

    def _shortcuts(self) -> None:
        for place, entry in enumerate(SCREENS, 1):
            QShortcut(QKeySequence(f"Ctrl+{place}"), self, lambda name=entry[0]: self.go(name))
        QShortcut(QKeySequence.StandardKey.HelpContents, self, self.open_manual)
        QShortcut(QKeySequence.StandardKey.Refresh, self, self._reread)
        QShortcut(QKeySequence("Ctrl+T"), self, lambda: self.switch(
            "light" if self._theme == "dark" else "dark", self.desk.lang))
        QShortcut(QKeySequence("Ctrl+L"), self, lambda: self.switch(
            self._theme, next(code for code in LANGUAGES if code != self.desk.lang)))
        QShortcut(QKeySequence.StandardKey.Quit, self, self.close)

    # -- screens --------------------------------------------------------------------------------------------------

    def go(self, name: str) -> None:
        """Bring a screen up as soon as that needs no loading in this thread, which is at once but for the first moment."""
        if self._between:
            return
        self._going = name
        if self._warm or name in self.screens:
            self.show_screen(name)

    def show_screen(self, name: str) -> None:
        """Bring a screen up, building it the first time."""
        screen = self._screen(name)
        entry = self._buttons[name]
        if self.focusWidget() in self._buttons.values():
            entry.setFocus()  # else the ring would stay on the screen that was left
        entry.setChecked(True)
        self._stack.setCurrentWidget(screen)

    def _screen(self, name: str) -> Screen:
        if name not in self.screens:
            module, kind = next((entry[3], entry[4]) for entry in SCREENS if entry[0] == name)
            self.screens[name] = getattr(importlib.import_module(module), kind)(self.desk)
            self._stack.addWidget(self.screens[name])
        return self.screens[name]

    def current(self) -> Screen:
        """The screen in sight."""
        return self._stack.currentWidget()

    def _warm_up(self) -> None:
        """Load the other screens' modules once the first frame stands; until then a click on the rail waits for it."""
        self.desk.read(self, lambda: [importlib.import_module(entry[3]) for entry in SCREENS], self._warmed)

    def _warmed(self, _modules: Any) -> None:
        self._warm = True
        if self._going:
            self.show_screen(self._going)
        self._ahead.start()

    def _build_one(self) -> None:
        """Build one more screen that nobody has asked for yet, so that the first click on it costs nothing."""
        following = next((entry[0] for entry in SCREENS if entry[0] not in self.screens), None)
        if following is None or self._between:
            self._ahead.stop()
        elif not self.desk.bridge.board.running():
            self._screen(following)

    def switch(self, theme_name: str, lang: str) -> None:
        """Switch theme and language when the old contents are gone: a style sheet costs by the widgets that are there."""
        if self._between:
            return
        self._between = True
        name, focus = self.current().id, self.focusWidget().objectName() if self.focusWidget() else ""
        self.setCentralWidget(holder(QVBoxLayout(), "page"))
        QTimer.singleShot(0, self, lambda: self.restyle(theme_name, lang, name, focus))

    def restyle(self, theme_name: str, lang: str, screen: str = "", focus: str = "") -> None:
        """Switch theme and language while running; the choice is remembered."""
        screen = screen or self.current().id
        self._theme, self.desk.lang = theme_name, lang
        self.close_manual()  # its colours and its language are the old ones
        theme.apply(QApplication.instance(), theme_name)
        self._between = False
        self.build(screen)
        kept = self.findChild(QPushButton, focus) if focus else None
        if kept is not None:
            kept.setFocus()
        self.restyled.emit(theme_name, lang)

    def _reread(self) -> None:
        if not self._between:
            self.current().refresh()

    def _jobs_moved(self, moved: frozenset[str]) -> None:
        if not self._between:
            self._strip.refresh(moved)

    def _news(self, changed: frozenset[str]) -> None:
        if self._between:
            return  # what is built next reads everything
        for screen in self.screens.values():
            screen.news(changed)
        if changed & {"site", "accounts"}:
            self._read_site()

    # -- dropping -------------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Qt's; folders and files may be dropped anywhere on the window."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Qt's."""
        event.acceptProposedAction()
        self.take_dropped(tuple(url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()))

    def take_dropped(self, paths: tuple[str, ...]) -> None:
        """Look into what holds a bundle; of anything else, a bundle can be built."""
        def bundles_at() -> tuple[str, ...]:
            from console.bundles import media

            return tuple(path for path in paths if Path(path).is_dir() and media.find([Path(path)]))

        def found(holding: tuple[str, ...]) -> None:
            self.show_screen("library")
            for path in holding:
                self.current().look_in(path)
            if not holding:
                self.current().open_builder(paths)

        if paths:
            self.desk.read(self, bundles_at, found)

    # -- the site's name ------------------------------------------------------------------------------------------

    def _read_site(self) -> None:
        self.desk.read(self, self._site_facts, self._got_site)

    def _site_facts(self) -> dict[str, Any]:
        from ui.screens import reading

        return reading.who_and_where(self.desk.engine)

    def _got_site(self, facts: dict[str, Any]) -> None:
        self._site_line = facts
        if not self._between:
            self._show_site()
        self._title()
        if facts["log-in"] and not self._asked_who:
            self._asked_who = True
            self._sign_in()
        elif not facts["log-in"] and not self._tidied:
            self._tidied = True
            self.desk.read(self, self._tidy)

    def _tidy(self) -> None:
        from ui.screens import tasks

        tasks.tidy(self.desk.engine, self.t)

    def _show_site(self) -> None:
        facts = self._site_line
        self._site_name.setText(facts.get("site") or self.t("No site yet"))
        actor = facts.get("actor")
        self._who.setText(self.t("Logged in as {name}", name=actor) if actor else "")
        self._sign.setVisible(bool(facts.get("accounts")))

    def _title(self) -> None:
        site = self._site_line.get("site")
        self.setWindowTitle(f"{site} – Sealift" if site else "Sealift")

    def _sign_in(self) -> None:
        from ui.screens.signin import SignInDialog

        SignInDialog(self, self.desk, self._read_site).open()

    def _prove(self, then: Any) -> None:
        from ui.screens.signin import SignInDialog

        SignInDialog(self, self.desk, then, again=True).open()

    def _watch_window(self, window: QWindow | None) -> None:
        """Look for keys and clicks in every window of the program as it gets the focus. On the application itself, the filter would
        see each event of each widget, which doubles the time that a screen takes to be made."""
        if window is not None:
            window.installEventFilter(self)  # once: Qt moves a filter that is there already to the front

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        """Qt's; a key or a click is a sign that the person who is logged in is still there."""
        if event.type() in (QEvent.Type.KeyPress, QEvent.Type.MouseButtonPress):
            self.desk.engine.session.touch()
        return super().eventFilter(watched, event)

    def _lock_when_idle(self) -> None:
        if not self.desk.engine.session.locked:
            self._locked = False
        elif not self._locked:
            self._locked = True
            self.desk.read(self, self.desk.engine.lock)
            self._prove(self._read_site)

    # -- jobs and problems ----------------------------------------------------------------------------------------

    def _cancel(self, job_id: str) -> None:
        self.desk.read(self, lambda: self.desk.engine.jobs.cancel(job_id))

    def show_problem(self, problem: Any) -> None:
        """Show an error in words; one that is a bug goes to the crash reporter."""
        if isinstance(problem, Exception) and not isinstance(problem, SealiftError):
            from ui import crash

            crash.report_exception(problem)
            return
        ErrorDialog(self, self.t, self.desk.lang, problem).open()

    # -- life -----------------------------------------------------------------------------------------------------

    def paintEvent(self, event: Any) -> None:
        """Qt's; tells once that the first frame was drawn."""
        super().paintEvent(event)
        if not self._seen:
            self._seen = True
            QTimer.singleShot(0, self.painted.emit)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Qt's; asks while jobs run, since closing stops them."""
        running = self.desk.bridge.board.running()
        if running and not getattr(self, "_sure", False):
            event.ignore()
            AskDialog(self, self.t, self.t("Close while jobs are running?"),
                      self.t("Jobs that will be stopped at a safe point: {count}. Sealift says at the next start how "
                             "to go on.",
                             count=len(running)), self.t("&Stop them and close"), self._close_anyway,
                      danger=True).open()
            return
        self.close_manual()
        super().closeEvent(event)

    def _close_anyway(self) -> None:
        self._sure = True
        self.close()


class NoticeDialog(Dialog):
    """A plain message with one button."""

    def __init__(self, parent: QWidget | None, say: Any, title: str, text: str):
        super().__init__(parent, title, label(title, "heading", wrap=True), label(text, wrap=True, selectable=True))
        self.add_button(say(N_("C&lose")), self.accept, primary=True)


