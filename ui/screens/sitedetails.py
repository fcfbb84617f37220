"""One server closely: what it is, its devices, its facts with the commands that told of them, and what changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QGridLayout, QLineEdit, QSplitter, QTabWidget, QWidget

from console import units
from console.errors import shown
from ui import theme
from ui.models.rows import Column
from ui.models.servers import HEALTH, DeviceKey, ServerView, change_tone, device_lines, filled, key_of
from ui.screens import wording
from ui.screens.wording import AUTHS, SUDOS
from ui.widgets.basic import Badge, Banner, Card, ElidedLabel, Page, button, clear, column, holder, icon_button, label, row
from ui.widgets.serverevidence import SourcePane
from ui.widgets.table import Table
from ui.widgets.topology import state_of, topology_words

if TYPE_CHECKING:
    from ui.screens.site import SiteScreen

SERVER, DEVICES, FACTS, CHANGES = range(4)


class Pairs(QWidget):
    """Captions and values in two columns; a caption without a value takes no room."""

    def __init__(self, captions: tuple[str, ...], mono: tuple[str, ...] = ()):
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.L)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        self._values: dict[str, tuple[QWidget, ElidedLabel]] = {}
        for place, caption in enumerate(captions):
            self._values[caption] = label(caption, "muted"), ElidedLabel("", "mono" if caption in mono else None)
            for spot, part in enumerate(self._values[caption]):
                grid.addWidget(part, place, spot)

    def show_values(self, values: dict[str, str]) -> None:
        """Show these values by caption."""
        for caption, (name, value) in self._values.items():
            there = caption in values
            name.setVisible(there)
            value.setVisible(there)
            if there and value.text() != values[caption]:
                value.setText(values[caption])


def host_values(known: Any, t: Callable[..., str]) -> dict[str, str]:
    """What an inventory tells of the server itself, by caption; what it does not tell is left out."""
    def value(name: str) -> Any:
        fact = known.facts.get(name) if known is not None else None
        return fact.value if fact is not None and fact.state == "value" else None

    def joined(*parts: Any) -> str:
        return " · ".join(str(part) for part in parts if part)

    release, cpu, machine, memory, store = (value(name) or {} for name in ("os.release", "cpu.info", "os.machine", "memory.info", "disk.store"))
    free = store.get("free_bytes")
    found = {
        t("System"): joined(release.get("os_pretty_name")), t("Kernel"): joined(value("os.kernel"), value("os.arch")),
        t("Machine"): joined(" ".join(filter(None, (machine.get("maker"), machine.get("product")))), machine.get("firmware_version")),
        t("Processors"): joined(cpu.get("model_name"), cpu.get("cpu_count") and t("CPUs: {count}", count=cpu["cpu_count"]),
                                cpu.get("numa_nodes") and t("NUMA nodes: {count}", count=cpu["numa_nodes"])),
        t("Main memory"): t("{free} free of {total}", free=units.size(memory["mem_available_kib"] * 1024), total=units.size(memory["mem_total_kib"] * 1024))
        if {"mem_available_kib", "mem_total_kib"} <= memory.keys() else "",
        t("Room for models"): t("{free} free on {mount}", free=units.size(free), mount=store.get("mount")) if free is not None else ""}
    return {caption: str(shown(text)) for caption, text in found.items() if text}


class Details(Card):
    """The chosen server. A tab is made and filled when it is looked at, so that walking through servers stays quick."""

    def __init__(self, screen: SiteScreen):
        super().__init__(stretch=True, gap=theme.S)
        self._screen, self.t = screen, screen.t
        t = self.t
        self._view: ServerView | None = None
        self._device: DeviceKey | None = None
        self._asking = False
        self._made: set[int] = set()
        self._filled: set[int] = set()
        self._name, self._badge = ElidedLabel("", "heading"), Badge()
        close = icon_button("close", t("Hide the details"), screen.hide_details)
        self.add(row(self._name, self._badge, close))
        self._tabs = QTabWidget(documentMode=True)
        self._tabs.setAccessibleName(t("Server"))
        for caption in (t("Server"), t("Devices"), t("Facts"), t("Changes")):
            self._tabs.addTab(holder(column(margins=(0, 0, 0, 0))), caption)
        self._tabs.currentChanged.connect(lambda _place: self._fill())
        self.add(self._tabs, 1)
        self.setMinimumWidth(390)
        back = QShortcut(QKeySequence(Qt.Key.Key_Escape), self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)
        back.activated.connect(screen.focus_servers)

    def _devices_tab(self) -> QWidget:
        t = self.t
        self._devices = Table(
            [Column("#", lambda d: str(d.index), number=True, width=56, sort=lambda d: d.index),
             Column(t("Health"), lambda d: t(HEALTH[d.health][1]), tone=lambda d: HEALTH[d.health][0], width=100),
             Column(t("Device"), lambda d: d.model or d.name or ""),
             Column(t("Used"), self._used, number=True, width=74, sort=lambda d: filled(d) or 0)],
            t("Devices"), key=key_of)
        self._devices.chosen.connect(self._device_chosen)
        self._device_source = SourcePane(t, t("Devices"))
        self._no_devices = label("", "muted", wrap=True)
        self._devices_half = _halves(self._devices, self._device_source)
        return holder(_filling(self._no_devices, self._devices_half))

    def _used(self, device: Any) -> str:
        part = filled(device)
        return "–" if part is None else f"{part * 100:.0f} %"

    def _facts_tab(self) -> QWidget:
        t = self.t
        self._find_fact = QLineEdit(placeholderText=t("Filter facts…"), clearButtonEnabled=True)
        self._find_fact.setAccessibleName(t("Filter facts…"))
        self._facts = Table([Column(t("Fact"), lambda f: f.id, width=150),
                             Column(t("Answer"), lambda f: wording.fact_answer(f, t)[:300],
                                    tone=lambda f: wording.FACT_TONES.get(f.state))], t("Facts"), key=lambda f: f.id)
        self._facts.chosen.connect(self._fact_chosen)
        self._find_fact.textChanged.connect(self._facts.filter.look_for)
        self._evidence = SourcePane(t, t("Facts"))
        upper = column(self._find_fact, self._facts, gap=theme.S)
        self._no_facts = label("", "muted", wrap=True)
        self._facts_half = _halves(holder(upper), self._evidence)
        return holder(_filling(self._no_facts, self._facts_half))

    def _changes_tab(self) -> QWidget:
        t = self.t
        self._since = label("", "muted", wrap=True)
        self._changes = Table([Column(t("Where"), lambda d: d.subject, tone=lambda d: change_tone(d.kind), width=150),
                               Column(t("What changed"), self._change_apart)], t("Changes"), sortable=False)
        self._change_words_whole = label("", wrap=True, selectable=True)
        self._changes.chosen.connect(lambda d: self._change_words_whole.setText(self._change_words(d) if d else ""))
        made = column(self._since, self._changes, self._change_words_whole, gap=theme.S, margins=(0, theme.M, 0, 0))
        made.setStretch(1, 1)
        made.addStretch(0)
        return holder(made)

    # -- what is shown --------------------------------------------------------------------------------------------

    def shown(self) -> ServerView | None:
        """The server in sight."""
        return self._view

    def show_view(self, view: ServerView, device: DeviceKey | None, asking: bool = False) -> None:
        """Show a server, and one of its devices where one was picked."""
        if (view, device, asking) == (self._view, self._device, self._asking):
            return
        if view is not self._view:
            self._filled.clear()
        moved = device is not None and (device != self._device or self._view is None or view.name != self._view.name)
        self._view, self._device, self._asking = view, device, asking
        tone, icon, word = state_of(view, self.t, asking)
        if SERVER in self._made:
            self._ask.setEnabled(not asking)
        self._name.setText(view.name)
        self._badge.show_status(tone, word, icon)
        caption = f"{self.t('Changes')} ({len(view.changes)})" if view.changes else self.t("Changes")
        if caption != self._tabs.tabText(CHANGES):  # Qt lays out and paints the whole of the tabs for it, even if it is the same
            self._tabs.setTabText(CHANGES, caption)
        if moved:
            self._tabs.setCurrentIndex(DEVICES)
        self._fill()
        if moved and device is not None:
            self._devices.select_key(device)

    def _fill(self) -> None:
        place = self._tabs.currentIndex()
        if self._view is None or place in self._filled:
            return
        if place not in self._made:
            self._made.add(place)
            tab = (self._about_tab, self._devices_tab, self._facts_tab, self._changes_tab)[place]()
            self._tabs.widget(place).layout().addWidget(tab)
        self._filled.add(place)
        (self._fill_about, self._fill_devices, self._fill_facts, self._fill_changes)[place](self._view)

    def _fill_about(self, view: ServerView) -> None:
        """Texts change, widgets stay: making them anew costs the window's thread more than all else here."""
        told = self._told(view)
        if told != self._banner_of:
            self._banner_of = told
            clear(self._banners)
            for part in self._banner_parts(told):
                self._banners.addWidget(part)
        self._pairs.show_values(self._values(view))
        self._ask.setEnabled(not self._asking)
        trusted = bool(view.record.host_keys)
        for tool in (self._ask, self._key):
            tool.setVisible(trusted)

    def _fill_devices(self, view: ServerView) -> None:
        self._no_devices.setText(self._nothing_known(view) or self.t("No accelerators were found in this server."))
        self._no_devices.setVisible(not view.devices)
        self._devices_half.setVisible(bool(view.devices))
        self._devices.show_records(view.devices, select_first=True)
        if self._device is not None:
            self._devices.select_key(self._device)
        self._device_chosen(self._devices.current())

    def _nothing_known(self, view: ServerView) -> str:
        """That there is no inventory yet, and the next step; empty when there is one."""
        t = self.t
        if view.known is not None:
            return ""
        step = t("Confirm its host key first.") if view.state == "untrusted" else t("Ask the server what it is and what is in it.")
        return t("There is no inventory of this server yet.") + "\n" + step

    def _fill_facts(self, view: ServerView) -> None:
        missing = self._nothing_known(view)
        self._no_facts.setText(missing)
        self._no_facts.setVisible(bool(missing))
        self._facts_half.setVisible(not missing)
        self._facts.show_records(list(view.known.facts.values()) if view.known else [], select_first=True)
        self._fact_chosen(self._facts.current())

    def _fill_changes(self, view: ServerView) -> None:
        t, screen = self.t, self._screen
        self._changes.show_records(view.changes, select_first=True)
        self._changes.setVisible(bool(view.changes))
        self._change_words_whole.setText(self._change_words(view.changes[0]) if view.changes else "")
        if view.known is None:
            self._since.setText(self._nothing_known(view))
            return
        now = wording.when(view.known.taken_at)
        self._since.setText(t("The inventory of {now}.", now=now))

        def found(before: Any) -> None:
            if self._view is not view:
                return
            if before is None:
                self._since.setText(t("The inventory of {now} is the first; there is none to compare it with.", now=now))
            elif view.changes:
                self._since.setText(t("From {before} to {now}.", before=wording.when(before), now=now))
            else:
                self._since.setText(t("Nothing that matters changed from {before} to {now}.", before=wording.when(before), now=now))

        def asked() -> Any:
            before = screen.engine.inventory.previous(view.name)
            return before.taken_at if before is not None else None

        screen.act(asked, found)

    def _about_tab(self) -> QWidget:
        t, screen = self.t, self._screen
        self._banners, self._banner_of = column(gap=theme.M), None
        names = (t("Devices"), t("Joined by"), t("Memory"), t("System"), t("Kernel"), t("Machine"), t("Processors"), t("Main memory"), t("Room for models"),
                 t("Address"), t("Login"), t("Administrator rights"), t("Way to it"),
                 t("Group"), t("Labels"), t("Model folder"), t("Host key"), t("Last asked"))
        self._pairs = Pairs(names, mono=(t("Host key"), t("Model folder")))
        self._ask = button(t("Ask a&gain"), lambda: screen.ask((self._view.name,)), icon="refresh")
        self._key = button(t("Host ke&y…"), lambda: screen.confirm(self._view.name), icon="key")
        edit = button(t("&Edit…"), lambda: screen.edit(self._view.name), icon="edit")
        remove = button(t("Re&move…"), lambda: screen.remove(self._view.name), role="danger", icon="trash")
        grid = QGridLayout()
        grid.setContentsMargins(0, theme.S, 0, 0)
        grid.setSpacing(theme.S)
        for place, tool in enumerate((edit, remove, self._ask, self._key)):
            grid.addWidget(tool, place // 2, place % 2)
        grid.setColumnStretch(2, 1)
        page = Page(self._banners, self._pairs, grid, None, gap=theme.M)
        page.body.setContentsMargins(0, theme.M, theme.S, 0)
        return page

    def _values(self, view: ServerView) -> dict[str, str]:
        t, record, found = self.t, view.record, {}
        if view.devices:
            memory = units.size(view.memory_bytes) if view.memory_used_bytes is None else t(
                "{used} of {total}", used=units.size(view.memory_used_bytes), total=units.size(view.memory_bytes))
            found = {t("Devices"): view.summary, t("Joined by"): topology_words(view.topology, t), t("Memory"): memory}
        return found | host_values(view.known, t) | {
            t("Address"): f"{record.address}:{record.port}", t("Login"): f"{record.user} ({t(dict(AUTHS)[record.auth])})",
            t("Administrator rights"): t(dict(SUDOS)[record.sudo]),
            t("Way to it"): " → ".join((t("this desktop"), *record.jump, record.name)) if record.jump else t("directly"),
            t("Group"): record.group or "–", t("Labels"): ", ".join(record.labels) or "–", t("Model folder"): record.store,
            t("Host key"): ", ".join(wording.host_key(key) for key in record.host_keys) or t("not confirmed"),
            t("Last asked"): wording.when(view.inventory.taken_at) if view.inventory else "–"}

    def _told(self, view: ServerView) -> tuple[str, ...]:
        """What the banner says: tone, text, details, and the state for which it offers a button; empty for none."""
        t = self.t
        if view.state == "untrusted":
            return ("warn", t("The host key of this server is not confirmed."), t("Nothing is sent to it before that."), view.state)
        if view.state == "unasked":
            return ("info", t("Not asked yet."), t("Ask the server what it is and what is in it."), "")
        if view.inventory is not None and not view.inventory.reached:
            message, remedy = wording.problem(view.inventory.error, self._screen.desk.lang)
            old = t("Devices and facts shown are those of {when}.", when=wording.when(view.known.taken_at)) if view.known else ""
            return ("fail", message, "\n".join(part for part in (remedy, old) if part),
                    view.state if view.state == "keychanged" else "")
        bad = [device for device in view.devices if device.health in ("fail", "warning")]
        if bad:
            told = [f"{device.index}: {device_lines(device, t)[0]}" for device in bad[:8]]
            return ("fail" if view.state == "fail" else "warn", t("Devices that need attention: {count}", count=len(bad)),
                    "\n".join(told), "")
        return ()

    def _banner_parts(self, told: tuple[str, ...]) -> list[QWidget]:
        t, screen = self.t, self._screen
        if not told:
            return []
        tone, text, detail, offer = told
        parts: list[QWidget] = [Banner(tone, text, detail)]
        if offer == "untrusted":
            confirm = button(t("&Confirm the host key…"), lambda: screen.confirm(self._view.name), role="primary", icon="key")
            confirm.setObjectName("confirm-key")
            parts.append(holder(row(confirm, None)))
        elif offer == "keychanged":
            compare = button(t("&Compare the new key…"), lambda: screen.confirm(self._view.name), role="danger", icon="key")
            compare.setObjectName("compare-key")
            parts.append(holder(row(compare, None)))
        return parts

    def _device_chosen(self, device: Any) -> None:
        view, t = self._view, self.t
        if device is None or view is None:
            self._device_source.show_thing(t("Devices"), "", [], wording.when, None)
            return
        sources = [fact for name, fact in view.known.facts.items()
                   if name.startswith(device.vendor + ".") and fact.state != "absent"]
        text = "\n".join([*device_lines(device, t), "", wording.device_text(device, t)])
        self._device_source.show_thing(t("Device {index}", index=device.index), text, sources, wording.when, view.known.taken_at)
        if self._device != key_of(device):
            self._device = key_of(device)
            self._screen.device_shown(view.name, self._device)

    def _fact_chosen(self, fact: Any) -> None:
        view = self._view
        if fact is None or view is None or view.known is None:
            self._evidence.show_thing(self.t("Facts"), "", [], wording.when, None)
            return
        self._evidence.show_only(fact, wording.when, view.known.taken_at)

    def _change_apart(self, change: Any) -> str:
        """What changed, without the thing that it speaks of, which stands beside it."""
        whole = self._change_words(change)
        return whole.removeprefix(change.subject).lstrip(": ：") if whole.startswith(change.subject) else whole

    def _change_words(self, change: Any) -> str:
        return change.words(self._screen.desk.lang, wording.short)


def _filling(upper: QWidget, lower: QWidget) -> Any:
    """The lower takes what is left; alone, the upper stays at the top."""
    made = column(upper, lower, gap=0, margins=(0, theme.S, 0, 0))
    made.setStretch(1, 1)
    made.setAlignment(upper, Qt.AlignmentFlag.AlignTop)
    return made


def _halves(upper: QWidget, lower: QWidget) -> QWidget:
    split = QSplitter(Qt.Orientation.Vertical, childrenCollapsible=False)
    split.addWidget(upper)
    split.addWidget(lower)
    split.setSizes([260, 220])
    split.setHandleWidth(theme.S)
    return holder(column(split, margins=(0, theme.M, 0, 0)))
