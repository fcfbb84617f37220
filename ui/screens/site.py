"""See what is here: servers, their host keys, their inventory; as a picture and as a table, with the evidence."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtGui import QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QButtonGroup, QComboBox, QLineEdit, QMenu, QPushButton, QSplitter, QStackedWidget, QWidget

from console import units
from console.events import JobState, ServerResult
from console.i18n import N_
from ui import theme
from ui.models.jobs import OVER
from ui.models.rows import Column
from ui.models.servers import (
    GROUPINGS,
    SERVER_STATES,
    DeviceKey,
    ServerView,
    counts,
    device_summary,
    in_class,
    sections,
    wanted,
)
from ui.screens import tasks, wording
from ui.screens.base import Screen
from ui.screens.serverdialogs import ServerDialog, choose_import, choose_known_hosts, confirm_host_key
from ui.screens.sitedetails import Details
from ui.screens.sitekeys import HostKeysDialog
from ui.screens.siteread import BATCH, ServerReader
from ui.widgets.basic import ElidedLabel, EmptyState, Page, button, column, copy_text, holder, icon_button, row
from ui.widgets.dialogs import AskDialog
from ui.widgets.serverchips import StateChips
from ui.widgets.serverpicture import ServerPicture
from ui.widgets.servertable import ServerTable
from ui.widgets.topology import LEVELS

__all__ = ["ServerView", "SiteScreen", "device_summary"]
PICTURE, TABLE = 0, 1
COUNT_MS = 250
FIRST_COLUMNS = ["name", "state", "devices", "memory", "address", "asked"]


class _Halves(QSplitter):
    """The servers, and the details: beside a picture as wide as their lines need, so that what a larger window gains goes to the
    picture; until somebody moves the border."""

    def __init__(self, *parts: QWidget):
        super().__init__(childrenCollapsible=False)
        self._moved = False
        self.setHandleWidth(theme.M)
        for part in parts:
            self.addWidget(part)
        self.splitterMoved.connect(lambda: setattr(self, "_moved", True))

    def turn(self, orientation: Qt.Orientation) -> None:
        """Stand beside or above each other."""
        self.setOrientation(orientation)
        self._moved = False
        self._share()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt's."""
        super().resizeEvent(event)
        if not self._moved:
            self._share()

    def _share(self) -> None:
        if self.orientation() == Qt.Orientation.Vertical:
            self.setSizes([300, 300])
            return
        details = max(404, min(self.width() // 3, 480))
        self.setSizes([self.width() - self.handleWidth() - details, details])


class SiteScreen(Screen):
    """Servers and devices."""

    id, icon = "site", "servers"
    title, lead = N_("Servers"), N_("Every server of this site and every device in it, coloured by health.")
    kinds = frozenset({"servers", "site"})

    def build(self) -> None:
        t = self.t
        self._reader = ServerReader(self.engine)
        self._views: list[ServerView] = []
        self._to_read: dict[str, None] = {}
        self._reading = False
        self._later = QTimer(self, singleShot=True, interval=COUNT_MS)
        self._later.timeout.connect(self._count)
        self._ask = button(t("As&k the servers"), self._inventory, role="primary", icon="refresh",
                           hint=t("Reads hardware and software over SSH; changes nothing."))
        self._ask.setObjectName("inventory")
        self._confirm = button("", self.confirm_all, icon="key")
        self._confirm.hide()
        self._add = button(t("&Add servers"), icon="plus")
        self._add.setMenu(self._add_menu())
        self._add.setProperty("menu", True)
        for action in (self._confirm, self._add, self._ask):
            self.actions.addWidget(action)
        self._pages = QStackedWidget()
        self._pages.addWidget(self._empty_page())
        self._pages.addWidget(self._full_page())
        self.put(self._pages)
        self.desk.bridge.events.connect(self._events)
        board = self.desk.bridge.board.jobs
        self.memory["asking"] = {job: left for job, left in self.memory.get("asking", {}).items()
                                 if isinstance(job, str) and job in board and not board[job].over}

    def _add_menu(self) -> QMenu:
        t, menu = self.t, QMenu(self)
        menu.addAction(t("By form…"), self.add_by_form)
        menu.addAction(t("From a CSV table…"), lambda: choose_import(self, self.desk, "csv", self.refresh))
        menu.addAction(t("From an OpenSSH configuration…"), lambda: choose_import(self, self.desk, "ssh", self.refresh))
        menu.addSeparator()
        menu.addAction(t("Host keys from a known_hosts file…"), lambda: choose_known_hosts(self, self.desk, self.refresh))
        menu.addSeparator()
        menu.addAction(t("Start the practice servers"), self.start_practice)
        return menu

    def _empty_page(self) -> QWidget:
        t = self.t
        return Page(EmptyState(
            "servers", t("No servers yet"),
            t("Add the servers that will run models. Or start the practice servers: they live inside this desktop and "
              "need no "
              "hardware."),
            button(t("&Start the practice servers"), self.start_practice, icon="practice"),
            button(t("Add a &server"), self.add_by_form, role="primary", icon="plus")))

    def _full_page(self) -> QWidget:
        t = self.t
        self._filter = QLineEdit(placeholderText=t("Filter: words, group:…, label:…, state:…"), clearButtonEnabled=True)
        self._filter.setAccessibleName(t("Filter"))
        self._filter.setToolTip(t("Press / to come here."))
        self._filter.setMinimumWidth(120)
        self._filter.textChanged.connect(self._filtered)
        self._chips = StateChips(t)
        self._chips.chosen.connect(lambda _name: self._filtered())
        self._counts = ElidedLabel("", "muted")
        self._counts.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._picture = ServerPicture(t)
        self._picture.picked.connect(self._picked)
        self._picture.opened.connect(self._opened)
        self._picture.asked_menu.connect(self._menu)
        ids, columns = zip(*self._columns(), strict=True)
        self._table = ServerTable(columns, ids, t("Servers"))
        self._table.show_columns(self.memory.get("columns", FIRST_COLUMNS))
        self._table.columns_chosen.connect(lambda shown: self.memory.__setitem__("columns", shown))
        self._table.chosen.connect(lambda view: view and self._picked(view.name, None))
        self._table.opened.connect(lambda view: self._opened(view.name, None))
        self._table.asked_menu.connect(self._menu)
        self._kinds = QStackedWidget()
        self._kinds.addWidget(self._picture)
        self._kinds.addWidget(self._table)
        self._details = Details(self)
        split = self._split = _Halves(self._kinds, self._details)
        tools = row(self._segments(), self._filter, *self._choices(), gap=theme.S)
        tools.setStretch(1, 1)
        states = row(self._chips, self._counts, gap=theme.M)
        states.setStretch(0, 4)
        states.setStretch(1, 1)
        for keys, meant in ((Qt.Key.Key_Slash, self._filter.setFocus), (QKeySequence.StandardKey.Find, self._filter.setFocus)):
            QShortcut(QKeySequence(keys), self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut).activated.connect(meant)
        leave = QShortcut(QKeySequence(Qt.Key.Key_Escape), self._filter, context=Qt.ShortcutContext.WidgetShortcut)
        leave.activated.connect(self._leave_filter)
        self._filter.returnPressed.connect(self.focus_servers)
        return holder(column(tools, states, split, gap=theme.S, margins=(theme.XL, 0, theme.XL, theme.L)))

    def _segments(self) -> QWidget:
        group = self._segment = QButtonGroup(self)
        made = []
        for place, text in enumerate((self.t("&Picture"), self.t("&Table"))):
            choice = QPushButton(text)
            choice.setCheckable(True)
            choice.setProperty("role", "segment")
            choice.setChecked(place == self.memory.get("view", 0))
            group.addButton(choice, place)
            made.append(choice)
        group.idClicked.connect(self._show_kind)
        return holder(row(*made, gap=0))

    def _choices(self) -> tuple[QWidget, ...]:
        t = self.t
        self._group = QComboBox()
        self._group.setAccessibleName(t("Grouping"))
        for name, word in GROUPINGS:
            self._group.addItem(t(word), name)
        self._group.setCurrentIndex(max(0, self._group.findData(self.memory.get("group", ""))))
        self._group.currentIndexChanged.connect(self._grouped)
        self._level = QComboBox()
        self._level.setAccessibleName(t("Size of the picture"))
        self._level.addItem(t("Fit"), "")
        for level in LEVELS:
            self._level.addItem(t(level.word), level.id)
        self._level.setCurrentIndex(max(0, self._level.findData(self.memory.get("level", ""))))
        self._picture.show_level(self._level.currentData())
        self._level.currentIndexChanged.connect(self._levelled)
        self._picture.levelled.connect(self._zoomed)
        self._which = icon_button("columns", t("Choose the columns"), self._choose_columns)
        self._panel = icon_button("panel", t("Show or hide the details"), self._toggle_details)
        self._details.setVisible(self.memory.get("details", True))
        return self._group, self._level, self._which, self._panel

    def _columns(self) -> list[tuple[str, Column]]:
        t = self.t
        state = lambda v: SERVER_STATES[v.state]  # noqa: E731 - a name for a one-line idea
        order = list(SERVER_STATES)
        used = lambda v: v.memory_used_bytes / v.memory_bytes if v.memory_used_bytes is not None and v.memory_bytes else None  # noqa: E731
        first = lambda v, name: next((str(getattr(d, name)) for d in v.devices if getattr(d, name)), "")  # noqa: E731
        return [
            ("name", Column(t("Server"), lambda v: v.name)),
            ("state", Column(t("State"), lambda v: t(state(v)[1]), tone=lambda v: state(v)[0], width=164,
                             sort=lambda v: order.index(v.state))),
            ("devices", Column(t("Devices"), lambda v: v.summary)),
            ("memory", Column(t("Memory"), lambda v: units.size(v.memory_bytes), number=True, width=86,
                              sort=lambda v: v.memory_bytes or 0)),
            ("used", Column(t("Used"), lambda v: "–" if used(v) is None else f"{used(v) * 100:.0f} %", number=True, width=70,
                            sort=lambda v: used(v) or 0.0)),
            ("address", Column(t("Address"), lambda v: f"{v.record.address}:{v.record.port}", width=126)),
            ("group", Column(t("Group"), lambda v: v.record.group, width=110)),
            ("labels", Column(t("Labels"), lambda v: ", ".join(v.record.labels), width=130)),
            ("jump", Column(t("Through"), lambda v: " → ".join(v.record.jump), width=120)),
            ("driver", Column(t("Driver"), lambda v: first(v, "driver_version"), width=110)),
            ("firmware", Column(t("Firmware"), lambda v: first(v, "firmware_version"), width=120)),
            ("changes", Column(t("Changes"), lambda v: str(len(v.changes)) if v.changes else "", number=True, width=86,
                               sort=lambda v: len(v.changes))),
            ("asked", Column(t("Asked"), lambda v: wording.when_short(v.inventory.taken_at) if v.inventory else "–", width=104,
                             sort=lambda v: v.inventory.taken_at if v.inventory else ""))]

    # -- data -----------------------------------------------------------------------------------------------------

    def load(self) -> tuple[list[ServerView], list[str]]:
        return self._reader.everything()

    def show_data(self, data: tuple[list[ServerView], list[str]]) -> None:
        self._views, left = data
        self._pages.setCurrentIndex(1 if self._views else 0)
        self._ask.setEnabled(any(view.record.host_keys for view in self._views))
        if self._kinds.currentIndex() != self.memory.get("view", PICTURE) or not self.ready:
            self._show_kind(self.memory.get("view", PICTURE))
        self._count()
        self._filtered()
        chosen = self.memory.get("server")
        if self._views and not any(view.name == chosen for view in self._views):
            chosen = next((view.name for view in self._shown()), self._views[0].name)
            self.memory["device"] = None
        if chosen:
            self._show_chosen(chosen, self.memory.get("device"))
        self._read_soon(left)

    def _read_soon(self, names: Any) -> None:
        """Read these servers' inventories next, a batch at a time."""
        self._to_read |= dict.fromkeys(names)
        if self._to_read and not self._reading:
            self._reading = True
            batch = list(self._to_read)[:BATCH]
            self._to_read = dict.fromkeys(list(self._to_read)[BATCH:])
            self.act(lambda: self._reader.some(batch), self._took, self._not_taken)

    def _not_taken(self, problem: Exception) -> None:
        self._reading = False
        self._to_read.clear()
        self.desk.problem.emit(problem)

    def _took(self, views: list[ServerView]) -> None:
        """Newer states of some servers: they change where they stand; nothing is sorted or filtered anew meanwhile."""
        self._reading = False
        newer = {view.name: view for view in views}
        self._views = [newer.get(view.name, view) for view in self._views]
        if self._kinds.currentIndex() == PICTURE:
            self._picture.update_views(views)
        else:
            self._table.hold_order(True)
            self._table.rows.update_records(views)
        self._count_soon()
        chosen = self._picture.chosen_name() or self.memory.get("server")
        if chosen in newer:
            self._show_chosen(chosen, self.memory.get("device"))
        self._read_soon(())
        if not self._reading and not self.memory["asking"]:
            self._filtered()

    def _count_soon(self) -> None:
        """Figures that change with every answer are shown a few times a second."""
        if not self._later.isActive():
            self._later.start()

    def _count(self) -> None:
        t = self.t
        self._chips.show_counts(counts(self._views), len(self._views))
        devices = sum(len(view.devices) for view in self._views)
        said = t("Devices: {count}", count=devices)
        being = self._asking()
        if being:
            total = sum(len(names) for names, _left in self.memory["asking"].values())
            said = t("Answered {done} of {total}", done=total - len(being), total=total)
        self._counts.setText(said)
        waiting = sum(view.state == "untrusted" for view in self._views)
        self._confirm.setVisible(waiting > 1)
        self._confirm.setText(t("&Host keys to confirm: {count}", count=waiting))

    def _shown(self) -> list[ServerView]:
        text, name = self._filter.text(), self._chips.current()
        return [view for view in self._views if in_class(view, name) and wanted(view, text)]

    def _filtered(self) -> None:
        kept = self._shown()
        if self._kinds.currentIndex() == PICTURE:
            self._picture.show_sections(sections(kept, self._group.currentData(), self.t))
            if self.memory.get("server"):
                self._picture.choose(self.memory["server"], self.memory.get("device"))
        else:
            self._table.hold_order(False)
            if self._table.rows.records != kept:
                self._table.show_records(kept)
        fewer = len(kept) < len(self._views)
        self._ask.setText(self.t("As&k these {count}", count=len(kept)) if fewer else self.t("As&k the servers"))

    # -- what is shown how ----------------------------------------------------------------------------------------

    def _show_kind(self, kind: int) -> None:
        """The picture stands beside the details; the table needs the whole width, and stands above them."""
        self.memory["view"] = kind
        self._segment.button(kind).setChecked(True)
        self._kinds.setCurrentIndex(kind)
        self._split.turn(Qt.Orientation.Vertical if kind else Qt.Orientation.Horizontal)
        for widget in (self._level, self._group):
            widget.setVisible(kind == PICTURE)
        self._which.setVisible(kind == TABLE)
        self._filtered()
        if kind == TABLE and self.memory.get("server"):
            self._table.select_key(self.memory["server"])

    def _grouped(self) -> None:
        self.memory["group"] = self._group.currentData()
        self._filtered()

    def _levelled(self) -> None:
        self.memory["level"] = self._level.currentData()
        self._picture.show_level(self._level.currentData())

    def _zoomed(self, level: str) -> None:
        """The picture's own keys changed its size: the choice says so."""
        if self._picture.wanted_level() != self._level.currentData():
            self._level.blockSignals(True)
            self._level.setCurrentIndex(self._level.findData(level))
            self._level.blockSignals(False)
            self.memory["level"] = level

    def _choose_columns(self) -> None:
        self._table.columns_menu().popup(self._which.mapToGlobal(QPoint(0, self._which.height())))

    def _toggle_details(self) -> None:
        self.memory["details"] = not self._details.isVisibleTo(self)
        self._details.setVisible(self.memory["details"])

    def hide_details(self) -> None:
        """Give the whole width to the servers."""
        self.memory["details"] = False
        self._details.hide()
        self.focus_servers()

    def focus_servers(self) -> None:
        """Bring the keyboard back to the servers."""
        self._kinds.currentWidget().setFocus(Qt.FocusReason.ShortcutFocusReason)

    def _leave_filter(self) -> None:
        self._filter.clear()
        self.focus_servers()

    def _picked(self, name: str, device: DeviceKey | None) -> None:
        self._show_chosen(name, device)

    def _show_chosen(self, name: str, device: DeviceKey | None) -> None:
        view = next((view for view in self._views if view.name == name), None)
        if view is None:
            return
        self.memory["server"], self.memory["device"] = name, device
        self._picture.choose(name, device)
        if self._kinds.currentIndex() == TABLE and (self._table.current() is None or self._table.current().name != name):
            self._table.select_key(name)
        self._details.show_view(view, device, name in self._asking())

    def device_shown(self, name: str, device: DeviceKey) -> None:
        """The details moved on to another device of the server."""
        self.memory["device"] = device
        self._picture.choose(name, device)

    def _opened(self, name: str, device: DeviceKey | None) -> None:
        """Look closely: the details come up if they were hidden, and take the keyboard."""
        self.memory["details"] = True
        self._details.show()
        self._show_chosen(name, device)
        self._details._tabs.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def _menu(self, name: str, where: QPoint) -> None:
        t, menu = self.t, QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        view = next(view for view in self._views if view.name == name)
        menu.addAction(t("Show the details"), lambda: self._opened(name, None))
        if view.record.host_keys:
            menu.addAction(t("Ask this server"), lambda: self.ask((name,)))
        menu.addAction(t("Compare the host key…"), lambda: self.confirm(name))
        menu.addAction(t("Edit its entry…"), lambda: self.edit(name))
        menu.addAction(t("Copy its name"), lambda: copy_text(name))
        menu.addSeparator()
        menu.addAction(t("Remove it…"), lambda: self.remove(name))
        menu.popup(where)

    # -- what the operator does -----------------------------------------------------------------------------------

    def add_by_form(self) -> None:
        """Open the form for one server."""
        ServerDialog(self, self.desk, self._added, others=[view.record for view in self._views]).open()

    def edit(self, name: str) -> None:
        """Open the form with a server's entry in it."""
        record = next(view.record for view in self._views if view.name == name)
        ServerDialog(self, self.desk, lambda _name: self.refresh(), record, others=[view.record for view in self._views]).open()

    def _added(self, name: str) -> None:
        self.memory["server"] = name
        confirm_host_key(self, self.desk, name, self.refresh)

    def confirm(self, name: str) -> None:
        """Have a server's host key compared and pinned."""
        confirm_host_key(self, self.desk, name, self.refresh)

    def confirm_all(self) -> None:
        """Have the host keys of all servers compared whose keys are not confirmed yet."""
        names = [view.name for view in self._views if view.state == "untrusted"]
        HostKeysDialog(self, self.desk, names, self.refresh).open()

    def start_practice(self) -> None:
        """Bring the practice servers up."""
        self.desk.run(self, tasks.practice_up(self.engine, self.t), ended=lambda _r: self.refresh())

    def _inventory(self) -> None:
        self.ask(tuple(view.name for view in self._shown() if view.record.host_keys))

    def ask(self, names: tuple[str, ...]) -> None:
        """Take the inventory of ``names``; what each answers is shown as it comes."""
        if not names:
            return
        waiting = self.memory["asking"]
        token = object()
        waiting[token] = set(names), set(names)

        def started(job: str) -> None:
            if token in waiting:
                waiting[job] = waiting.pop(token)
            board = self.desk.bridge.board.jobs.get(job)
            if board is not None and board.over:
                self._over({job})

        def refused(problem: Exception) -> None:
            waiting.pop(token, None)
            self._mark_asking()
            self.desk.problem.emit(problem)

        self._mark_asking()
        self.desk.run(self, tasks.inventory(self.engine, self.t, names), started=started, failed=refused)

    def _asking(self) -> frozenset[str]:
        """The servers that are being asked now and have not answered."""
        return frozenset().union(*(left for _names, left in self.memory["asking"].values()))

    def _mark_asking(self) -> None:
        being = self._asking()
        self._picture.show_asking(being)
        self._count_soon()
        view = self._details.shown()
        if view is not None:
            self._details.show_view(view, self.memory.get("device"), view.name in being)

    def _events(self, events: list[Any]) -> None:
        """News from the engine: a server that answered is read at once, whoever asked it."""
        answered = {event.server for event in events if isinstance(event, ServerResult)
                    and event.outcome in ("reached", "unreachable")}
        ended = {event.job for event in events if isinstance(event, JobState) and event.state in OVER}
        if answered:
            for _names, left in self.memory["asking"].values():
                left -= answered
            self._mark_asking()
            if self.isVisible():
                self._read_soon(sorted(answered & {view.name for view in self._views}))
            else:
                self._stale = True
        self._over(ended)

    def _over(self, jobs: set[str]) -> None:
        """A run that has ended, however it ended, waits for no server any more."""
        gone = jobs & self.memory["asking"].keys()
        for job in gone:
            del self.memory["asking"][job]
        if gone:
            self._mark_asking()
            if not self._to_read and not self._reading:
                self._filtered()

    def remove(self, name: str) -> None:
        """Take a server out of the site, after asking."""
        AskDialog(self, self.t, self.t("Remove {server}?", server=name),
                  self.t("Its entry, its trusted host key and its inventories are removed here. Nothing changes on "
                         "the server "
                         "itself. The audit log keeps what was done."), self.t("&Remove"),
                  lambda: self.act(lambda: self.engine.servers.remove(name), lambda _r: self.refresh()),
                  danger=True).open()
