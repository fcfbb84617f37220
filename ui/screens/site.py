"""See what is here: servers, their host keys, their inventory; as a picture and as a table, with the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QButtonGroup,
    QLineEdit,
    QMenu,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QWidget,
)

from console import units
from console.errors import shown
from console.i18n import N_
from ui import theme
from ui.models.rows import Column
from ui.screens import tasks, wording
from ui.screens.base import Screen
from ui.screens.serverdialogs import AddServerDialog, choose_import, confirm_host_key
from ui.widgets.basic import Badge, Banner, Card, ElidedLabel, EmptyState, Page, button, column, facts, holder, row
from ui.widgets.dialogs import AskDialog
from ui.widgets.evidence import EvidencePane
from ui.widgets.serverpicture import ServerCard, ServerPicture, Tile
from ui.widgets.table import Table


@dataclass(frozen=True)
class ServerView:
    """A server with its last inventory and the state that follows from both."""

    record: Any
    inventory: Any

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def devices(self) -> tuple[Any, ...]:
        """Its devices, as far as they are known."""
        return tuple(self.inventory.devices) if self.inventory is not None and self.inventory.reached else ()

    @property
    def state(self) -> str:
        """One of the keys of ``wording.SERVER_STATES``."""
        if not self.record.host_keys:
            return "untrusted"
        if self.inventory is None:
            return "unasked"
        if not self.inventory.reached:
            return "unreachable"
        healths = {device.health for device in self.devices}
        for health in ("fail", "warning", "unknown"):
            if health in healths:
                return health
        return "ok" if self.devices else "bare"


def device_summary(devices: tuple[Any, ...]) -> str:
    """``"8 × NVIDIA H200"``."""
    names: dict[str, int] = {}
    for device in devices:
        names[device.model or device.name] = names.get(device.model or device.name, 0) + 1
    return ", ".join(f"{count} × {name}" for name, count in names.items())


class SiteScreen(Screen):
    """Servers and devices."""

    id, icon = "site", "servers"
    title, lead = N_("Servers"), N_("Every server of this site and every device in it, coloured by health.")
    kinds = frozenset({"servers", "site"})

    def build(self) -> None:
        t = self.t
        self._views: list[ServerView] = []
        self._ask = button(t("As&k the servers"), self._inventory, role="primary", icon="refresh",
                           hint=t("Reads hardware and software over SSH; changes nothing."))
        self._ask.setObjectName("inventory")
        self._add = button(t("&Add servers"), icon="plus")
        self._add.setMenu(self._add_menu())
        self._add.setProperty("menu", True)
        self.actions.addWidget(self._add)
        self.actions.addWidget(self._ask)
        self._pages = QStackedWidget()
        self._pages.addWidget(self._empty_page())
        self._pages.addWidget(self._full_page())
        self.put(self._pages)

    def _add_menu(self) -> QMenu:
        t, menu = self.t, QMenu(self)
        menu.addAction(t("By form…"), self.add_by_form)
        menu.addAction(t("From a CSV table…"), lambda: choose_import(self, self.desk, "csv", self.refresh))
        menu.addAction(t("From an OpenSSH configuration…"), lambda: choose_import(self, self.desk, "ssh", self.refresh))
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
        self._filter = QLineEdit(placeholderText=t("Filter by name, address, device…"), clearButtonEnabled=True)
        self._filter.setAccessibleName(t("Filter"))
        self._filter.textChanged.connect(self._filtered)
        self._counts = ElidedLabel("", "muted")
        self._picture = ServerPicture(t)
        self._picture.picked.connect(self._picked)
        self._table = Table(self._columns(), t("Servers"), key=lambda view: view.name)
        self._table.chosen.connect(lambda view: view and self._picked(view.name, None))
        self._kinds = QStackedWidget()
        self._kinds.addWidget(self._picture)
        self._kinds.addWidget(self._table)
        tools = row(self._segments(), self._filter, gap=theme.M)
        tools.setStretch(1, 1)
        left = column(tools, self._counts, self._kinds, gap=theme.S, margins=(0, 0, theme.S, 0))
        left.setStretch(2, 1)
        self._details = Details(self)
        split = self._split = QSplitter(Qt.Orientation.Horizontal, childrenCollapsible=False)
        split.setHandleWidth(theme.S)
        split.addWidget(holder(left))
        split.addWidget(self._details)
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 2)
        return holder(column(split, margins=(theme.XL, 0, theme.XL, theme.L)))

    def _segments(self) -> QWidget:
        group = QButtonGroup(self)
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

    def _show_kind(self, kind: int) -> None:
        """The picture stands beside the details; the table needs the whole width, and stands above them."""
        self.memory["view"] = kind
        self._kinds.setCurrentIndex(kind)
        self._split.setOrientation(Qt.Orientation.Vertical if kind else Qt.Orientation.Horizontal)
        self._split.setSizes([300, 300] if kind else [372, 404])

    def _columns(self) -> list[Column]:
        t = self.t
        state = lambda v: wording.SERVER_STATES[v.state]  # noqa: E731 - a name for a one-line idea
        return [
            Column(t("Server"), lambda v: v.name, width=132),
            Column(t("State"), lambda v: t(state(v)[1]), tone=lambda v: state(v)[0], width=140),
            Column(t("Devices"), lambda v: device_summary(v.devices)),
            Column(t("Memory"), lambda v: units.size(_total(v.devices)), number=True, width=86,
                   sort=lambda v: _total(v.devices) or 0),
            Column(t("Address"), lambda v: f"{v.record.address}:{v.record.port}", width=124),
            Column(t("Asked"), lambda v: wording.when(v.inventory.taken_at) if v.inventory else "–", width=158)]

    # -- data -----------------------------------------------------------------------------------------------------

    def load(self) -> list[ServerView]:
        engine = self.engine
        return [ServerView(record, engine.inventory.latest(record.name)) for record in engine.servers.list()]

    def show_data(self, views: list[ServerView]) -> None:
        t = self.t
        self._views = views
        self._pages.setCurrentIndex(1 if views else 0)
        self._ask.setEnabled(any(view.record.host_keys for view in views))
        if self._kinds.currentIndex() != self.memory.get("view", 0) or not self.ready:
            self._show_kind(self.memory.get("view", 0))
        devices = [device for view in views for device in view.devices]
        bad = sum(device.health in ("fail", "warning") for device in devices)
        waiting = sum(view.state == "untrusted" for view in views)
        said = [t("Servers: {count}", count=len(views)), t("Devices: {count}", count=len(devices))]
        said += [t("need attention: {count}", count=bad)] if bad else []
        said += [t("host keys to confirm: {count}", count=waiting)] if waiting else []
        self._counts.setText(" · ".join(said))
        self._filtered()
        chosen = self.memory.get("server")
        if views and not any(view.name == chosen for view in views):
            chosen = views[0].name
        if chosen:
            self._picked(chosen, self.memory.get("device"))

    def _filtered(self) -> None:
        words = self._filter.text().casefold().split()
        kept = [v for v in self._views if all(word in self._text_of(v) for word in words)]
        self._picture.show_cards([self._card(view) for view in kept])
        self._table.show_records(kept)

    @staticmethod
    def _text_of(view: ServerView) -> str:
        record = view.record
        words = (record.name, record.address, record.group, *record.labels, device_summary(view.devices))
        return " ".join(words).casefold()

    def _card(self, view: ServerView) -> ServerCard:
        tone, word = wording.SERVER_STATES[view.state]
        line = device_summary(view.devices) or f"{view.record.address}:{view.record.port}"
        return ServerCard(view.name, str(shown(line)), tone, self.t(word), tuple(self._tile(d) for d in view.devices))

    def _tile(self, device: Any) -> Tile:
        tone, word = wording.HEALTH[device.health]
        used, total = device.memory_used_bytes, device.memory_total_bytes
        filled = used / total if used is not None and total else None
        hint = [f"{device.index}: {device.name}", self.t(word)]
        if total:
            hint.append(self.t("Memory {used} of {total}", used=units.size(used), total=units.size(total)))
        if device.temperature_c is not None:
            hint.append(f"{device.temperature_c:g} °C")
        return Tile(device.index, tone, filled, str(shown("\n".join(hint))))

    def _picked(self, name: str, device: int | None) -> None:
        self.memory["server"], self.memory["device"] = name, device
        view = next((view for view in self._views if view.name == name), None)
        if view is None:
            return
        self._picture.choose(name, device)
        if self._table.current() is None or self._table.current().name != name:
            self._table.select_key(name)
        self._details.show_view(view, device)

    # -- what the operator does -----------------------------------------------------------------------------------

    def add_by_form(self) -> None:
        """Open the form for one server."""
        AddServerDialog(self, self.desk, self._added).open()

    def _added(self, name: str) -> None:
        self.memory["server"] = name
        confirm_host_key(self, self.desk, name, self.refresh)

    def confirm(self, name: str) -> None:
        """Have a server's host key compared and pinned."""
        confirm_host_key(self, self.desk, name, self.refresh)

    def start_practice(self) -> None:
        """Bring the practice servers up."""
        self.desk.run(self, tasks.practice_up(self.engine, self.t), ended=lambda _r: self.refresh())

    def _inventory(self) -> None:
        self.ask(tuple(view.name for view in self._views if view.record.host_keys))

    def ask(self, names: tuple[str, ...]) -> None:
        """Take the inventory of ``names``."""
        spec = tasks.inventory(self.engine, self.t, names)
        self.desk.run(self, spec, ended=lambda _r: self.refresh())

    def remove(self, name: str) -> None:
        """Take a server out of the site, after asking."""
        AskDialog(self, self.t, self.t("Remove {server}?", server=name),
                  self.t("Its entry, its trusted host key and its inventories are removed here. Nothing changes on "
                         "the server "
                         "itself. The audit log keeps what was done."), self.t("&Remove"),
                  lambda: self.act(lambda: self.engine.servers.remove(name), lambda _r: self.refresh()),
                  danger=True).open()


def _total(devices: tuple[Any, ...]) -> int | None:
    known = [device.memory_total_bytes for device in devices if device.memory_total_bytes is not None]
    return sum(known) if known else None


class Details(Card):
    """One server: what it is, its devices, its facts with their evidence."""

    def __init__(self, screen: SiteScreen):
        super().__init__(stretch=True)
        self._screen, self.t = screen, screen.t
        t = self.t
        self._name, self._badge = ElidedLabel("", "heading"), Badge()
        self.add(row(self._name, self._badge))
        self._tabs = QTabWidget(documentMode=True)
        self._tabs.setAccessibleName(t("Server"))
        self._about = Page(gap=theme.M)
        self._about.body.setContentsMargins(0, theme.M, theme.S, 0)
        self._devices = Table(self._device_columns(), t("Devices"), key=lambda d: d.index)
        self._devices.chosen.connect(self._device_chosen)
        self._facts = Table([Column(t("Fact"), lambda f: f.id, width=150),
                             Column(t("Answer"), lambda f: wording.fact_answer(f, t),
                                    tone=lambda f: wording.FACT_TONES.get(f.state))], t("Facts"), key=lambda f: f.id)
        self._facts.chosen.connect(lambda fact: self._evidence.show_evidence(_evidence_of(fact)))
        self._evidence, self._device_facts = EvidencePane(t), EvidencePane(t)
        for name, upper, lower in ((t("Devices"), self._devices, self._device_facts),
                                   (t("Facts"), self._facts, self._evidence)):
            split = QSplitter(Qt.Orientation.Vertical, childrenCollapsible=False)
            split.addWidget(upper)
            split.addWidget(lower)
            split.setSizes([260, 200])
            split.setHandleWidth(theme.S)
            self._tabs.addTab(holder(column(split, margins=(0, theme.M, 0, 0))), name)
        self._tabs.insertTab(0, self._about, t("Server"))
        self._tabs.setCurrentIndex(0)
        self.add(self._tabs, 1)
        self.setMinimumWidth(390)

    def _device_columns(self) -> list[Column]:
        t = self.t
        return [Column("#", lambda d: str(d.index), number=True, width=56, sort=lambda d: d.index),
                Column(t("Health"), lambda d: t(wording.HEALTH[d.health][1]),
                       tone=lambda d: wording.HEALTH[d.health][0],
                       width=116),
                Column(t("Device"), lambda d: d.name),
                Column(t("Memory"), lambda d: units.size(d.memory_total_bytes), number=True, width=88,
                       sort=lambda d: d.memory_total_bytes or 0)]

    def show_view(self, view: ServerView, device: int | None) -> None:
        """Show a server, and one of its devices where one was picked."""
        from ui.widgets.basic import clear

        tone, word = wording.SERVER_STATES[view.state]
        self._name.setText(view.name)
        self._badge.show_status(tone, self.t(word))
        clear(self._about.body)
        for part in self._about_parts(view):
            self._about.add(part)
        self._about.add(None)
        self._devices.show_records(view.devices)
        inventory = view.inventory
        known = list(inventory.facts.values()) if inventory else []
        self._facts.show_records(known, select_first=True)
        if device is not None and self._devices.select_key(device):
            self._tabs.setCurrentIndex(1)

    def _about_parts(self, view: ServerView) -> list[QWidget]:
        t, record, screen = self.t, view.record, self._screen
        parts: list[QWidget] = []
        if view.state == "untrusted":
            parts.append(Banner("warn", t("The host key of this server is not confirmed."),
                                t("Nothing is sent to it before that.")))
            confirm = button(t("&Confirm the host key…"), lambda: screen.confirm(view.name), role="primary", icon="key")
            confirm.setObjectName("confirm-key")
            parts.append(holder(row(confirm, None)))
        elif view.inventory is None:
            parts.append(Banner("info", t("Not asked yet."), t("Ask the server what it is and what is in it.")))
        elif not view.inventory.reached:
            message, remedy = wording.problem(view.inventory.error, screen.desk.lang)
            parts.append(Banner("fail", message, remedy))
        parts.append(facts([
            (t("Address"), f"{record.address}:{record.port}"), (t("Login"), f"{record.user} ({record.auth})"),
            (t("Administrator rights"), record.sudo), (t("Through"), ", ".join(record.jump) or "–"),
            (t("Group"), record.group or "–"), (t("Labels"), ", ".join(record.labels) or "–"),
            (t("Model folder"), record.store),
            (t("Host key"), ", ".join(wording.host_key(key) for key in record.host_keys) or t("not confirmed")),
            (t("Last asked"), wording.when(view.inventory.taken_at) if view.inventory else "–"),
        ], mono=(t("Host key"), t("Model folder"))))
        tools = [button(t("As&k"), lambda: screen.ask((view.name,)), icon="refresh")] if record.host_keys else []
        if record.host_keys:
            tools.append(button(t("Host &key…"), lambda: screen.confirm(view.name), icon="key"))
        tools.append(button(t("Re&move…"), lambda: screen.remove(view.name), role="danger", icon="trash"))
        parts.append(holder(row(*tools, None)))
        return parts

    def _device_chosen(self, device: Any) -> None:
        if device is not None:
            self._device_facts.show_text(self.t("Device {index}", index=device.index),
                                         wording.device_text(device, self.t))


def _evidence_of(fact: Any) -> dict[str, Any] | None:
    return None if fact is None else dict(fact.evidence or {})


