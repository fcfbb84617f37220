"""Raw evidence: the command, how it ended, and what it said, as plain text of limited length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QPlainTextEdit, QVBoxLayout, QWidget

from console import units
from console.errors import shown
from console.i18n import N_
from console.transport.base import command_line
from ui import theme
from ui.widgets.basic import ElidedLabel, copy_text, icon_button, label, row

SHOWN_CHARACTERS = 60_000
"""More than this makes a text widget slow; the rest stays in the stored record."""


class EvidencePane(QWidget):
    """Shows one piece of evidence and lets it be copied."""

    def __init__(self, say: Callable[..., str]):
        super().__init__()
        self._say = say
        self._command, self._ending = ElidedLabel("", "mono"), label("", "small")
        self._text = QPlainTextEdit(readOnly=True)
        self._text.setProperty("role", "evidence")
        self._text.setFont(theme.mono())
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setAccessibleName(say(N_("Evidence")))
        self._text.setTabChangesFocus(True)
        self._text.setMinimumHeight(80)
        copy = icon_button("copy", say(N_("Copy the evidence")), self._copy)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.XS)
        top = row(self._command, self._ending, copy)
        layout.addLayout(top)
        layout.addWidget(self._text, 1)

    def show_text(self, title: str, text: str) -> None:
        """Show plain ``text`` under ``title``."""
        self._command.setText(str(shown(title)))
        self._ending.setText("")
        self._text.setPlainText(_fit(text))

    def show_evidence(self, evidence: dict[str, Any] | None) -> None:
        """Show evidence of a fact: ``argv``, ``exit_code``, ``stdout``, ``stderr``, ``duration_s``, ``truncated``."""
        evidence = evidence or {}
        argv = evidence.get("argv") or ()
        self._command.setText("$ " + str(shown(command_line([str(a) for a in argv]))) if argv else "")
        self._ending.setText(self._how(evidence))
        parts = [str(evidence.get("stdout") or "")]
        if evidence.get("stderr"):
            parts += ["", self._say(N_("Standard error:")), str(evidence["stderr"])]
        self._text.setPlainText(_fit("\n".join(parts)).strip("\n") or self._say(N_("(no output)")))

    def _how(self, evidence: dict[str, Any]) -> str:
        if "exit_code" not in evidence:
            return ""
        said = [self._say(N_("exit code {code}"), code=evidence["exit_code"])]
        if evidence.get("duration_s") is not None:
            said.append(units.duration(evidence["duration_s"]))
        if evidence.get("truncated"):
            said.append(self._say(N_("cut short")))
        return " · ".join(said)

    def _copy(self) -> None:
        copy_text(f"{self._command.text()}\n{self._text.toPlainText()}")


def _fit(text: str) -> str:
    return str(shown(text.replace("\t", "    ").replace("\r\n", "\n"), SHOWN_CHARACTERS))
