"""A plan in full, as it is approved: its servers and every change on each; and the inputs for a playbook's questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QLineEdit, QSpinBox, QWidget

from console.i18n import N_
from ui import theme
from ui.models.rows import Column
from ui.screens import wording
from ui.widgets.basic import Banner, breakable, clear, column, holder, label, picture, row
from ui.widgets.table import Table

Say = Callable[..., str]

NEXT = {"planned": N_("Somebody with the role approver has to approve it. It is approved for these changes only."),
        "free": N_("The site's policy asks for no second person. Applying makes these changes, and takes back what fails."),
        "approved": N_("Approved. Applying makes these changes, and takes back what fails."),
        "interrupted": N_("It was cut off. Going on starts after the last step that was finished."),
        "applied": N_("This plan was applied; see the tab Deployments.")}
"""What a plan's state means for what may be done next."""


def plan_body(say: Say, lang: str, parts: list[dict[str, Any]]) -> QWidget:
    """The servers, and beside them every change of the one that is chosen."""
    changes = column(gap=theme.S)
    table = Table([Column(say(N_("Server")), lambda p: p["name"]),
                   Column(say(N_("Changes")), lambda p: say(N_("refused")) if p["refused"] else str(len(p["changes"])),
                          number=True, width=96)], say(N_("Servers of the plan")), key=lambda p: p["name"])
    table.chosen.connect(lambda part: _show_changes(say, lang, changes, part))
    table.setFixedWidth(270)
    table.show_records(parts, select_first=True)
    table.fit_rows(10)
    body, right = row(gap=theme.L), holder(changes)
    body.addWidget(table)
    body.addWidget(right, 1)
    body.setAlignment(table, Qt.AlignmentFlag.AlignTop)
    body.setAlignment(right, Qt.AlignmentFlag.AlignTop)
    return holder(body)


def _show_changes(say: Say, lang: str, box: Any, part: dict[str, Any] | None) -> None:
    clear(box)
    if part is None:
        return
    for number, change in enumerate(part["changes"], 1):
        mark, text = label(f"{number}.", "muted"), label(breakable(change["summary"]), wrap=True)
        line = row(mark, text, gap=theme.S)
        line.setStretch(1, 1)
        line.setAlignment(mark, Qt.AlignmentFlag.AlignTop)
        if change["caution"] or not change["undoable"]:
            weigh = picture("alert", theme.palette().warn, 16)
            weigh.setAccessibleName(say(N_("Mind this one")))
            line.insertWidget(1, weigh)
            line.setAlignment(weigh, Qt.AlignmentFlag.AlignTop)
        box.addLayout(line)
    if part["refused"]:
        message, remedy = wording.problem(part["refused"], lang)
        box.addWidget(Banner("fail", message, remedy))
    elif not part["changes"]:
        box.addWidget(Banner("ok", say(N_("Nothing to change: it is already so."))))


def question_input(asked: dict[str, Any]) -> QWidget:
    """The input for one question of a playbook."""
    kind, default = asked["type"], asked["default"]
    if asked["choices"]:
        made = QComboBox()
        for choice in asked["choices"]:
            made.addItem(str(choice), choice)
        made.setCurrentIndex(max(0, made.findData(default)))
        return made
    if kind == "flag":
        made = QCheckBox()
        made.setChecked(bool(default))
        return made
    if kind == "integer" and default is not None:
        least, most = asked["min"], asked["max"]
        return QSpinBox(minimum=int(least or 0), maximum=int(min(most if most is not None else 2**31 - 1, 2**31 - 1)),
                        value=int(default))
    return QLineEdit("" if default is None else str(default))


def answer_of(widget: QWidget) -> Any:
    """What an input answers."""
    if isinstance(widget, QComboBox):
        return widget.currentData()
    if isinstance(widget, QCheckBox):
        return widget.isChecked()
    if isinstance(widget, QSpinBox):
        return widget.value()
    return widget.text().strip()
