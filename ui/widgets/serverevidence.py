"""What a thing rests on: what is known of it, or the raw answer of any of the commands that told of it, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QComboBox, QSizePolicy, QVBoxLayout, QWidget

from console.i18n import N_
from ui import theme
from ui.widgets.basic import ElidedLabel, row
from ui.widgets.evidence import EvidencePane


class SourcePane(QWidget):
    """A choice of sources above the evidence of the chosen one. The choice stays from one thing to the next."""

    def __init__(self, say: Callable[..., str], name: str):
        super().__init__()
        self._say = say
        self._title, self._text, self._sources, self._taken_at = "", "", {}, None
        self._when: Callable[[str | None], str] = str
        self.choice = QComboBox()
        self.choice.setAccessibleName(say(N_("Source of {what}"), what=name))
        self.choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.choice.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.choice.currentIndexChanged.connect(self._show)
        self._stamp = ElidedLabel("", "small")
        self.evidence = EvidencePane(say)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.XS)
        layout.addLayout(row(self.choice, self._stamp, gap=theme.M))
        layout.addWidget(self.evidence, 1)

    def show_thing(self, title: str, text: str, facts: list[Any], when: Callable[[str | None], str],
                   taken_at: str | None) -> None:
        """Show what is known as ``text``, and offer the evidence of ``facts``; ``when`` words a time."""
        before = self.choice.currentData()
        self._title, self._text, self._when = title, text, when
        self._taken_at, self._sources = taken_at, {fact.id: fact for fact in facts}
        self.choice.blockSignals(True)
        self.choice.clear()
        self.choice.addItem(self._say(N_("What is known")), "")
        for name in self._sources:
            self.choice.addItem(name, name)
        self.choice.setCurrentIndex(max(0, self.choice.findData(before)))
        self.choice.blockSignals(False)
        self.choice.setVisible(bool(self._sources))
        self._show()

    def show_only(self, fact: Any, when: Callable[[str | None], str], taken_at: str | None) -> None:
        """Show the evidence of one fact, with no choice."""
        self._sources, self._when, self._taken_at = {fact.id: fact}, when, taken_at
        self.choice.hide()
        self._show_fact(fact)

    def _show(self) -> None:
        fact = self._sources.get(self.choice.currentData() or "")
        if fact is None:
            self._stamp.setText("")
            self.evidence.show_text(self._title, self._text)
            return
        self._show_fact(fact)

    def _show_fact(self, fact: Any) -> None:
        answered = (fact.evidence or {}).get("asked_at") or self._taken_at
        self._stamp.setText(self._say(N_("Answered {when}"), when=self._when(answered)))
        self.evidence.show_evidence(dict(fact.evidence or {}))
