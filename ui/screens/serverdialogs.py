"""The dialogs around servers: add one by form, add many from a file, confirm a host key."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QComboBox, QFileDialog, QGridLayout, QLineEdit, QPlainTextEdit, QSpinBox, QWidget

from console.i18n import N_
from console.servers.importing import Imported, parse_csv, parse_ssh_config, read_text
from console.servers.record import ServerRecord
from ui import theme
from ui.desk import Desk
from ui.models.rows import Column
from ui.widgets.basic import Banner, ElidedLabel, button, column, field, label, row
from ui.widgets.dialogs import Dialog, FingerprintDialog, error_parts
from ui.widgets.table import Table

AUTHS = (("agent", N_("Key from the agent")), ("key", N_("Key file")), ("password", N_("Password")))
SUDOS = (("none", N_("None needed")), ("nopasswd", N_("sudo without a password")),
         ("password", N_("sudo with a password")))


def combo(choices: tuple[tuple[str, str], ...], say: Any, current: str | None = None) -> QComboBox:
    """A combo box of ``(value, caption)``."""
    made = QComboBox()
    for value, caption in choices:
        made.addItem(say(caption), value)
    if current is not None:
        made.setCurrentIndex(max(0, made.findData(current)))
    return made


class AddServerDialog(Dialog):
    """Add one server by form."""

    def __init__(self, parent: QWidget, desk: Desk, then: Any):
        t = desk.t
        self._desk, self._then = desk, then
        self.name, self.address, self.user = QLineEdit(), QLineEdit(), QLineEdit(getpass.getuser())
        self.name.setPlaceholderText("gpu-01")
        self.address.setPlaceholderText("10.20.0.11")
        self.port = QSpinBox(minimum=1, maximum=65535, value=22)
        self.auth, self.sudo = combo(AUTHS, t), combo(SUDOS, t)
        self.identity, self.jump, self.group = QLineEdit(), QLineEdit(), QLineEdit()
        self.labels, self.store = QLineEdit(), QLineEdit(ServerRecord.store)
        self._wrong = column()
        super().__init__(parent, t("Add a server"), label(t("Add a server"), "heading"), self._grid(t), self._wrong,
                         width=620)
        self.add_button(t("&Cancel"), self.reject)
        self.add_button(t("&Add server"), self._add, primary=True).setObjectName("confirm")
        self.auth.currentIndexChanged.connect(self._auth_changed)
        self._auth_changed()
        self.name.setFocus()

    def _grid(self, t: Any) -> QGridLayout:
        browse = button(t("Bro&wse…"), self._browse)
        self._browse_button = browse
        key = QWidget()
        key.setLayout(row(self.identity, browse))
        key.layout().setStretch(0, 1)
        fields = [
            (field(t("&Name"), self.name), field(t("A&ddress"), self.address)),
            (field(t("&Port"), self.port), field(t("&Login account"), self.user)),
            (field(t("Log in &with"), self.auth), field(t("Administrator rights"), self.sudo)),
            (field(t("&Key file"), key), None),
            (field(t("Through (jump servers)"), self.jump, t("Names of servers of this site, nearest first.")),
             field(t("Folder for models on the server"), self.store)),
            (field(t("&Group"), self.group), field(t("Labels"), self.labels)),
        ]
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.L)
        grid.setVerticalSpacing(theme.M)
        for place, (left, right) in enumerate(fields):
            grid.addLayout(left, place, 0, 1, 1 if right else 2)
            if right:
                grid.addLayout(right, place, 1)
        return grid

    def _auth_changed(self) -> None:
        by_key = self.auth.currentData() == "key"
        self.identity.setEnabled(by_key)
        self._browse_button.setEnabled(by_key)

    def _browse(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(self, self._desk.t("Key file"), str(Path.home() / ".ssh"))
        if path:
            self.identity.setText(path)

    def record(self) -> ServerRecord:
        """What the form says."""
        words = lambda box: tuple(box.text().replace(",", " ").split())  # noqa: E731 - a name for a one-line idea
        return ServerRecord(self.name.text().strip(), self.address.text().strip(), self.port.value(),
                            self.user.text().strip(),
                            self.identity.text().strip() or None if self.auth.currentData() == "key" else None,
                            self.auth.currentData(), self.sudo.currentData(), words(self.jump), words(self.labels),
                            self.group.text().strip(), self.store.text().strip() or ServerRecord.store)

    def _add(self) -> None:
        record = self.record()
        self._desk.read(self, lambda: self._desk.engine.servers.add(record), lambda _r: self._added(record.name),
                        self._refused)

    def _added(self, name: str) -> None:
        self.accept()
        self._then(name)

    def _refused(self, problem: Exception) -> None:
        from ui.widgets.basic import clear

        message, remedy, _code = error_parts(problem, self._desk.lang)
        clear(self._wrong)
        self._wrong.addWidget(Banner("fail", message, remedy))


class ImportServersDialog(Dialog):
    """Shows what a CSV or OpenSSH file holds, line by line what is wrong, and adds what is right."""

    def __init__(self, parent: QWidget, desk: Desk, path: str, found: Imported, then: Any):
        t = desk.t
        self._desk, self._found, self._then = desk, found, then
        columns = [Column(t("Name"), lambda r: r.name, width=150), Column(t("Address"), lambda r: r.address),
                   Column(t("Port"), lambda r: str(r.port), number=True, width=70),
                   Column(t("Login"), lambda r: r.user, width=110),
                   Column(t("Through"), lambda r: ", ".join(r.jump), width=110)]
        table = Table(columns, t("Servers in the file"))
        table.show_records(found.records)
        table.fit_rows(7)
        super().__init__(parent, t("Add servers from a file"),
                         label(t("{count} servers in the file", count=len(found.records)), "heading"),
                         ElidedLabel(path, "muted"), table, width=720)
        if found.problems:
            lines = QPlainTextEdit("\n".join(
                (t("Line {line}: ", line=p.line) if p.line else "") + p.text for p in found.problems), readOnly=True)
            lines.setFixedHeight(110)
            lines.setTabChangesFocus(True)
            self.body.addWidget(Banner("warn", t("{count} entries cannot be used", count=len(found.problems))))
            self.body.addLayout(field(t("What is wrong"), lines))
        self.add_button(t("&Cancel"), self.reject)
        add = self.add_button(t("&Add {count} servers", count=len(found.records)), self._add, primary=True)
        add.setObjectName("confirm")
        add.setEnabled(bool(found.records))

    def _add(self) -> None:
        def work() -> int:
            for record in self._found.records:
                self._desk.engine.servers.add(record)
            return len(self._found.records)

        self._desk.read(self, work, lambda _count: (self.accept(), self._then()))


def choose_import(parent: QWidget, desk: Desk, kind: str, then: Any) -> None:
    """Ask for a file of ``kind`` (``csv`` or ``ssh``), read it off the GUI thread, and show what is in it."""
    t = desk.t
    start = str(Path.home() / ".ssh") if kind == "ssh" else str(Path.home())
    chosen = t("Tables (*.csv);;All files (*)") if kind == "csv" else t("All files (*)")
    path, _filter = QFileDialog.getOpenFileName(parent, t("Add servers from a file"), start, chosen)
    if path:
        import_file(parent, desk, kind, path, then)


def import_file(parent: QWidget, desk: Desk, kind: str, path: str, then: Any) -> None:
    """Show what the file at ``path`` holds."""
    parse = parse_csv if kind == "csv" else parse_ssh_config
    desk.read(parent, lambda: parse(read_text(path)),
              lambda found: ImportServersDialog(parent, desk, path, found, then).open())


def confirm_host_key(parent: QWidget, desk: Desk, name: str, then: Any = None) -> None:
    """Fetch the host key that a server shows, have it compared, and pin it."""
    t, servers = desk.t, desk.engine.servers

    def offered(answer: tuple[Any, ServerRecord]) -> None:
        key, record = answer
        changed = t("This server was known by another key. Either it was installed anew, or somebody is in between.") \
            if record.host_keys and key.line not in record.host_keys else ""
        FingerprintDialog(
            parent, t, t("Is this really {server}?", server=name),
            t("Compare this fingerprint with one that you got another way, such as from the server's own console "
              "(ssh-keygen -l) or from its administrator."), key.fingerprint,
            [(t("Server"), f"{record.address}:{record.port}"), (t("Key type"), key.type)],
            lambda: desk.read(parent, lambda: servers.trust(name, key.fingerprint), lambda _k: then and then()),
            changed).open()

    desk.read(parent, lambda: (servers.offered_key(name), servers.get(name)), offered)
