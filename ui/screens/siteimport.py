"""Dialogs around files of servers: what is in them, line by line what is wrong, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtWidgets import QCheckBox, QWidget

from console.errors import SealiftError, shown
from console.i18n import into
from console.servers.importing import Imported, LineProblem
from console.servers.keys import HostKey, KnownHosts
from console.servers.record import ServerRecord
from ui.desk import Desk
from ui.models.rows import Column
from ui.widgets.basic import Banner, ElidedLabel, clear, column, field, label
from ui.widgets.dialogs import Dialog
from ui.widgets.table import Table

LONG = 70
"""Characters of a problem that fit into a row of the table."""


@dataclass(frozen=True)
class _Row:
    record: ServerRecord
    there: bool


class ImportServersDialog(Dialog):
    """Shows what a CSV or OpenSSH file holds, line by line what is wrong, and adds what is right and new."""

    def __init__(self, parent: QWidget, desk: Desk, path: str, found: Imported, there: set[str], then: Callable[[], Any]):
        t = desk.t
        self._desk, self._then, self._file = desk, then, found
        self._rows = [_Row(record, record.name in there) for record in found.records]
        self._new = [row.record for row in self._rows if not row.there]
        columns = [Column(t("Name"), lambda r: r.record.name, width=140),
                   Column("", lambda r: t("Already there") if r.there else t("New"), width=124,
                          tone=lambda r: "muted" if r.there else "ok"),
                   Column(t("Address"), lambda r: f"{r.record.address}:{r.record.port}"),
                   Column(t("Login"), lambda r: f"{r.record.user} ({r.record.auth})", width=130),
                   Column(t("Through"), lambda r: " → ".join(r.record.jump), width=110),
                   Column(t("Group"), lambda r: r.record.group, width=90)]
        table = Table(columns, t("Servers in the file"))
        table.show_records(self._rows)
        table.fit_rows(6)
        super().__init__(parent, t("Add servers from a file"),
                         label(t("{count} servers in the file", count=len(found.records)), "heading"),
                         ElidedLabel(path, "muted"), width=760)
        if self._rows:
            self.body.addWidget(table)
        self._wrong = column()
        self.body.addLayout(self._wrong)
        if found.problems:
            self._show_problems(t("{count} entries cannot be used", count=len(found.problems)), found.problems)
        self._cancel = self.add_button(t("&Cancel"), self.reject)
        self._add_button = self.add_button(t("&Add {count} servers", count=len(self._new)), self._add, primary=True)
        self._add_button.setObjectName("confirm")
        self._add_button.setEnabled(bool(self._new))

    def _show_problems(self, heading: str, problems: list[LineProblem]) -> None:
        t = self._desk.t
        clear(self._wrong)
        say = lambda problem: shown(into(problem.text, self._desk.lang))  # noqa: E731 - a name for a one-line idea
        lines = Table([Column(t("Line"), lambda p: str(p.line) if p.line else "–", number=True, width=64, sort=lambda p: p.line),
                       Column(t("What is wrong"), say, tone=lambda _p: "warn")], t("What is wrong"))
        lines.show_records(problems, select_first=True)
        lines.fit_rows(4)
        whole = label(say(problems[0]), wrap=True, selectable=True)
        whole.setVisible(max(len(say(problem)) for problem in problems) > LONG)
        lines.chosen.connect(lambda problem: whole.setText(say(problem) if problem else ""))
        self._wrong.addWidget(Banner("warn", heading))
        self._wrong.addWidget(lines)
        self._wrong.addWidget(whole)

    def _add(self) -> None:
        self._add_button.setEnabled(False)
        self._desk.read(self, lambda: self._desk.engine.servers.add_all(self._new), self._added)

    def _added(self, answer: tuple[list[ServerRecord], list[tuple[str, SealiftError]]]) -> None:
        _added, refused = answer
        self._then()
        if not refused:
            self.accept()
            return
        t = self._desk.t
        problems = [self._file.not_taken(name, problem) for name, problem in refused]
        self._show_problems(t("{count} servers were not added", count=len(refused)), problems)
        self._add_button.hide()
        self._cancel.setText(t("C&lose"))


@dataclass(frozen=True)
class _Found:
    record: ServerRecord
    keys: tuple[HostKey, ...]


class KnownHostsDialog(Dialog):
    """Shows which servers without a confirmed key a known_hosts file has keys for, and pins them when told to."""

    def __init__(self, parent: QWidget, desk: Desk, path: str, known: KnownHosts, records: list[ServerRecord],
                 then: Callable[[], Any]):
        t = desk.t
        self._desk, self._then, self._known = desk, then, known
        waiting = [r for r in records if all(HostKey(key).authority for key in r.host_keys)]
        found = [_Found(r, tuple(HostKey(key) for key in known.keys_for(r.address, r.port))) for r in waiting]
        self._found = [one for one in found if one.keys]
        self._revoked = [r.name for r in records if any(key in known.revoked for key in r.host_keys)]
        super().__init__(parent, t("Host keys from a known_hosts file"),
                         label(t("Keys for {count} servers", count=len(self._found)), "heading"), ElidedLabel(path, "muted"),
                         label(t("Trust this file only if it was written on a machine that has compared these keys. Servers with "
                                 "a confirmed key keep it."), wrap=True), width=720)
        table = Table([Column(t("Server"), lambda f: f.record.name, width=120),
                       Column(t("Address"), lambda f: f"{f.record.address}:{f.record.port}", width=140),
                       Column(t("Fingerprint"), lambda f: ", ".join(k.fingerprint for k in f.keys), mono=True)],
                      t("Host keys in the file"))
        table.show_records(self._found)
        table.fit_rows(6)
        if self._found:
            self.body.addWidget(table)
        if self._revoked:
            self.body.addWidget(Banner("warn", t("The file revokes keys that are trusted here."), t(
                "These servers are not spoken to any more until a key of theirs is compared anew: {servers}",
                servers=", ".join(self._revoked))))
        self._authorities = QCheckBox(t("Trust its certificate &authorities too ({count}), for every server without a key of its own",
                                        count=len(known.authorities)))
        self._authorities.setVisible(bool(known.authorities))
        self.body.addWidget(self._authorities)
        if known.skipped:
            lines = Table([Column(t("Line"), lambda p: str(p[0]), number=True, width=64), Column(t("Why it is not used"), lambda p: shown(into(p[1], desk.lang)))],
                          t("Lines that are not used"))
            lines.show_records(known.skipped)
            lines.fit_rows(3)
            self.body.addLayout(field(t("Lines that are not used"), lines))
        self.add_button(t("&Cancel"), self.reject)
        self._trust = self.add_button(t("&Take over the file") if self._revoked else t("&Trust these keys"), self._pin, primary=True)
        self._trust.setObjectName("confirm")
        self._authorities.toggled.connect(self._judge)
        self._judge()

    def _judge(self) -> None:
        self._trust.setEnabled(bool(self._found or self._revoked) or self._authorities.isChecked())

    def _pin(self) -> None:
        servers, known, authorities = self._desk.engine.servers, self._known, self._authorities.isChecked()

        def work() -> None:
            servers.distrust_revoked(known)
            if self._found:
                servers.trust_known_hosts(known)
            if authorities:
                servers.trust_authorities(known)

        self._desk.read(self, work, lambda _r: (self.accept(), self._then()))
