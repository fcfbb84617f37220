"""The bundle builder: what goes in, under which name, signed with which key, onto which drive."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGridLayout,
    QLineEdit,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from console import units
from console.bundles import drives as places
from console.bundles.layout import CHUNK_MAX, COMPONENT_TYPES
from console.i18n import N_
from console.secrets import Secret
from ui import theme
from ui.screens import bundles, wording
from ui.widgets.basic import (
    Banner,
    Card,
    ElidedLabel,
    button,
    clear,
    column,
    field,
    holder,
    icon_button,
    label,
    picture,
    row,
)
from ui.widgets.dialogs import Dialog

WEIGH_MS = 350
"""How long nothing must be typed before the sources are looked at again."""

GIB = 1 << 30
VOLUME_SIZES = (4 * GIB, 8 * 10**9, 16 * 10**9, 32 * 10**9, 64 * 10**9, 128 * 10**9, 256 * 10**9)
"""What drives are sold as, and the 4 GiB that one file on FAT32 may have."""


def dropped_paths(event: Any) -> tuple[str, ...]:
    """The folders and files of this computer that are being dropped."""
    return tuple(url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile())


def patterns(text: str) -> list[str]:
    """The patterns of a line, one with blanks in quotes; while a quote is still open, it is taken as a letter."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


class ComponentLine(QWidget):
    """One component: its id, kind, version, licence and what stays out can be changed; where it comes from cannot."""

    changed = Signal()
    removed = Signal()

    def __init__(self, part: dict[str, Any], say: Any):
        super().__init__()
        self._say, self.source = say, part["from"]
        self.name, self.version, self.licence = QLineEdit(part["id"]), QLineEdit(part["version"]), QLineEdit(part["license"])
        self.exclude = QLineEdit(shlex.join(part.get("exclude", ())))
        self.exclude.setPlaceholderText("*.py")
        self.exclude.setToolTip(say(N_("Patterns of files that stay out, with blanks between them.")))
        self.kind = QComboBox()
        for kind in COMPONENT_TYPES:
            self.kind.addItem(say(wording.COMPONENT_KINDS[kind]), kind)
        self.kind.setCurrentIndex(max(0, self.kind.findData(part["type"])))
        self.licence.setPlaceholderText("Apache-2.0")
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.S)
        grid.setVerticalSpacing(2)
        captions = (say(N_("Component")), say(N_("Kind")), say(N_("Version")), say(N_("Licence")), say(N_("Leave out")))
        inputs = (self.name, self.kind, self.version, self.licence, self.exclude)
        for place, (caption, widget, stretch) in enumerate(zip(captions, inputs, (4, 3, 2, 3, 3), strict=True)):
            widget.setAccessibleName(f"{caption}: {part['id']}")
            grid.addWidget(label(caption, "label"), 0, place)
            grid.addWidget(widget, 1, place)
            grid.setColumnStretch(place, stretch)
        self.about = ElidedLabel(self.source, "small")
        self.away = icon_button("close", say(N_("Leave {name} out"), name=part["id"]), self.removed.emit)
        grid.addWidget(self.away, 1, len(inputs))
        grid.addWidget(self.about, 2, 0, 1, len(inputs))
        self.setLayout(grid)
        for widget in (self.name, self.version, self.licence, self.exclude):
            widget.textChanged.connect(lambda _text: self.changed.emit())
        self.kind.currentIndexChanged.connect(lambda _place: self.changed.emit())

    def part(self) -> dict[str, Any]:
        """As a description file has it."""
        exclude = patterns(self.exclude.text())
        return {"id": self.name.text().strip(), "type": self.kind.currentData(), "version": self.version.text().strip() or "1",
                "from": self.source, "license": self.licence.text().strip()} | ({"exclude": exclude} if exclude else {})

    def show_weight(self, files: int, size: int, form: str) -> None:
        """What it comes to."""
        told = self._say(N_("{files} files, {size}"), files=f"{files:,}", size=units.size(size))
        self.about.setText(f"{told} · {form} · {self.source}")


class BuilderDialog(Dialog):
    """Describes a bundle and has it built; ``screen`` is the library screen, which shows the progress."""

    def __init__(self, screen: Any, dropped: tuple[str, ...] = ()):
        self._screen, self._say, self._desk = screen, screen.t, screen.desk
        self._lines: list[ComponentLine] = []
        self._weight: bundles.Weight | None = None
        self._drives: list[places.Place] = []
        self._asked = 0
        t = self._say
        super().__init__(screen, t(N_("Build a bundle")), label(t(N_("Build a bundle")), "heading"), width=860)
        self.setAcceptDrops(True)
        self.body.setSpacing(theme.S)
        self.body.addWidget(self._contents(), 1)
        self.body.addLayout(self._names())
        self.body.addLayout(self._signing())
        self.body.addLayout(self._target())
        self._problem = column()
        self.body.addLayout(self._problem)
        self.add_button(t(N_("&Cancel")), self.reject)
        self._go = self.add_button(t(N_("&Build and sign")), self.start, primary=True)
        self._go.setObjectName("confirm")
        self._go.setEnabled(False)
        self._timer = QTimer(self, singleShot=True, interval=WEIGH_MS)
        self._timer.timeout.connect(self._weigh)
        self._take_up()
        if dropped:
            self.add_sources(dropped)
        self._desk.read(self, places.drives, self._got_drives)
        self._judge()

    # -- its parts ------------------------------------------------------------------------------------------------

    def _contents(self) -> QWidget:
        t = self._say
        folder = button(t(N_("Add a &folder…")), self._add_folder, icon="folder")
        self._add_more = button(t(N_("Add fil&es…")), self._add_files, icon="plus")
        self._box = QVBoxLayout()
        self._box.setSpacing(theme.M)
        inner = holder(column(holder(self._box), None), "page")
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        self._scroll.setWidget(inner)
        self._scroll.setMinimumHeight(128)
        hint = label(t(N_("Models, wheels, container images, packages, installers: each folder or file becomes a component.")),
                     "muted", wrap=True)
        hint.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._empty = holder(column(None, row(None, picture("folder", theme.palette().accent, 28), None),
                                    row(None, label(t(N_("Drop folders here")), "strong"), None), hint, None, gap=theme.XS))
        self._empty.setMinimumHeight(128)
        self._sum = ElidedLabel("", "muted")
        card = Card("", stretch=True)
        top = row(gap=theme.S)
        top.addWidget(label(t(N_("What goes in")), "strong"))
        top.addWidget(self._sum, 1)
        top.addWidget(folder)
        top.addWidget(self._add_more)
        card.add(top)
        card.add(self._empty, 1)
        card.add(self._scroll, 1)
        return card

    def _names(self) -> Any:
        t = self._say
        self._title, self._channel, self._number = QLineEdit(), QLineEdit(), QSpinBox(minimum=1, maximum=2**31 - 1)
        self._title.textChanged.connect(self._titled)
        self._channel.textEdited.connect(lambda _text: self._changed())
        line = row(gap=theme.M)
        line.addLayout(field(t(N_("&Title")), self._title), 3)
        line.addLayout(field(t(N_("C&hannel")), self._channel, t(N_("Editions of one thing share it."))), 2)
        line.addLayout(field(t(N_("&Number")), self._number, t(N_("Each edition needs a higher one."))), 1)
        return line

    def _signing(self) -> Any:
        t = self._say
        self._key, self._pass = QLineEdit(), QLineEdit(echoMode=QLineEdit.EchoMode.Password)
        self._key.textChanged.connect(lambda _text: self._judge())
        pick = button(t(N_("Ch&oose…")), self._choose_key, icon="key")
        fresh = button(t(N_("Ne&w key…")), self._new_key, icon="plus",
                       hint=t(N_("Made here and protected by the passphrase. Its public half is written beside it; that is what "
                                 "a site trusts.")))
        line = row(gap=theme.S)
        line.addLayout(field(t(N_("Signing &key")), self._key), 3)
        line.addLayout(field(t(N_("&Passphrase of the key")), self._pass), 2)
        line.addLayout(column(22, row(pick, fresh), None, gap=0))
        return line

    def _target(self) -> Any:
        t = self._say
        self._out, self._volume = QComboBox(), QComboBox()
        self._out.setEditable(True)
        self._out.setMinimumContentsLength(16)
        self._out.editTextChanged.connect(lambda _text: self._judge())
        self._volume.addItem(t(N_("One volume")), None)
        for size in VOLUME_SIZES:
            shown = units.size(size) if size % GIB == 0 else f"{size // 10**9} GB"
            self._volume.addItem(t(N_("Volumes of {size}"), size=shown), int(size * (1 if size % GIB == 0 else 0.98)))
        self._volume.currentIndexChanged.connect(lambda _place: self._judge())
        self._repair = QComboBox()
        for text, parity in ((N_("None"), None), (N_("A drive more, for any that is lost"), "volume"),
                             (N_("For bad spots, 1 to {count}"), 8)):
            self._repair.addItem(t(text, count=parity), parity)
        self._repair.currentIndexChanged.connect(lambda _place: self._judge())
        pick = button(t(N_("Choo&se…")), self._choose_out, icon="drive")
        self._cost = label("", "small", wrap=True)
        line = row(gap=theme.S)
        line.addLayout(field(t(N_("Write &it to")), self._out), 3)
        line.addLayout(column(22, pick, None, gap=0))
        line.addLayout(field(t(N_("Sp&lit over")), self._volume), 2)
        line.addLayout(field(t(N_("&Repair data")), self._repair), 2)
        return column(line, self._cost, gap=theme.S)

    # -- sources --------------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Qt's."""
        if dropped_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Qt's."""
        self.add_sources(dropped_paths(event))
        event.acceptProposedAction()

    def _add_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self._say(N_("Choose a folder that goes in")), str(Path.home()))
        if path:
            self.add_sources((path,))

    def _add_files(self) -> None:
        paths, _kind = QFileDialog.getOpenFileNames(self, self._say(N_("Choose files that go in")), str(Path.home()))
        self.add_sources(tuple(paths))

    def add_sources(self, paths: tuple[str, ...]) -> None:
        """Make a component of each folder and file; what each is likely to be is found out off the window's thread."""
        known = {line.source for line in self._lines}
        for path in dict.fromkeys(paths):
            if path not in known:
                self._asked += 1
                self._desk.read(self, lambda path=path: bundles.describe(Path(path)), self._described, self._not_described)

    def _described(self, part: dict[str, Any]) -> None:
        self._asked -= 1
        taken = {line.part()["id"] for line in self._lines}
        name, number = part["id"], 2
        while part["id"] in taken:
            part["id"], number = f"{name[:60]}-{number}", number + 1
        self._add_line(part)
        if not self._title.text():
            self._title.setText(Path(part["from"]).name)
        self._changed()

    def _not_described(self, problem: Exception) -> None:
        self._asked -= 1
        self._say_problem(problem)

    def _add_line(self, part: dict[str, Any]) -> None:
        line = ComponentLine(part, self._say)
        line.changed.connect(self._changed)
        line.removed.connect(lambda: self._drop_line(line))
        self._box.addWidget(line)
        before = self._lines[-1].away if self._lines else self._add_more
        for widget in (line.name, line.kind, line.version, line.licence, line.exclude, line.away):
            self.setTabOrder(before, widget)
            before = widget
        self._lines.append(line)
        self._judge()

    def _drop_line(self, line: ComponentLine) -> None:
        self._lines.remove(line)
        line.hide()
        line.deleteLater()
        self._changed()

    # -- judging --------------------------------------------------------------------------------------------------

    def _titled(self, text: str) -> None:
        plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower())
        self._channel.setText("-".join(part for part in plain.split("-") if part)[:64])
        self._changed()

    def _changed(self) -> None:
        self._weight = None
        self._judge()
        self._timer.start()

    def draft(self) -> bundles.Draft:
        """What is described now."""
        return bundles.Draft(self._title.text().strip(), self._channel.text().strip(), self._number.value(),
                             tuple(line.part() for line in self._lines))

    def _weigh(self) -> None:
        if not self._lines:
            return
        draft = self.draft()
        self._desk.read(self, lambda: bundles.weigh(draft), lambda weight: self._weighed(draft, weight), self._say_problem)

    def _weighed(self, draft: bundles.Draft, weight: bundles.Weight) -> None:
        if draft != self.draft():
            return  # something was typed meanwhile; another answer is on its way
        self._weight = weight
        clear(self._problem)
        for line in self._lines:
            line.show_weight(*weight.parts[line.part()["id"]])
        self._judge()

    def _say_problem(self, problem: Exception) -> None:
        clear(self._problem)
        self._problem.addWidget(Banner("fail", *wording.problem(problem, self._desk.lang)))
        self._judge()

    def _judge(self) -> None:
        t, weight = self._say, self._weight
        self._empty.setVisible(not self._lines)
        self._scroll.setVisible(bool(self._lines))
        self._sum.setText(t(N_("{files} files, {size}"), files=f"{weight.files:,}", size=units.size(weight.bytes)) if weight else "")
        out = self._out.currentText().strip()
        there = next((place for place in self._drives if str(place.path) == out), None)
        lacking = [t(text) for text, given in ((N_("contents"), self._lines), (N_("a title"), self._title.text().strip()),
                                               (N_("a signing key"), self._key.text().strip()), (N_("a drive"), out))
                   if not given]
        missing = t(N_("Still needed: {things}."), things=", ".join(lacking)) if lacking else ""
        self._cost.setText(f"{self._cost_words(weight, there)} {missing}".strip())
        self._go.setEnabled(bool(weight) and not lacking)

    def _cost_words(self, weight: bundles.Weight | None, there: places.Place | None) -> str:
        t, size = self._say, self._volume.currentData()
        said = [t(N_("No file of a bundle is larger than {size}, so FAT32 drives take it."), size=units.size(CHUNK_MAX))]
        if weight and size:
            count = max(1, math.ceil(weight.bytes / (size * bundles.FILE_SYSTEM_SHARE)))
            said.insert(0, t(N_("About {count} volumes, each in a folder of its own to be put on its drive."), count=count))
        parity = self._repair.currentData()
        if weight and parity:
            said.insert(0, t(N_("The repair data takes about {size} more."), size=units.size(
                bundles.repair_bytes(weight.bytes, size, parity))))
        if there is not None and there.free_bytes is not None:
            said.insert(0, t(N_("{free} free there."), free=units.size(there.free_bytes)))
        return " ".join(said)

    def _got_drives(self, known: list[places.Place]) -> None:
        self._drives = [place for place in known if place.writable]
        typed = self._out.currentText()
        self._out.clear()
        for place in self._drives:
            self._out.addItem(str(place.path))
        if typed or not self._drives:
            self._out.setEditText(typed)
        self._judge()

    # -- key and target -------------------------------------------------------------------------------------------

    def _choose_key(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(self, self._say(N_("Choose the signing key")), str(Path.home()))
        if path:
            self._key.setText(path)

    def _new_key(self) -> None:
        if not self._pass.text():
            clear(self._problem)
            self._problem.addWidget(Banner("warn", self._say(N_("A new key needs a passphrase.")),
                                           self._say(N_("Type it into the field beside the key first."))))
            self._pass.setFocus()
            return
        path, _kind = QFileDialog.getSaveFileName(self, self._say(N_("Where the new key goes")), str(Path.home() / "signing.key"))
        if path:
            secret = Secret(self._pass.text())
            self._desk.read(self, lambda: bundles.new_key(Path(path), secret), lambda key: self._made_key(path, key),
                            self._say_problem)

    def _made_key(self, path: str, key: Any) -> None:
        self._key.setText(path)
        clear(self._problem)
        self._problem.addWidget(Banner("ok", self._say(N_("The key was made. Its fingerprint:")), key.public.fingerprint))

    def _choose_out(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self._say(N_("Choose the drive")), str(Path.home()))
        if path:
            self._out.setEditText(path)

    # -- building -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Unlock the key; with it the building begins and the dialog closes."""
        path, secret = Path(self._key.text().strip()), Secret(self._pass.text()) if self._pass.text() else None
        self._go.setEnabled(False)
        self._desk.read(self, lambda: bundles.load_key(path, secret), self._unlocked, self._say_problem)

    def _unlocked(self, key: Any) -> None:
        draft, out = self.draft(), Path(self._out.currentText().strip())
        self._screen.memory["draft"] = {"draft": draft, "key": self._key.text(), "out": str(out),
                                        "volume": self._volume.currentIndex(), "repair": self._repair.currentIndex()}
        self.accept()
        self._screen.build_bundle(draft, out, key, self._volume.currentData(), self._repair.currentData())

    def _take_up(self) -> None:
        """Go on with what was described last, when its building did not succeed."""
        kept = self._screen.memory.get("draft")
        if kept is None:
            return
        draft: bundles.Draft = kept["draft"]
        for part in draft.components:
            self._add_line(dict(part))
        self._title.setText(draft.title)
        self._channel.setText(draft.channel)
        self._number.setValue(draft.sequence)
        self._key.setText(kept["key"])
        self._out.setEditText(kept["out"])
        self._volume.setCurrentIndex(kept["volume"])
        self._repair.setCurrentIndex(kept["repair"])
        self._changed()

    def done(self, code: int) -> None:
        """Qt's; the passphrase leaves the widget whatever the answer."""
        self._pass.clear()
        super().done(code)
