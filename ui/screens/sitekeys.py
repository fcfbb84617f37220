"""Confirming the host keys of many servers: fetched side by side, compared one by one or with a list that was pasted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from console.errors import SealiftError
from console.events import ServerResult
from console.i18n import N_
from console.jobs.job import Context, JobSpec
from console.servers import crew
from console.servers.bastions import Bastions
from console.servers.keys import HostKey, parse_known_hosts
from ui.desk import Desk
from ui.models.rows import Column
from ui.screens import tasks
from ui.widgets.basic import ElidedLabel, button, column, field, holder, label, row
from ui.widgets.dialogs import Dialog, error_parts
from ui.widgets.table import Table

THREADS = 16
OFFERED, SILENT, TRUSTED, REFUSED = "offered", "silent", "trusted", "refused"
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")

VERDICTS = {"waiting": ("muted", N_("Waiting for its key")), "silent": ("fail", N_("No key")),
            "open": ("warn", N_("Not compared")), "same": ("ok", N_("Same as given")),
            "looked": ("ok", N_("Compared by eye")), "different": ("fail", N_("Another key was given")),
            "trusted": ("ok", N_("Trusted")), "refused": ("fail", N_("Not trusted"))}
"""Tone and word of what is known of a key that a server shows."""


def fetch_spec(engine: Any, say: Callable[..., str], names: Iterable[str]) -> JobSpec:
    """Fetch the host keys that servers show, many at a time; each is told as it comes."""
    names = tuple(names)

    def one(name: str, bastions: Bastions, turn: crew.Turn) -> tuple[str, str, dict[str, Any]]:
        try:
            return name, OFFERED, {"line": engine.servers.offered_key(name, bastions=bastions, heard=turn.heard).line}
        except SealiftError as problem:
            return name, SILENT, {"error": problem.kept()}

    def run(ctx: Context) -> None:
        _side_by_side(ctx, names, one)

    return JobSpec("hostkeys.fetch", say(N_("Fetch host keys")), run, names)


def _side_by_side(ctx: Context, names: tuple[str, ...], one: Callable[[str, Bastions, crew.Turn], tuple[str, str, dict[str, Any]]],
                  finish: bool = False) -> None:
    """Do ``one`` for every server, and tell of each as it comes; those that keep silent hold up nobody. With ``finish``, a
    cancel waits for what was begun."""
    bastions = Bastions()
    with ctx.on_cancel(bastions.close):
        try:
            found = crew.results(names, lambda name, turn: one(name, bastions, turn), THREADS, name="keys", checkpoint=ctx.checkpoint, finish=finish)
            for done, (name, outcome, detail) in enumerate(found, 1):
                ctx.server(name).result(outcome, **detail)
                ctx.progress(done, len(names), "servers")
        finally:
            bastions.close()


def trust_spec(engine: Any, say: Callable[..., str], wanted: dict[str, str]) -> JobSpec:
    """Pin, for each server, the key with the fingerprint that was compared."""
    def one(name: str, bastions: Bastions, _turn: crew.Turn) -> tuple[str, str, dict[str, Any]]:
        try:
            engine.servers.trust(name, wanted[name], bastions=bastions)
        except SealiftError as problem:
            return name, REFUSED, {"error": problem.kept()}
        return name, TRUSTED, {}

    def run(ctx: Context) -> None:
        _side_by_side(ctx, tuple(wanted), one, finish=True)

    return tasks.changing(JobSpec("hostkeys.trust", say(N_("Trust host keys")), run, tuple(wanted)), "servers")


@dataclass
class OfferedKey:
    """The key that one server shows. ``problem`` is the error dict of one that shows none."""

    name: str
    address: str = ""
    key: HostKey | None = None
    problem: dict[str, Any] | None = None
    looked: bool = False
    verdict: str = "waiting"


def given_keys(text: str, offered: Iterable[OfferedKey]) -> dict[str, str]:
    """What ``text`` says of each key: ``same`` where it holds the fingerprint, ``different`` where a line names the server,
    by name or address, with other fingerprints only. The text may be lines of ``ssh-keygen -l``, of ``ssh-keyscan`` or of
    a known_hosts file, or fingerprints alone."""
    known, fingerprints, named = parse_known_hosts(text), set(_FINGERPRINT.findall(text)), {}
    for hosts, key in known.entries:
        fingerprints.add(HostKey(key).fingerprint)
        for host in hosts.lower().split(","):
            named.setdefault(host, set()).add(HostKey(key).fingerprint)
    for line in text.splitlines():
        marks = _FINGERPRINT.findall(line)
        for word in line.lower().split() if marks else ():
            named.setdefault(word.strip("(),;:"), set()).update(marks)
    verdicts = {}
    for one in offered:
        if one.key is None:
            continue
        host, _, port = one.address.rpartition(":")
        names = (one.name.lower(), host.lower(), f"[{host.lower()}]:{port}", one.address.lower())
        told = set().union(*(named.get(name, ()) for name in names))
        if told:
            verdicts[one.name] = "same" if one.key.fingerprint in told else "different"
        elif one.key.fingerprint in fingerprints:
            verdicts[one.name] = "same"
    return verdicts


class HostKeysDialog(Dialog):
    """The keys of many servers. None is trusted that was not compared: with a list pasted here, or by eye, one by one."""

    def __init__(self, parent: QWidget, desk: Desk, names: Iterable[str], then: Callable[[], Any]):
        t = desk.t
        self._desk, self._then = desk, then
        self._keys = {name: OfferedKey(name) for name in names}
        self._table = Table([
            Column(t("Server"), lambda k: k.name, width=140),
            Column(t("Comparison"), lambda k: t(VERDICTS[k.verdict][1]), tone=lambda k: VERDICTS[k.verdict][0], width=186),
            Column(t("Fingerprint"), lambda k: k.key.fingerprint if k.key else self._why(k), mono=True)],
            t("Host keys"), key=lambda k: k.name)
        self._table.setMinimumHeight(190)
        self._whole = ElidedLabel("", "mono")
        self._look = button(t("I &compared this one by eye"), self._looked)
        self._given = QPlainTextEdit()
        room = holder(column(self._given))  # the theme gives text boxes a least height that would win over a fixed one
        room.setFixedHeight(88)
        room.setFocusProxy(self._given)
        self._given.setTabChangesFocus(True)
        self._given.setAccessibleName(t("&Paste the list that you were given").replace("&", ""))
        self._given.setPlaceholderText("gpu-01 SHA256:…")
        self._verdict = label("", "fail", wrap=True)
        super().__init__(parent, t("Host keys to confirm"), label(t("Are these really your servers?"), "heading"),
                         label(t("Compare each fingerprint with one that you got another way, such as from the server's own console "
                                 "(ssh-keygen -l) or from its administrator."), wrap=True),
                         self._table, row(self._whole, self._look),
                         field(t("&Paste the list that you were given"), room,
                               t("Lines of ssh-keygen -l, of ssh-keyscan, of a known_hosts file, or fingerprints alone.")),
                         self._verdict, width=820)
        self.add_button(t("C&lose"), self.reject)
        self._trust = self.add_button("", self._pin, primary=True)
        self._trust.setObjectName("confirm")
        self._given.textChanged.connect(self._judge)
        self._table.chosen.connect(self._chosen)
        QShortcut(QKeySequence(Qt.Key.Key_Space), self._table, context=Qt.ShortcutContext.WidgetShortcut).activated.connect(self._looked)
        desk.bridge.events.connect(self._events)
        self._show()
        desk.read(self, lambda: {r.name: f"{r.address}:{r.port}" for r in desk.engine.servers.list()}, self._addressed)
        desk.run(self, fetch_spec(desk.engine, t, self._keys))

    def _addressed(self, addresses: dict[str, str]) -> None:
        for one in self._keys.values():
            one.address = addresses.get(one.name, "")
        self._judge()

    def _events(self, events: list[Any]) -> None:
        mine = [e for e in events if isinstance(e, ServerResult) and e.server in self._keys
                and e.outcome in (OFFERED, SILENT, TRUSTED, REFUSED)]
        for event in mine:
            one = self._keys[event.server]
            if event.outcome == OFFERED:
                one.key, one.problem = HostKey(event.detail["line"]), None
            else:
                one.problem = event.detail.get("error")
                one.verdict = event.outcome
        if mine:
            self._judge()

    def _judge(self) -> None:
        given = given_keys(self._given.toPlainText(), self._keys.values())
        for one in self._keys.values():
            if one.key is not None and one.verdict not in (TRUSTED, REFUSED):
                one.verdict = given.get(one.name) or ("looked" if one.looked else "open")
        self._show()

    def _show(self) -> None:
        t = self._desk.t
        self._table.show_records(list(self._keys.values()), select_first=True)
        ready, different = self._wanted(), [k.name for k in self._keys.values() if k.verdict == "different"]
        self._trust.setText(t("&Trust {count} keys", count=len(ready)))
        self._trust.setEnabled(bool(ready))
        self._verdict.setText(t("They are different. Do not trust these keys; find out why first: {servers}",
                                servers=", ".join(different)) if different else "")
        self._verdict.setVisible(bool(different))
        self._chosen(self._table.current())

    def _chosen(self, one: OfferedKey | None) -> None:
        self._whole.setText("" if one is None else f"{one.key.type} {one.key.fingerprint}" if one.key else self._why(one))
        able = one is not None and one.key is not None and one.verdict in ("open", "looked")
        self._look.setEnabled(able)

    def _looked(self) -> None:
        one = self._table.current()
        if one is not None and one.key is not None and one.verdict in ("open", "looked"):
            one.looked = not one.looked
            self._judge()

    def _wanted(self) -> dict[str, str]:
        return {k.name: k.key.fingerprint for k in self._keys.values() if k.key is not None and k.verdict in ("same", "looked")}

    def _why(self, one: OfferedKey) -> str:
        return error_parts(one.problem, self._desk.lang)[0] if one.problem else ""

    def _pin(self) -> None:
        self._trust.setEnabled(False)
        self._desk.run(self, trust_spec(self._desk.engine, self._desk.t, self._wanted()), ended=lambda _r: self._pinned())

    def _pinned(self) -> None:
        self._then()
        if all(one.verdict == TRUSTED for one in self._keys.values()):
            self.accept()
        else:
            self._show()
