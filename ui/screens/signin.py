"""Log in as an account of the site."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QLineEdit, QWidget

from console.secrets import Secret
from ui import theme
from ui.desk import Desk
from ui.widgets.basic import Banner, clear, column, field, label, picture, row
from ui.widgets.dialogs import Dialog, error_parts


class SignInDialog(Dialog):
    """Name and password; a refusal is shown in place. With ``again`` it asks who is logged in for the password alone."""

    def __init__(self, parent: QWidget, desk: Desk, then: Callable[[], None], again: bool = False):
        t = desk.t
        self._desk, self._then = desk, then
        title = t("Enter your password") if again else t("Log in")
        said = (t("{name}, this needs your password once more.", name=desk.engine.actor.id) if again else
                t("This site has accounts. What you do is recorded under your name."))
        self.name, self.password = QLineEdit(), QLineEdit(echoMode=QLineEdit.EchoMode.Password)
        self._wrong = column()
        super().__init__(parent, title,
                         row(picture("user", theme.palette().accent, 24), label(title, "heading"), None, gap=theme.M),
                         label(said, wrap=True),
                         field(t("&Name"), self.name), field(t("&Password"), self.password), self._wrong, width=440)
        self.add_button(t("&Cancel"), self.reject)
        self._go = self.add_button(t("&Go on") if again else t("&Log in"), self._log_in, primary=True)
        self._go.setObjectName("confirm")
        if again:
            self.name.setText(desk.engine.actor.id)
        self.name.setReadOnly(again)
        (self.password if again else self.name).setFocus()

    def _log_in(self) -> None:
        name, secret = self.name.text().strip(), Secret(self.password.text())
        self._go.setEnabled(False)
        self._desk.read(self, lambda: self._desk.engine.login(name, secret), lambda _actor: self._done(), self._refused)

    def _done(self) -> None:
        self.accept()
        self._then()

    def _refused(self, problem: Exception) -> None:
        self._go.setEnabled(True)
        message, remedy, _code = error_parts(problem, self._desk.lang)
        clear(self._wrong)
        self._wrong.addWidget(Banner("fail", message, remedy))
        self.password.clear()
        self.password.setFocus()

    def done(self, code: int) -> None:
        """Qt's; the typed password leaves the widget."""
        self.password.clear()
        super().done(code)
