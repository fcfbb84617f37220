"""One bundle on a drive: who signed it, with which key, what is inside, what it needs, and what was found wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QLineEdit, QWidget

from console import units
from console.i18n import N_
from ui import theme
from ui.models.rows import Column
from ui.screens import wording
from ui.screens.bundles import FoundBundle, Room
from ui.widgets.basic import Badge, Banner, Card, ElidedLabel, button, column, facts, holder, label, row
from ui.widgets.dialogs import Dialog
from ui.widgets.gauges import Legend, Slice, StackedBar
from ui.widgets.table import Table

Say = Callable[..., str]

EXPLAINED = {
    "verified": N_("Every byte is what the signer signed, and this site trusts the signer."),
    "failed": N_("Do not use this bundle: it is not what was signed, or it holds what is not allowed here. See the "
                 "findings."),
    "unverified": N_("It could not be decided whether this bundle is good; mostly because its signer is not trusted "
                     "here. It stays outside.")}


class BundleView(Card):
    """A bundle as far as it is known: inspected, or with the verdict of a verification.

    Attributes:
        verify, bring_in: its two buttons.
    """

    def __init__(self, say: Say, found: FoundBundle, told: dict[str, Any], verified: bool, *,
                 verify: Callable[[], object], bring_in: Callable[[], object], keys: Callable[[], object],
                 release: Callable[[], object]):
        super().__init__("", gap=theme.L)
        self._say, self._found, self._told = say, found, told
        self._head(verified, verify, bring_in, release)
        if verified:
            tone = wording.TRUST_VERDICTS.get(told["verdict"], ("unknown", ""))[0]
            self.add(Banner({"unknown": "warn"}.get(tone, tone), say(EXPLAINED.get(told["verdict"], told["verdict"]))))
        if told["unknown_keys"] and not told["signers"]:
            self.add(Banner("warn", say(N_("The key that signed it is not trusted here.")),
                            say(N_("Compare its fingerprint with one that reached you another way, then add the key.")),
                            button(say(N_("&Trusted keys")), keys, icon="key")))
        self.add(self._facts())
        if found.volumes[1] > 1:
            self.add(volumes(say, found.volumes[1], {n: v["state"] for n, v in found.here.items()}))
        if found.room is not None and not found.imported:
            self.add(room(say, found.room))
        if told["findings"]:
            self.add(column(label(say(N_("Findings")), "strong"), findings(say, told["findings"]), gap=theme.S))
        # In the next turn of the loop, so that no one turn has all of it to lay out.
        QTimer.singleShot(0, self, self._inside)

    def _inside(self) -> None:
        say, told = self._say, self._told
        if told.get("components"):
            self.add(column(label(say(N_("What is inside")), "strong"), components(say, told["components"]), gap=theme.S))
        if self._found.files:
            self.add(row(button(say(N_("All &files…")), self._all_files, role="quiet", icon="search"), None))

    def _head(self, verified: bool, verify: Any, bring_in: Any, release: Any) -> None:
        say, verdict = self._say, self._told["verdict"] if verified else None
        tone, word = wording.TRUST_VERDICTS.get(verdict or "unverified", ("unknown", str(verdict)))
        self.verify = button(say(N_("&Verify")), verify, icon="check", hint=say(N_("Checks every byte; changes nothing.")))
        self.verify.setObjectName("verify")
        self.bring_in = button(say(N_("&Bring it in")), bring_in, role="primary", icon="library",
                               hint=say(N_("Checks every byte while copying it, then takes it into the library or "
                                           "refuses it.")))
        self.bring_in.setObjectName("import")
        top = row(gap=theme.M)
        top.addWidget(ElidedLabel(self._told.get("title") or self._found.id, "heading"), 1)
        top.addWidget(Badge(tone, say(word)))
        if self._found.imported:
            top.addWidget(Badge("info", say(N_("In the library"))))
            top.addWidget(self.verify)
            top.addWidget(button(say(N_("&Show it")), release, icon="library"))
            self.bring_in.hide()
        else:
            top.addWidget(self.verify)
            top.addWidget(self.bring_in)
        self.add(top)

    def _facts(self) -> QWidget:
        say, told = self._say, self._told
        signers, strange = told["signers"], told["unknown_keys"]
        prints = [s["fingerprint"] for s in signers] or [key.removeprefix("sha256:") for key in strange]
        pairs = [(say(N_("Signed by")), signed_by(told, say)), (say(N_("Fingerprint")), ", ".join(map(grouped, prints)) or "–")]
        # Beside the builder's own: whom a model comes from says nothing on who may bring bundles in here.
        pairs += [(say(N_("Publisher of {component}"), component=one["component"]), _published(say, one)) for one in told["publishers"]]
        if "title" in told:
            pairs += [(say(N_("Issued")), wording.when(told["issued_at"])),
                      (say(N_("Channel")), say(N_("{channel}, number {number}"), channel=told["channel"],
                                               number=told["sequence"]))]
        pairs.append((say(N_("Contents")), say(N_("{files} files, {size}"), files=f"{told['files']:,}",
                                               size=units.size(told["bytes"]))))
        pairs.append((say(N_("Where")), ", ".join(map(str, self._found.folders))))
        return facts(pairs, mono=(say(N_("Fingerprint")),))

    def _all_files(self) -> None:
        FilesDialog(self, self._say, self._told.get("title") or self._found.id, self._found.files).open()


class FilesDialog(Dialog):
    """Every file that a bundle's index lists, to look through before anything is accepted."""

    def __init__(self, parent: QWidget, say: Say, title: str, files: tuple[Any, ...]):
        self.table = Table([
            Column(say(N_("File")), lambda f: f.path), Column(say(N_("Component")), lambda f: f.component, width=150),
            Column(say(N_("Size")), lambda f: units.size(f.size), number=True, width=110, sort=lambda f: f.size),
            Column("SHA-256", lambda f: f.sha256, width=210, mono=True)], say(N_("Files of the bundle")))
        self.table.show_records(files)
        self.table.setMinimumHeight(320)
        look = QLineEdit()
        look.setPlaceholderText(say(N_("Filter…")))
        look.setAccessibleName(say(N_("Filter…")))
        look.textChanged.connect(self.table.filter.look_for)
        super().__init__(parent, title, label(title, "heading", wrap=True), look, self.table, width=860)
        self.add_button(say(N_("C&lose")), self.accept, primary=True)


def grouped(fingerprint: str) -> str:
    """A fingerprint in groups of four, as people read it to each other."""
    bare = "".join(fingerprint.split())
    return " ".join(bare[at:at + 4] for at in range(0, len(bare), 4))


def _published(say: Say, one: dict[str, Any]) -> str:
    """What the signature that a publisher laid beside a model came to."""
    signer = one["signer"] or {}
    said = {"verified": N_("{name}; its signature fits"), "failed": N_("{name}; its signature does not fit"),
            "unverified": N_("{name}, who is not known here")}[one["verdict"]]
    return say(said, name=signer.get("name") or grouped(signer.get("fingerprint") or "") or "?")


def signed_by(told: dict[str, Any], say: Say) -> str:
    """The holders of the keys that signed, as far as this site knows them."""
    return ", ".join(signer["name"] for signer in told["signers"]) or say(N_("nobody this site trusts"))


def components(say: Say, told: list[dict[str, Any]]) -> Table:
    """The parts of a bundle."""
    table = Table([
        Column(say(N_("Component")), lambda c: c["id"], width=130),
        Column(say(N_("Kind")), lambda c: say(wording.COMPONENT_KINDS.get(c["type"], c["type"])), width=110),
        Column(say(N_("Version")), lambda c: str(c["version"]), width=75),
        Column(say(N_("Format")), lambda c: c["format"], width=105),
        Column(say(N_("Licence")), lambda c: str(c["license"] or "–")),
        Column(say(N_("Origin")), lambda c: c["source"].get("uri") or "–", width=90),
        Column(say(N_("Installed size")), lambda c: units.size(c["installed_bytes"]), number=True, width=120,
               sort=lambda c: c["installed_bytes"] or 0)], say(N_("Components")))
    table.show_records(told)
    table.fit_rows(6)
    return table


def findings(say: Say, told: list[dict[str, Any]]) -> Table:
    """What was found, worst first as the engine lists it."""
    table = Table([Column(say(N_("Finding")), lambda f: f["code"], width=170, mono=True, tone=_finding_tone),
                   Column(say(N_("Where")), lambda f: str(f.get("path") or "–"), width=190),
                   Column(say(N_("What it says")), lambda f: say(f["message"]))], say(N_("Findings")))
    table.show_records(told)
    table.fit_rows(6)
    return table


def _finding_tone(told: dict[str, Any]) -> str:
    return "info" if told["code"] == "remark" else "unknown" if told.get("pending") else "fail"


def volumes(say: Say, count: int, states: dict[int, str], wanted: frozenset[int] = frozenset()) -> QWidget:
    """The volumes of a bundle, each with its state by name; more than fit in a line wrap to the next."""
    from PySide6.QtWidgets import QGridLayout

    made = QWidget()
    grid = QGridLayout(made)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(theme.S)
    grid.setVerticalSpacing(theme.S)
    across = 4
    for number in range(1, count + 1):
        state = states.get(number) or ("wanted" if number in wanted else "missing")
        tone, word = wording.VOLUME_STATES.get(state, ("warn", state))
        badge = Badge(tone, say(N_("Volume {number}: {state}"), number=number, state=say(word)))
        grid.addWidget(badge, (number - 1) // across, (number - 1) % across)
    grid.setColumnStretch(across, 1)
    made.setAccessibleName(say(N_("Volumes")))
    return made


def room(say: Say, needed: Room) -> QWidget:
    """What bringing it in takes of the library's disk, before it is begun."""
    bar, legend = StackedBar(10), Legend(4)
    slices = (Slice(say(N_("To be copied")), max(0, needed.new - needed.staged), "weights"),
              Slice(say(N_("In the library already")), needed.kept + min(needed.new, needed.staged), "overhead"),
              Slice(say(N_("Free on the library's disk")), needed.free, "free"))
    bar.show_slices((slices[0],), max(1, needed.free))
    legend.show_slices(slices)
    parts = column(bar, legend, gap=theme.S)
    if not needed.enough:
        parts.addWidget(Banner("fail", say(N_("The library's disk has too little room.")),
                               say(N_("Remove a release that is no longer needed, or free {size} on the disk."),
                                   size=units.size(max(0, needed.needed - needed.free)))))
    return holder(parts)
