"""Dialogs: an error in words, a secret, a fingerprint to compare, a question. All open without blocking the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QDialog, QLineEdit, QWidget

from console.errors import INTERNAL, SealiftError, words_of
from console.i18n import N_
from console.secrets import Secret
from ui import theme
from ui.widgets.basic import Child, ElidedLabel, button, column, copy_text, field, label, line, picture, row

Say = Callable[..., str]
"""Renders marked text in the reader's language."""


class Dialog(QDialog):
    """A titled dialog with its content above and its buttons below, the last of which is the default."""

    def __init__(self, parent: QWidget | None, title: str, *children: Child, width: int = 480):
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setModal(True)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(width)
        self._foot = row(None, gap=theme.S)
        self.body = column(*children, gap=theme.M)
        self.setLayout(column(self.body, line(), self._foot, gap=theme.L,
                              margins=(theme.XL, theme.XL, theme.XL, theme.L)))

    def add_button(self, text: str, click: Callable[[], object], *, primary: bool = False, danger: bool = False):
        """A button at the foot; the primary one answers to Enter."""
        made = button(text, click, role="primary" if primary else "danger" if danger else None)
        made.setDefault(primary)
        self._foot.addWidget(made)
        return made


def error_parts(problem: Any, lang: str) -> tuple[str, str, str]:
    """Message, remedy and code of an error, or of the dict that was kept of one, in the reader's language."""
    if isinstance(problem, SealiftError):
        return problem.message(lang), problem.remedy(lang), problem.code
    if isinstance(problem, dict):
        return *words_of(problem, lang), str(problem.get("code", ""))
    bug = INTERNAL(what=type(problem).__name__)
    return bug.message(lang), bug.remedy(lang), bug.code


class ErrorDialog(Dialog):
    """What happened, what to do next, and the code to quote; never a traceback."""

    def __init__(self, parent: QWidget | None, say: Say, lang: str, problem: Any):
        message, remedy, code = error_parts(problem, lang)
        mark = picture("alert", theme.palette().fail, 32)
        words = column(label(message, "heading", wrap=True, selectable=True), label(remedy, wrap=True, selectable=True),
                       gap=theme.S)
        top = row(mark, gap=theme.L)
        top.setAlignment(mark, Qt.AlignmentFlag.AlignTop)
        top.addLayout(words, 1)
        code_line = row(label(say(N_("Code")), "muted"), label(code, "mono", selectable=True), None)
        super().__init__(parent, say(N_("This could not be done")), top, code_line, width=520)
        self.add_button(say(N_("&Copy")), lambda: copy_text(f"{code}\n{message}\n{remedy}"))
        close = self.add_button(say(N_("C&lose")), self.accept, primary=True)
        close.setFocus()


class AskDialog(Dialog):
    """A yes-or-no question about something that matters."""

    def __init__(self, parent: QWidget | None, say: Say, title: str, text: str, yes: str, then: Callable[[], object], *,
                 danger: bool = False):
        super().__init__(parent, title, label(title, "heading", wrap=True), label(text, wrap=True))
        self.add_button(say(N_("&Cancel")), self.reject)
        confirm = self.add_button(yes, self.accept, primary=not danger, danger=danger)
        confirm.setObjectName("confirm")
        self.accepted.connect(then)


class SecretDialog(Dialog):
    """Asks for a password or passphrase; hands it on as a Secret, with whether it is for every server, and keeps no copy."""

    def __init__(self, parent: QWidget | None, say: Say, title: str, text: str, then: Callable[[Secret, bool], object]):
        self._entry = QLineEdit(echoMode=QLineEdit.EchoMode.Password)
        self._then = then
        super().__init__(parent, title, row(picture("lock", theme.palette().accent, 24), label(title, "heading"), None,
                                            gap=theme.M),
                         label(text, wrap=True), field(say(N_("&Password or passphrase")), self._entry))
        show = QCheckBox(say(N_("&Show what I type")))
        show.toggled.connect(self._reveal)
        self._everywhere = QCheckBox(say(N_("Use it for &every server that asks")))
        self.body.addLayout(column(show, self._everywhere, gap=0))
        self.add_button(say(N_("&Cancel")), self.reject)
        confirm = self.add_button(say(N_("&Use it")), self.accept, primary=True)
        confirm.setObjectName("confirm")
        confirm.setEnabled(False)
        self._entry.textChanged.connect(lambda text: confirm.setEnabled(bool(text)))
        self._entry.setFocus()

    def _reveal(self, shown_now: bool) -> None:
        self._entry.setEchoMode(QLineEdit.EchoMode.Normal if shown_now else QLineEdit.EchoMode.Password)

    def done(self, code: int) -> None:
        """Qt's; the typed text leaves the widget whatever the answer."""
        secret = Secret(self._entry.text())
        self._entry.clear()
        super().done(code)
        if code == QDialog.DialogCode.Accepted:
            self._then(secret, self._everywhere.isChecked())


def plain_fingerprint(text: str) -> str:
    """A fingerprint without the spacing, colons and padding in which tools differ."""
    bare = "".join(text.split()).rstrip("=")
    text = bare[7:] if bare.upper().startswith("SHA256:") else bare
    digits = text.replace(":", "").replace("-", "")
    if len(digits) == 64 and all(c in "0123456789abcdefABCDEF" for c in digits):
        return digits.lower()
    return text


class FingerprintDialog(Dialog):
    """Compare a fingerprint with one that came another way, by pasting that one or by eye; then trust it."""

    def __init__(self, parent: QWidget | None, say: Say, title: str, text: str, fingerprint: str,
                 pairs: list[tuple[str, str]], then: Callable[[], object], changed: str = ""):
        from ui.widgets.basic import Banner, Card, facts

        self._say, self._fingerprint = say, fingerprint
        shown_print = label(fingerprint, "mono", wrap=True, selectable=True)
        shown_print.setObjectName("fingerprint")
        well = Card("", label(say(N_("Fingerprint")), "label"), shown_print, role="well", gap=theme.XS)
        self._other = QLineEdit()
        self._other.setPlaceholderText("SHA256:…" if fingerprint.startswith("SHA256") else "")
        self._verdict = label("", "small", wrap=True)
        self._looked = QCheckBox(say(N_("I &compared it by eye with one from a source I trust")))
        super().__init__(parent, title, row(picture("key", theme.palette().accent, 24), label(title, "heading"), None,
                                            gap=theme.M), width=560)
        if changed:
            self.body.addWidget(Banner("fail", changed))
        self.body.addWidget(label(text, wrap=True))
        if pairs:
            self.body.addWidget(facts(pairs))
        self.body.addWidget(well)
        self.body.addLayout(field(say(N_("&Paste the fingerprint that you were given")), self._other))
        self.body.addWidget(self._verdict)
        self.body.addWidget(self._looked)
        self.add_button(say(N_("Do &not trust")), self.reject)
        self._yes = self.add_button(say(N_("&Trust this key")), self.accept, primary=True)
        self._yes.setObjectName("confirm")
        self._other.textChanged.connect(self._judge)
        self._looked.toggled.connect(self._judge)
        self._judge()
        self.accepted.connect(then)

    def _judge(self) -> None:
        typed = self._other.text().strip()
        same = plain_fingerprint(typed) == plain_fingerprint(self._fingerprint)
        if not typed:
            self._verdict.setText("")
        else:
            self._verdict.setText(self._say(N_("They are the same.")) if same else self._say(
                N_("They are different. Do not trust this key; find out why first.")))
            theme.set_role(self._verdict, "ok" if same else "fail")
        self._yes.setEnabled(same if typed else self._looked.isChecked())


def details_line(caption: str, value: str) -> Child:
    """A caption and a value that can be copied."""
    copy = button("", lambda: copy_text(value), role="quiet", icon="copy")
    copy.setAccessibleName(caption)
    return row(label(caption, "muted"), ElidedLabel(value, "mono"), copy)


