"""Set up a site: who and where, accounts, trusted keys, policy; or a practice site to rehearse on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QStackedWidget,
    QWidget,
)

from console.i18n import N_
from console.secrets import Secret
from ui import icons, theme
from ui.models.rows import Column
from ui.screens import tasks, wording
from ui.screens.base import Screen
from ui.screens.serverdialogs import combo
from ui.widgets.basic import Banner, Card, EmptyState, Page, button, clear, column, field, holder, label, row
from ui.widgets.dialogs import AskDialog, Dialog, FingerprintDialog, error_parts
from ui.widgets.table import Table

PARTS = (("site", N_("Name and place"), "home"), ("accounts", N_("Accounts"), "user"),
         ("keys", N_("Trusted keys"), "key"),
         ("policy", N_("Approval policy"), "proof"))


class SetupScreen(Screen):
    """The site wizard; once the site stands, the same parts are its settings."""

    id, icon = "setup", "setup"
    title, lead = N_("Site setup"), N_("Who this site is, who works here, and whose bundles it trusts.")
    kinds = frozenset({"site", "accounts", "trust", "settings"})

    def build(self) -> None:
        self._site: Any = None
        self._data: dict[str, Any] | None = None
        self._pages = QStackedWidget()
        self._pages.addWidget(self._welcome())
        self._pages.addWidget(self._wizard())
        self.put(self._pages)

    # -- the choice at the beginning ------------------------------------------------------------------------------

    def _welcome(self) -> QWidget:
        t = self.t
        real = button(t("&Set up this site"), self.begin, role="primary", icon="arrow")
        real.setObjectName("begin-site")
        practice = button(t("Open a &practice site"), self.open_practice, icon="practice")
        practice.setObjectName("open-practice")
        one = Card("", EmptyState("setup", t("Set up this site"),
                                  t("Name, place, accounts, trusted keys and approval policy, in five minutes. "
                                    "Nothing leaves this "
                                    "computer."), real))
        other = Card("", EmptyState("practice", t("Or rehearse first"),
                                    t("A practice site has simulated servers inside this desktop, so that the whole "
                                      "job can be "
                                      "rehearsed without hardware."), practice))
        choices = row(gap=theme.L)
        choices.addWidget(one, 1)
        choices.addWidget(other, 1)
        page = Page(choices, width=1100)
        page.add(None)
        return page

    def begin(self) -> None:
        """Start the wizard."""
        self.memory["begun"] = True
        self._pages.setCurrentIndex(1)
        self.show_part("site")

    def open_practice(self) -> None:
        """Make a practice site: a site of that name, and the practice servers up."""
        def ended(_result: Any) -> None:
            self.refresh()
            self.desk.go.emit("home")

        self.desk.run(self, tasks.practice_site(self.engine, self.t), ended=ended)

    # -- the parts ------------------------------------------------------------------------------------------------

    def _wizard(self) -> QWidget:
        t = self.t
        self._marks: dict[str, QPushButton] = {}
        group, rail = QButtonGroup(self), column(gap=theme.XS)
        for number, (part, caption, _icon) in enumerate(PARTS, 1):
            entry = QPushButton(f"  {number}  {t(caption)}")
            entry.setCheckable(True)
            entry.setProperty("role", "choice")
            entry.setAccessibleName(t(caption))
            entry.clicked.connect(lambda _c=False, name=part: self.show_part(name))
            group.addButton(entry)
            self._marks[part] = entry
            rail.addWidget(entry)
        rail.addStretch(1)
        self._parts = QStackedWidget()
        for _part in PARTS:
            self._parts.addWidget(QWidget())  # each is made when it is first shown
        left = holder(rail)
        left.setFixedWidth(212)
        layout = QHBoxLayout()
        layout.setContentsMargins(theme.XL, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(left)
        layout.addWidget(self._parts, 1)
        return holder(layout)

    def show_part(self, part: str) -> None:
        """Bring one part up."""
        self.memory["part"] = part
        self._marks[part].setChecked(True)
        place = [entry[0] for entry in PARTS].index(part)
        if not isinstance(self._parts.widget(place), _Part):
            empty, made = self._parts.widget(place), (SitePart, AccountsPart, KeysPart, PolicyPart)[place](self)
            self._parts.removeWidget(empty)
            empty.deleteLater()
            self._parts.insertWidget(place, made)
            if self._data is not None:
                made.show_data(self._data)
        self._parts.setCurrentIndex(place)

    def after(self, part: str) -> None:
        """Go on to the part after ``part``, or home after the last."""
        names = [entry[0] for entry in PARTS]
        place = names.index(part) + 1
        if place < len(names):
            self.show_part(names[place])
        else:
            self.desk.go.emit("home")

    # -- data -----------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        return tasks.setup_facts(self.engine)

    def show_data(self, data: dict[str, Any]) -> None:
        self._site, self._data = data["site"], data
        started = self._site is not None or self.memory.get("begun")
        self._pages.setCurrentIndex(1 if started else 0)
        for place in range(self._parts.count()):
            if isinstance(self._parts.widget(place), _Part):
                self._parts.widget(place).show_data(data)
        done = {"site": self._site is not None, "accounts": bool(data["accounts"]), "keys": bool(data["keys"])}
        shades = theme.palette()
        for part, _caption, icon in PARTS:
            mark = icons.icon("check", shades.ok) if done.get(part) else icons.icon(icon, shades.muted)
            self._marks[part].setIcon(mark)
            self._marks[part].setEnabled(part == "site" or self._site is not None)
        self.show_part(self.memory.get("part", "site") if self._site is not None else "site")


class _Part(Page):
    """One part of the set-up, in a card."""

    part = ""

    def __init__(self, screen: SetupScreen, heading: str, text: str):
        super().__init__(width=980)
        self.screen, self.t, self.engine = screen, screen.t, screen.engine
        self.body.setContentsMargins(theme.XL, 0, theme.XL, theme.XL)
        self.card = Card(self.t(heading), label(self.t(text), "muted", wrap=True))
        self.add(self.card)
        self._foot = row(None)
        self.add(self._foot)
        self.add(None)

    def next_button(self, text: str) -> QPushButton:
        """A button that goes on to the next part."""
        made = button(text, lambda: self.screen.after(self.part), icon="arrow")
        made.setObjectName(f"next-{self.part}")
        self._foot.addWidget(made)
        return made

    def show_data(self, data: dict[str, Any]) -> None:
        """Show what was read."""
        raise NotImplementedError


class SitePart(_Part):
    """Name, jurisdiction, classification."""

    part = "site"

    def __init__(self, screen: SetupScreen):
        super().__init__(screen, N_("Name and place"),
                         N_("These stand on every record that leaves the site, and choose the checklists that apply."))
        t = self.t
        self.name = QLineEdit()
        self.name.setMaxLength(120)
        self.name.setPlaceholderText(t("Such as: Harbour data hall 2"))
        self.jurisdiction = combo(wording.JURISDICTIONS, t, "other")
        self.classification = combo(wording.CLASSIFICATIONS, t, "internal")
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.L)
        grid.setVerticalSpacing(theme.M)
        grid.addLayout(field(t("&Name of the site"), self.name), 0, 0, 1, 2)
        grid.addLayout(field(t("&Jurisdiction"), self.jurisdiction), 1, 0)
        grid.addLayout(field(t("Data &classification"), self.classification,
                             t("The highest that prompts and answers may have.")),
                       1, 1)
        self._trouble = column()
        self.save = button(t("&Save and go on"), self._save, role="primary", icon="arrow")
        self.save.setObjectName("save-site")
        self.card.add(grid)
        self.card.add(self._trouble)
        self.card.add(row(None, self.save))
        self.name.textChanged.connect(lambda text: self.save.setEnabled(bool(text.strip())))
        self.save.setEnabled(False)
        self._exists = False

    def show_data(self, data: dict[str, Any]) -> None:
        site = data["site"]
        self._exists = site is not None
        if site is not None and not self.name.hasFocus():
            self.name.setText(site.name)
            self.jurisdiction.setCurrentIndex(max(0, self.jurisdiction.findData(site.jurisdiction)))
            self.classification.setCurrentIndex(max(0, self.classification.findData(site.classification)))

    def _save(self) -> None:
        values = {"name": self.name.text().strip(), "jurisdiction": self.jurisdiction.currentData(),
                  "classification": self.classification.currentData()}
        service, exists = self.engine.site, self._exists
        self.screen.act(lambda: service.set(**values) if exists else service.init(**values), self._saved, self._refused)

    def _saved(self, _site: Any) -> None:
        clear(self._trouble)
        self.screen.memory["part"] = "accounts"
        self.screen.refresh()

    def _refused(self, problem: Exception) -> None:
        clear(self._trouble)
        self._trouble.addWidget(Banner("fail", *wording.problem(problem, self.screen.desk.lang)))


class AccountsPart(_Part):
    """Who works here, and as what."""

    part = "accounts"

    def __init__(self, screen: SetupScreen):
        super().__init__(screen, N_("Accounts"), N_(
            "Without accounts, whoever is logged in to this desktop may do everything. With accounts, each person has "
            "roles, and a "
            "second person can be asked to approve. The first account is an administrator."))
        t = self.t
        self.table = Table([
            Column(t("Name"), lambda a: a.name, width=150),
            Column(t("Roles"), lambda a: ", ".join(t(wording.ROLES.get(r, r)) for r in a.roles)),
            Column(t("State"), lambda a: t(_account_state(a)[1]), tone=lambda a: _account_state(a)[0], width=130),
            Column(t("Since"), lambda a: wording.when(a.created_at), width=168)], t("Accounts"), key=lambda a: a.name)
        self._none = label(t("There are no accounts yet."), "muted")
        self._add = button(t("&Add an account…"), self._ask, icon="plus")
        self._add.setObjectName("add-account")
        self._disable = button(t("&Disable…"), self._ask_disable, role="danger")
        self.table.chosen.connect(lambda account: self._disable.setEnabled(account is not None
                                                                           and not account.disabled))
        self.card.add(self._none)
        self.card.add(self.table)
        self.card.add(row(self._add, self._disable, None))
        self.next_button(t("&Go on"))
        self._first = True

    def show_data(self, data: dict[str, Any]) -> None:
        accounts = data["accounts"]
        self._first = not accounts
        self._none.setVisible(not accounts)
        self.table.setVisible(bool(accounts))
        self.table.show_records(accounts)
        self.table.fit_rows(8)
        current = self.table.current()
        self._disable.setEnabled(current is not None and not current.disabled)

    def _ask(self) -> None:
        AccountDialog(self, self.screen.desk, self._first, self.screen.refresh).open()

    def _ask_disable(self) -> None:
        account = self.table.current()
        if account is not None:
            AskDialog(self, self.t, self.t("Disable {name}?", name=account.name),
                      self.t("This person can log in no more. What they did stays on record."), self.t("&Disable"),
                      lambda: self.screen.act(lambda: self.engine.accounts.disable(account.name),
                                              lambda _r: self.screen.refresh()),
                      danger=True).open()


def _account_state(account: Any) -> tuple[str, str]:
    if account.disabled:
        return "muted", N_("Disabled")
    return ("warn", N_("Locked")) if account.locked_until else ("ok", N_("Active"))


class AccountDialog(Dialog):
    """A new account: name, roles, password twice."""

    def __init__(self, parent: QWidget, desk: Any, first: bool, then: Callable[[], None]):
        t = desk.t
        self._desk, self._first, self._then = desk, first, then
        self.name = QLineEdit()
        self.roles = {role: QCheckBox(t(caption)) for role, caption in wording.ROLES.items()}
        self.password = QLineEdit(echoMode=QLineEdit.EchoMode.Password)
        self.again = QLineEdit(echoMode=QLineEdit.EchoMode.Password)
        self.roles["admin"].setChecked(first)
        self.roles["admin"].setEnabled(not first)
        boxes = column(*self.roles.values(), gap=0)
        self._wrong = column()
        super().__init__(parent, t("Add an account"), label(t("Add an account"), "heading"),
                         field(t("&Name"), self.name, t("Lower-case letters, digits, dot, dash and underscore.")),
                         column(label(t("Roles"), "strong"), boxes, gap=theme.XS),
                         field(t("&Password"), self.password, t("At least 15 characters; several words are fine.")),
                         field(t("The same a&gain"), self.again), self._wrong)
        if first:
            self.body.addWidget(label(t("You will be logged in as this account."), "muted", wrap=True))
        self.add_button(t("&Cancel"), self.reject)
        self.add_button(t("&Add account"), self._add, primary=True).setObjectName("confirm")
        self.name.setFocus()

    def _add(self) -> None:
        if self.password.text() != self.again.text():
            self._say(self._desk.t("The two passwords differ."), "")
            return
        name, secret = self.name.text().strip(), Secret(self.password.text())
        roles = tuple(role for role, box in self.roles.items() if box.isChecked())
        engine, first = self._desk.engine, self._first

        def work() -> None:
            engine.accounts.add(name, roles, secret)
            if first:
                engine.login(name, secret)

        self._desk.read(self, work, lambda _r: self._added(), self._refused)

    def _added(self) -> None:
        self.accept()
        self._then()

    def _refused(self, problem: Exception) -> None:
        message, remedy, _code = error_parts(problem, self._desk.lang)
        self._say(message, remedy)

    def _say(self, message: str, remedy: str) -> None:
        clear(self._wrong)
        self._wrong.addWidget(Banner("fail", message, remedy))

    def done(self, code: int) -> None:
        """Qt's; the typed passwords leave the widgets."""
        self.password.clear()
        self.again.clear()
        super().done(code)


class KeysPart(_Part):
    """The keys whose bundles this site accepts."""

    part = "keys"

    def __init__(self, screen: SetupScreen):
        super().__init__(screen, N_("Trusted keys"), N_(
            "A bundle is accepted only when a key of this list signed it. Compare each key's fingerprint with one "
            "that reached you "
            "another way: on paper, or read aloud."))
        t = self.t
        self.table = Table([
            Column(t("Holder"), lambda k: k.holder),
            Column(t("Begins with"), lambda k: wording.short_id(k.key.fingerprint), mono=True, width=180),
            Column(t("Kind"), lambda k: k.key.alg, width=110),
            Column(t("State"), lambda k: t(_key_state(k)[1]), tone=lambda k: _key_state(k)[0], width=120)],
            t("Trusted keys"), key=lambda k: k.key.keyid)
        self._none = label(t("No key is trusted yet, so no bundle can be brought in."), "muted")
        self._add = button(t("&Add a key…"), self._browse, icon="key")
        self._revoke = button(t("Re&voke…"), self._ask_revoke, role="danger")
        self._print = label("", "mono", wrap=True, selectable=True)
        self._print.setAccessibleName(t("Fingerprint"))
        self._whole = Card("", label(t("Fingerprint"), "label"), self._print, role="well", gap=theme.XS)
        self.table.chosen.connect(self._chosen)
        self.card.add(self._none)
        self.card.add(self.table)
        self.card.add(self._whole)
        self.card.add(row(self._add, self._revoke, None))
        self.next_button(t("&Go on"))

    def show_data(self, data: dict[str, Any]) -> None:
        keys = data["keys"]
        self._none.setVisible(not keys)
        self.table.setVisible(bool(keys))
        self.table.show_records(keys, select_first=True)
        self.table.fit_rows(8)
        self._chosen(self.table.current())

    def _chosen(self, key: Any) -> None:
        self._revoke.setEnabled(key is not None and not key.revoked_at)
        self._whole.setVisible(key is not None)
        self._print.setText(key.key.fingerprint if key is not None else "")

    def _browse(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(self, self.t("Choose the file of the public key"), str(Path.home()))
        if path:
            self.compare(path)

    def compare(self, path: str) -> None:
        """Read the public key at ``path`` and have its fingerprint compared."""
        t = self.t

        def read(key: Any) -> None:
            name = QLineEdit(Path(path).stem)
            dialog = FingerprintDialog(
                self, t, t("Trust this key?"),
                t("Bundles that this key signed will be accepted here. Compare the fingerprint first."),
                key.fingerprint,
                [(t("File"), path), (t("Kind"), key.alg)],
                lambda: self._trust(path, name.text().strip(), key.fingerprint))
            dialog.body.insertLayout(2, field(t("&Holder of the key"), name))
            dialog.open()

        self.screen.act(lambda: tasks.public_key(Path(path)), read)

    def _trust(self, path: str, name: str, fingerprint: str) -> None:
        self.screen.act(lambda: tasks.trust_key(self.engine, Path(path), name, fingerprint),
                        lambda _r: self.screen.refresh())

    def _ask_revoke(self) -> None:
        t, key = self.t, self.table.current()
        if key is None:
            return
        reason = QLineEdit()
        dialog = Dialog(self, t("Revoke the key of {name}?", name=key.holder),
                        label(t("Revoke the key of {name}?", name=key.holder), "heading", wrap=True),
                        label(t("Bundles of this key are refused from now on. What is in the library stays. This "
                                "cannot be undone."),
                              wrap=True), field(t("&Why"), reason))
        dialog.add_button(t("&Cancel"), dialog.reject)
        confirm = dialog.add_button(t("&Revoke"), dialog.accept, danger=True)
        confirm.setObjectName("confirm")
        confirm.setEnabled(False)
        reason.textChanged.connect(lambda text: confirm.setEnabled(bool(text.strip())))
        dialog.accepted.connect(lambda: self._revoked(key.key.keyid, reason.text().strip()))
        dialog.open()

    def _revoked(self, keyid: str, reason: str) -> None:
        self.screen.act(lambda: self.engine.trust.revoke(keyid, reason), lambda _r: self.screen.refresh())


def _key_state(key: Any) -> tuple[str, str]:
    return ("fail", N_("Revoked")) if key.revoked_at else ("ok", N_("Trusted"))


class PolicyPart(_Part):
    """What the site demands before things are done."""

    part = "policy"

    def __init__(self, screen: SetupScreen):
        super().__init__(screen, N_("Approval policy"),
                         N_("What this site asks for before something is trusted, brought in or "
                            "deployed."))
        t = self.t
        self.two_person = QCheckBox(t("A second &person must approve deployments, imports and trust"))
        self.relay = QCheckBox(t("Servers may &hand files on to each other"))
        self.degree = combo(wording.DEGREES, t)
        self._two_person_shown = False
        self._trouble = column()
        self.save = button(t("&Save"), self._save, role="primary")
        self.save.setObjectName("save-policy")
        degree = field(t("Files on a server count as &verified when"), self.degree)
        narrow = holder(degree)
        narrow.setMaximumWidth(520)
        for part in (self.two_person,
                     label(t("Needs at least two accounts, one of them with the role approver."), "small"),
                     self.relay, narrow, self._trouble, row(None, self.save)):
            self.card.add(part)
        self.next_button(t("&To the overview"))

    def show_data(self, data: dict[str, Any]) -> None:
        site = data["site"]
        if site is not None:
            self._two_person_shown = self.engine.approvals.required()
            self.two_person.setChecked(self._two_person_shown)
            self.relay.setChecked(site.policy.relay)
            self.degree.setCurrentIndex(max(0, self.degree.findData(site.policy.push_degree)))

    def _save(self) -> None:
        policy = {"relay": self.relay.isChecked(), "push_degree": self.degree.currentData()}
        if self.two_person.isChecked() != self._two_person_shown:
            policy["two_person"] = self.two_person.isChecked()
        self.screen.act(lambda: self.engine.site.set(policy=policy), self._saved, self._refused)

    def _saved(self, _site: Any) -> None:
        clear(self._trouble)
        self._trouble.addWidget(Banner("ok", self.t("Saved.")))

    def _refused(self, problem: Exception) -> None:
        clear(self._trouble)
        self._trouble.addWidget(Banner("fail", *wording.problem(problem, self.screen.desk.lang)))
