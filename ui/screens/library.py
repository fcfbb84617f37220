"""Bring a bundle in: look at a drive, check every byte against trusted keys, take it into the library or refuse it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QComboBox, QFileDialog, QStackedWidget, QTabWidget, QWidget

from console import units
from console.i18n import N_
from ui import theme
from ui.models.rows import Column
from ui.screens import places, tasks, wording
from ui.screens.base import Screen
from ui.widgets.basic import (
    Badge,
    Banner,
    Card,
    ElidedLabel,
    EmptyState,
    Page,
    button,
    clear,
    column,
    facts,
    field,
    holder,
    label,
    row,
)
from ui.widgets.dialogs import AskDialog
from ui.widgets.gauges import ProgressLine
from ui.widgets.jobstrip import amount
from ui.widgets.table import Table


class LibraryScreen(Screen):
    """Drives, bundles, verdicts, and the site's own library."""

    id, icon = "library", "library"
    title, lead = N_("Library"), N_("What this site has accepted, and what waits on a drive.")
    kinds = frozenset({"library", "drives", "trust"})

    def build(self) -> None:
        t = self.t
        self._job: str | None = None
        self._judged = ""
        self._practice = button(t("&Make a practice bundle…"), self._make_practice, icon="practice",
                                hint=t("Builds and signs a small bundle here, as the connected side would, to "
                                       "rehearse with."))
        self.actions.addWidget(self._practice)
        self._tabs = QTabWidget(documentMode=True)
        self._tabs.setAccessibleName(t(self.title))
        self._tabs.tabBar().setDrawBase(False)
        self._tabs.addTab(self._library_tab(), t("In the library"))
        self._tabs.addTab(self._drive_tab(), t("On a drive"))
        self._tabs.setCurrentIndex(self.memory.get("tab", 0))
        self._tabs.currentChanged.connect(lambda place: self.memory.__setitem__("tab", place))
        self.put(holder(column(self._tabs, margins=(theme.XL, 0, theme.XL, 0))))
        self.desk.bridge.jobs_changed.connect(self._job_moved)

    # -- the library ----------------------------------------------------------------------------------------------

    def _library_tab(self) -> QWidget:
        t = self.t
        self._releases = Table([
            Column(t("Title"), lambda r: r.title),
            Column(t("Release"), lambda r: wording.short_id(r.release_id), width=190, mono=True),
            Column(t("Contents"), lambda r: ", ".join(c.id for c in r.components)),
            Column(t("Files"), lambda r: f"{len(r.files):,}", number=True, width=80, sort=lambda r: len(r.files)),
            Column(t("Size"), lambda r: units.size(r.bytes), number=True, width=110, sort=lambda r: r.bytes),
        ], t("Releases in the library"), key=lambda r: r.release_id)
        self._releases.chosen.connect(self._show_release)
        self._release_card = Card("")
        self._remove = button(t("&Remove from the library…"), self._ask_remove, role="danger", icon="trash")
        self._library_pages = QStackedWidget()
        self._library_pages.addWidget(Page(Card("", EmptyState(
            "library", t("The library is empty"),
            t("Plug in the drive that holds a bundle. Nothing is accepted before every byte was checked against a "
              "signature "
              "of a key that this site trusts."),
            button(t("&Look on a drive"), lambda: self._tabs.setCurrentIndex(1), role="primary", icon="drive")))))
        full = Page(self._releases, self._release_card)
        full.body.setContentsMargins(0, theme.L, 0, theme.XL)
        full.add(None)
        self._library_pages.widget(0).add(None)
        self._library_pages.widget(0).body.setContentsMargins(0, theme.L, 0, theme.XL)
        self._library_pages.addWidget(full)
        return self._library_pages

    def _show_release(self, release: Any) -> None:
        t = self.t
        clear(self._release_card.body)
        self._release_card.setVisible(release is not None)
        if release is None:
            return
        parts = Table([
            Column(t("Component"), lambda c: c.id, width=180), Column(t("Kind"), lambda c: c.type, width=100),
            Column(t("Version"), lambda c: str(c.version), width=110),
            Column(t("Format"), lambda c: c.format, width=110),
            Column(t("Licence"), lambda c: str(c.license or "–")),
            Column(t("Installed size"), lambda c: units.size(c.installed_bytes), number=True, width=120)],
                      t("Components"))
        parts.show_records(release.components)
        parts.fit_rows(6)
        self._remove = button(t("&Remove from the library…"), self._ask_remove, role="danger", icon="trash")
        deploy = button(t("&Deploy it…"), self._deploy, icon="deploy")
        self._release_card.add(row(ElidedLabel(release.title, "heading"), deploy, self._remove))
        self._release_card.add(facts([(t("Release"), wording.short_id(release.release_id)),
                                      (t("Bundle"), release.bundle_id)], mono=(t("Release"), t("Bundle"))))
        self._release_card.add(parts)

    def _deploy(self) -> None:
        release = self._releases.current()
        if release is not None:
            self.desk.remember("deploy")["release"] = release.release_id
            self.desk.go.emit("deploy")

    def _ask_remove(self) -> None:
        release = self._releases.current()
        if release is not None:
            AskDialog(self, self.t, self.t("Remove {title}?", title=release.title),
                      self.t("Its files are removed from this computer. What runs on servers goes on running."),
                      self.t("&Remove"),
                      lambda: self.act(lambda: self.engine.library.remove(release.release_id),
                                       lambda _r: self.refresh()),
                      danger=True).open()

    # -- drives ---------------------------------------------------------------------------------------------------

    def _drive_tab(self) -> QWidget:
        t = self.t
        self._place = QComboBox()
        self._place.setMinimumContentsLength(24)
        self._place.activated.connect(lambda _i: self._look())
        tools = row(field(t("&Where to look"), self._place), gap=theme.M)
        tools.setStretch(0, 1)
        browse = button(t("&Choose a folder…"), self._browse, icon="folder")
        again = button(t("Look a&gain"), self.refresh, icon="refresh")
        tools.addLayout(column(None, row(browse, again), gap=0))
        self._found = Table([
            Column(t("Bundle"), lambda f: f.told.get("title") or f.id),
            Column(t("Parts here"), lambda f: t("{number} of {of}", number=f.volumes[0], of=f.volumes[1]), number=True,
                   width=110,
                   sort=lambda f: f.volumes),
            Column(t("Size"), lambda f: units.size(f.told["bytes"]), number=True, width=100,
                   sort=lambda f: f.told["bytes"]),
            Column(t("Signed by"), lambda f: _signers(f.told, t), width=190),
            Column(t("Folder"), lambda f: str(f.folders[0]), width=180),
        ], t("Bundles found"), key=lambda f: f.id)
        self._found.chosen.connect(self._selected)
        self._verify = button(t("&Verify"), self.verify, icon="check", hint=t("Checks every byte; changes nothing."))
        self._verify.setObjectName("verify")
        self._import = button(t("&Bring it in"), self.bring_in, role="primary", icon="library",
                              hint=t("Checks every byte while copying it, then takes it into the library or "
                                     "refuses it."))
        self._import.setObjectName("import")
        self._none = EmptyState("drive", t("No bundle here"),
                                t("Plug in a drive and look again, or choose the folder that holds the bundle."),
                                button(t("C&hoose a folder…"), self._browse, role="primary", icon="folder"))
        self._some = holder(column(self._found, row(None, self._verify, self._import), gap=theme.M))
        self._result = column(gap=theme.M)
        page = Page(Card("", tools, self._none, self._some), holder(self._result))
        page.body.setContentsMargins(0, theme.L, 0, theme.XL)
        page.add(None)
        return page

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self.t("Choose the folder that holds the bundle"),
                                                self.memory.get("folder", str(Path.home())))
        if path:
            self.look_in(path)

    def look_in(self, path: str) -> None:
        """Look for bundles in ``path``, and keep it among the places."""
        self.memory["folder"] = self.memory["place"] = path
        self._tabs.setCurrentIndex(1)
        self.refresh()

    def _look(self) -> None:
        self.memory["place"] = self._place.currentData()
        self.refresh()

    # -- data -----------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        known = places.drives()
        chosen = self.memory.get("folder")
        if chosen and chosen not in {str(entry.path) for entry in known}:
            known.append(places.place(Path(chosen)))
        wanted = self.memory.get("place") or ""
        looked = [entry.path for entry in known if not wanted or str(entry.path) == wanted]
        return {"releases": self.engine.library.list(), "places": known, "place": wanted,
                "found": tasks.find_bundles(self.engine, looked)}

    def show_data(self, data: dict[str, Any]) -> None:
        t = self.t
        self._library_pages.setCurrentIndex(1 if data["releases"] else 0)
        self._releases.show_records(data["releases"], select_first=True)
        self._releases.fit_rows(6)
        self._show_release(self._releases.current())
        self._place.clear()
        self._place.addItem(t("All drives and chosen folders") if data["places"] else t("No drive is plugged in"), "")
        for entry in data["places"]:
            room = t("{free} free", free=units.size(entry.free_bytes)) if entry.free_bytes is not None else ""
            self._place.addItem(f"{entry.path}   {room}", str(entry.path))
        self._place.setCurrentIndex(max(0, self._place.findData(data["place"])))
        self._none.setVisible(not data["found"])
        self._some.setVisible(bool(data["found"]))
        self._found.show_records(data["found"], select_first=True)
        self._found.fit_rows(5)
        self._selected(self._found.current())

    def media(self) -> tuple[Path, ...]:
        """The folders of the chosen bundle's volumes."""
        chosen = self._found.current()
        return chosen.folders if chosen is not None else ()

    def _selected(self, found: Any) -> None:
        idle = self._job is None
        self._verify.setEnabled(idle and found is not None)
        self._import.setEnabled(idle and found is not None)
        if idle and found is not None and found.id != self._judged:
            clear(self._result)
            self._result.addWidget(self._inspection(found.told))

    def _inspection(self, told: dict[str, Any]) -> QWidget:
        """What the bundle says of itself; not a verdict."""
        t = self.t
        card = Card("", row(label(t("What it says of itself"), "heading"), Badge("unknown", t("Not verified")), None))
        if told["findings"]:
            card.add(self._findings(told["findings"]))
        if "title" in told:
            card.add(facts([(t("Title"), told["title"]), (t("Channel"), f"{told['channel']} · {told['sequence']}"),
                            (t("Issued"), wording.when(told["issued_at"])), (t("Signed by"), _signers(told, t)),
                            (t("Files"), f"{told['files']:,}")]))
            parts = Table([
                Column(t("Component"), lambda c: c["id"], width=180), Column(t("Kind"), lambda c: c["type"], width=100),
                Column(t("Version"), lambda c: str(c["version"]), width=110),
                Column(t("Format"), lambda c: c["format"], width=110),
                Column(t("Licence"), lambda c: str(c["license"] or "–")),
                Column(t("Installed size"), lambda c: units.size(c["installed_bytes"]), number=True, width=120)],
                          t("Components"))
            parts.show_records(told["components"])
            parts.fit_rows(6)
            card.add(parts)
        return card

    # -- verify and import ----------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Check the chosen bundle; the verdict is shown below."""
        self._start(tasks.verify_bundle(self.engine, self.t, self.media()), self.show_verdict)

    def bring_in(self) -> None:
        """Check and copy the chosen bundle into the library."""
        self._start(tasks.import_bundle(self.engine, self.t, self.media()), self._imported)

    def _start(self, spec: Any, ended: Any) -> None:
        clear(self._result)
        self._bar, self._numbers, self._phase = ProgressLine(), label("", "small"), ElidedLabel(self.t(spec.title),
                                                                                                "strong")
        self._stop = button(self.t("&Cancel"), self._cancel, icon="close")
        self._result.addWidget(Card("", row(self._phase, self._numbers, self._stop), self._bar))
        self._job, self._judged = "", self._found.current().id
        self._selected(self._found.current())
        self.desk.run(self, spec, self._started, lambda value: (self._over(), ended(value)), self._failed)

    def _started(self, job_id: str) -> None:
        self._job = job_id

    def _cancel(self) -> None:
        job_id = self._job
        if job_id:
            self.act(lambda: self.engine.jobs.cancel(job_id))

    def _job_moved(self, ids: frozenset[str]) -> None:
        if not self._job or self._job not in ids:
            return
        view = self.desk.bridge.board.jobs.get(self._job)
        if view is None:
            return
        gauge = view.overall()
        self._bar.show_part(gauge.part)
        self._numbers.setText(amount(gauge, self.t))
        self._phase.setText(self.t(view.phase or view.title))
        if view.state == "cancelled":
            self._over()

    def _over(self) -> None:
        self._job = None
        clear(self._result)
        self._selected(self._found.current())

    def _failed(self, problem: Any) -> None:
        self._over()
        message, remedy = wording.problem(problem, self.desk.lang)
        self._result.addWidget(Banner("fail", message, remedy))

    def show_verdict(self, verdict: dict[str, Any]) -> None:
        """Show what a verification found: the verdict, who signed, and every finding."""
        t = self.t
        tone, word = wording.TRUST_VERDICTS.get(verdict["verdict"], ("unknown", verdict["verdict"]))
        badge = Badge(tone, t(word))
        signers = verdict["signers"]
        card = Card("", row(label(t("Verdict"), "heading"), badge, None))
        card.add(label(_explained(verdict["verdict"], t), wrap=True))
        card.add(facts([
            (t("Signed by"), _signers(verdict, t)),
            (t("Fingerprint"), ", ".join(s["fingerprint"] for s in signers) or "–"),
            (t("Files"), f"{verdict.get('files') or 0:,}"), (t("Size"), units.size(verdict.get("bytes")))],
            mono=(t("Fingerprint"),)))
        if verdict["findings"]:
            card.add(self._findings(verdict["findings"]))
        if verdict["verdict"] == "unverified" and not signers:
            card.add(row(button(t("&Trusted keys"), self._to_keys, role="primary", icon="key"), None))
        clear(self._result)
        self._result.addWidget(card)

    def _findings(self, findings: list[dict[str, Any]]) -> Table:
        t = self.t
        table = Table([Column(t("Finding"), lambda f: f["code"], width=170, mono=True,
                              tone=lambda f: "info" if f["code"] == "remark" else "fail"),
                       Column(t("Where"), lambda f: str(f.get("path") or "–"), width=210),
                       Column(t("What it says"), lambda f: t(f["message"]))], t("Findings"))
        table.show_records(findings)
        table.fit_rows(6)
        return table

    def _to_keys(self) -> None:
        self.desk.remember("setup")["part"] = "keys"
        self.desk.go.emit("setup")

    def _imported(self, imported: Any) -> None:
        self._result.addWidget(Banner("ok", self.t("{title} is in the library.", title=imported.release.title),
                                      self.t("Every byte was checked while it was copied."),
                                      button(self.t("&Show it"), lambda: self._tabs.setCurrentIndex(0))))
        self.refresh()

    # -- practice -------------------------------------------------------------------------------------------------

    def _make_practice(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self.t("Choose a folder to stand for the drive"),
                                                str(Path.home()))
        if path:
            self.make_practice(path)

    def make_practice(self, path: str) -> None:
        """Build the practice bundle below ``path`` and look at it there."""
        self.desk.run(self, tasks.practice_bundle(self.engine, self.t, Path(path)), ended=lambda _r: self.look_in(path))


def _signers(told: dict[str, Any], say: Any) -> str:
    return ", ".join(signer["name"] for signer in told["signers"]) or say(N_("nobody this site trusts"))


def _explained(verdict: str, say: Any) -> str:
    return say({
        "verified": N_("Every byte is what the signer signed, and this site trusts the signer."),
        "failed": N_("Do not use this bundle: it is not what was signed, or it holds what is not allowed here. See "
                     "the findings."),
        "unverified": N_("It could not be decided whether this bundle is good; mostly because its signer is not "
                         "trusted here. "
                         "It stays outside."),
    }.get(verdict, verdict))
