"""The dialogs around one server and around files of servers: a form, a table or configuration, known hosts, one host key."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QComboBox, QFileDialog, QGridLayout, QLineEdit, QSpinBox, QWidget

from console.errors import SealiftError
from console.secrets import Secret
from console.servers.importing import parse_csv, read_text
from console.servers.keys import HostKey, parse_known_hosts
from console.servers.record import ServerRecord
from console.servers.sshconfig import parse_ssh_config
from ui import theme
from ui.desk import Desk
from ui.screens.siteimport import ImportServersDialog, KnownHostsDialog
from ui.screens.wording import AUTHS, SUDOS
from ui.widgets.basic import Banner, button, clear, column, field, label, row
from ui.widgets.dialogs import Dialog, FingerprintDialog, error_parts
from ui.widgets.serverchain import HopChain


def combo(choices: tuple[tuple[str, str], ...], say: Any, current: str | None = None) -> QComboBox:
    """A combo box of ``(value, caption)``."""
    made = QComboBox()
    for value, caption in choices:
        made.addItem(say(caption), value)
    if current is not None:
        made.setCurrentIndex(max(0, made.findData(current)))
    return made


def _secret_line() -> QLineEdit:
    return QLineEdit(echoMode=QLineEdit.EchoMode.Password)


class ServerDialog(Dialog):
    """Add one server by form, or change the entry of one. Secrets typed here stay in memory until the program closes."""

    def __init__(self, parent: QWidget, desk: Desk, then: Callable[[str], Any], record: ServerRecord | None = None,
                 others: Iterable[ServerRecord] = ()):
        t = desk.t
        self._desk, self._then, self._before = desk, then, record
        others = list(others)
        old = record or ServerRecord("", "", user=getpass.getuser())
        self.name, self.address, self.user = QLineEdit(old.name), QLineEdit(old.address), QLineEdit(old.user)
        self.name.setPlaceholderText("gpu-01")
        self.name.setReadOnly(record is not None)
        self.address.setPlaceholderText("10.20.0.11")
        self.port = QSpinBox(minimum=1, maximum=65535, value=old.port)
        self.auth, self.sudo = combo(AUTHS, t, old.auth), combo(SUDOS, t, old.sudo)
        self.secret, self.sudo_secret = _secret_line(), _secret_line()
        self.identity = QLineEdit(old.identity_file or "")
        self.identity.setPlaceholderText("~/.ssh/id_ed25519")
        self.jump = HopChain(t, [r.name for r in others if r.name != old.name], old.jump)
        self.group = QComboBox(editable=True)
        self.group.addItems(sorted({"", old.group, *(r.group for r in others)}))
        self.group.setCurrentText(old.group)
        self.labels, self.store = QLineEdit(", ".join(old.labels)), QLineEdit(old.store)
        self._certificate = label("", "small", wrap=True)
        self._wrong = column()
        title = t("Add a server") if record is None else t("The entry of {server}", server=record.name)
        super().__init__(parent, title, label(title, "heading"), self._grid(t), self._wrong, width=720)
        self.add_button(t("&Cancel"), self.reject)
        self.add_button(t("&Add the server") if record is None else t("&Save"), self._save, primary=True).setObjectName("confirm")
        self.auth.currentIndexChanged.connect(self._auth_changed)
        self.sudo.currentIndexChanged.connect(self._auth_changed)
        self.identity.textChanged.connect(self._look_for_certificate)
        self.name.textChanged.connect(self.jump.show_target)
        self.jump.show_target(old.name)
        self._auth_changed()
        self._look_for_certificate()
        (self.name if record is None else self.address).setFocus()

    def _grid(self, t: Any) -> QGridLayout:
        self._browse_button = button(t("Bro&wse…"), self._browse)
        key = QWidget()
        key.setLayout(row(self.identity, self._browse_button))
        key.layout().setStretch(0, 1)
        secret, sudo_secret = t("Passw&ord or passphrase"), t("S&udo password")
        self.secret.setPlaceholderText(t("asked for when it is needed"))
        self.sudo_secret.setPlaceholderText(t("asked for when it is needed"))
        lines = (
            ((field(t("&Name"), self.name), 2), (field(t("A&ddress"), self.address), 3), (field(t("&Port"), self.port), 1)),
            ((field(t("&Login account"), self.user), 2), (field(t("Log in w&ith"), self.auth), 2), (field(secret, self.secret), 2)),
            ((_with(field(t("&Key file"), key), self._certificate), 6),),
            ((field(t("Administrator &rights"), self.sudo), 4), (field(sudo_secret, self.sudo_secret), 2)),
            ((field(t("&Through (jump servers)"), self.jump), 6),),
            ((field(t("&Group"), self.group), 2), (field(t("La&bels"), self.labels), 2),
             (field(t("&Folder for models on it"), self.store), 2)))
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.L)
        grid.setVerticalSpacing(theme.M)
        for place in range(6):
            grid.setColumnStretch(place, 1)
            grid.setColumnMinimumWidth(place, 88)
        for place, line in enumerate(lines):
            at = 0
            for part, wide in line:
                grid.addLayout(part, place, at, 1, wide)
                at += wide
        self.jump.setAccessibleDescription(t("Names of servers of this site, nearest first."))
        return grid

    def _auth_changed(self) -> None:
        by_key = self.auth.currentData() == "key"
        self.identity.setEnabled(by_key)
        self._browse_button.setEnabled(by_key)
        self.secret.setEnabled(self.auth.currentData() != "agent")
        self.sudo_secret.setEnabled(self.sudo.currentData() == "password")

    def _look_for_certificate(self) -> None:
        """Say whether there is an OpenSSH certificate beside the key; it is used by itself."""
        text = self.identity.text().strip()
        made = Path(text).expanduser() if text else None
        beside = made.with_name(made.name + "-cert.pub") if made is not None and made.name else None
        there = beside is not None and beside.is_file()
        t = self._desk.t
        self._certificate.setText(t("The certificate {name} beside it is used with it.", name=beside.name) if there else
                                  t("An OpenSSH certificate beside it (…-cert.pub) is used by itself."))

    def _browse(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(self, self._desk.t("Key file"), str(Path.home() / ".ssh"))
        if path:
            self.identity.setText(path)

    def record(self) -> ServerRecord:
        """What the form says."""
        labels = tuple(dict.fromkeys(self.labels.text().replace(",", " ").split()))
        return ServerRecord(self.name.text().strip(), self.address.text().strip(), self.port.value(),
                            self.user.text().strip(),
                            self.identity.text().strip() or None if self.auth.currentData() == "key" else None,
                            self.auth.currentData(), self.sudo.currentData(), self.jump.hops(), labels,
                            self.group.currentText().strip(), self.store.text().strip() or ServerRecord.store)

    def _secrets(self) -> dict[str, Secret]:
        typed = {"passphrase" if self.auth.currentData() == "key" else "password": self.secret,
                 "sudo_password": self.sudo_secret}
        return {kind: Secret(line.text()) for kind, line in typed.items() if line.isEnabled() and line.text()}

    def _save(self) -> None:
        record, secrets, servers = self.record(), self._secrets(), self._desk.engine.servers

        def work() -> None:
            (servers.add if self._before is None else servers.update)(record)
            for kind, secret in secrets.items():
                servers.credentials.set(kind, secret, record.name)

        self._desk.read(self, work, lambda _r: self._saved(record.name), self._refused)

    def _saved(self, name: str) -> None:
        self.accept()
        self._then(name)

    def _refused(self, problem: Exception) -> None:
        message, remedy, _code = error_parts(problem, self._desk.lang)
        clear(self._wrong)
        self._wrong.addWidget(Banner("fail", message, remedy))
        named = problem.params.get("field") if isinstance(problem, SealiftError) else None
        boxes = {"name": self.name, "address": self.address, "port": self.port, "user": self.user, "identity": self.identity,
                 "store": self.store, "group": self.group, "label": self.labels, "jump": self.jump}
        for known, box in boxes.items():
            box.setProperty("wrong", known == named)
            box.style().unpolish(box)
            box.style().polish(box)
        if named in boxes:
            boxes[named].setFocus()

    def done(self, code: int) -> None:
        """Qt's; typed secrets leave the widgets whatever the answer."""
        self.secret.clear()
        self.sudo_secret.clear()
        super().done(code)


def _with(layout: Any, below: QWidget) -> Any:
    layout.insertWidget(2, below)
    return layout


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
    def work() -> tuple[Any, set[str]]:
        text = read_text(path)
        found = parse_csv(text) if kind == "csv" else parse_ssh_config(text, folder=Path(path).parent)
        return found, {record.name for record in desk.engine.servers.list()}

    desk.read(parent, work, lambda found: ImportServersDialog(parent, desk, path, *found, then).open())


def choose_known_hosts(parent: QWidget, desk: Desk, then: Any) -> None:
    """Ask for a known_hosts file and show for which servers it has keys."""
    path, _filter = QFileDialog.getOpenFileName(parent, desk.t("Host keys from a known_hosts file"), str(Path.home() / ".ssh"),
                                                desk.t("All files (*)"))
    if path:
        import_known_hosts(parent, desk, path, then)


def import_known_hosts(parent: QWidget, desk: Desk, path: str, then: Any) -> None:
    """Show for which servers the known_hosts file at ``path`` has keys."""
    desk.read(parent, lambda: (parse_known_hosts(read_text(path)), desk.engine.servers.list()),
              lambda found: KnownHostsDialog(parent, desk, path, *found, then).open())


def confirm_host_key(parent: QWidget, desk: Desk, name: str, then: Any = None) -> None:
    """Fetch the host key that a server shows, have it compared, and pin it."""
    t, servers = desk.t, desk.engine.servers

    def offered(answer: tuple[Any, ServerRecord]) -> None:
        key, record = answer
        own = [line for line in record.host_keys if not HostKey(line).authority]
        changed = t("This server was known by another key. Either it was installed anew, or somebody is in between.") \
            if own and key.line not in own else ""
        FingerprintDialog(
            parent, t, t("Is this really {server}?", server=name),
            t("Compare this fingerprint with one that you got another way, such as from the server's own console "
              "(ssh-keygen -l) or from its administrator."), key.fingerprint,
            [(t("Server"), f"{record.address}:{record.port}"), (t("Key type"), key.type)],
            lambda: desk.read(parent, lambda: servers.trust(name, key.fingerprint), lambda _k: then and then()),
            changed).open()

    desk.read(parent, lambda: (servers.offered_key(name), servers.get(name)), offered)
