"""Bring a bundle in: look at a drive, check every byte against trusted keys, take it into the library or refuse it.

Drives come and go by themselves. A bundle that lies on more drives than can be plugged in at once is brought in by
swapping: the import stops at the volume that is not here, says which one it wants, and goes on when that appears.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QFileDialog, QTabWidget, QWidget

from console import units
from console.bundles import drives as places
from console.bundles.acceptance import OVERRIDES
from console.errors import VerdictError
from console.i18n import N_
from ui import theme
from ui.models.rows import Column
from ui.screens import bundles, tasks, wording
from ui.screens.base import Screen
from ui.screens.librarybundle import BundleView, findings, signed_by, volumes
from ui.screens.librarydrives import DrivesPanel
from ui.screens.libraryreleases import ReleasesTab
from ui.widgets.basic import Banner, Card, ElidedLabel, EmptyState, Page, button, clear, column, holder, label, row
from ui.widgets.dialogs import AskDialog
from ui.widgets.gauges import ProgressLine
from ui.widgets.jobstrip import amount
from ui.widgets.table import Table

WATCH_MS = 1500
"""How often the mount table is looked at while the screen is in sight."""


@dataclass
class Swap:
    """An import that waits for a volume.

    Attributes:
        copied: volumes that were here in an earlier try; what they hold is not copied again.
        tried: volumes that were here in the last try, whether they were read to their end or not.
        wanted: volumes that may hold what is missing.
        lost: whether a drive was pulled, so that one that was here is waited for.
        absent: whether the bundle has been out of sight since.
    """

    bundle: str
    of: int
    copied: frozenset[int]
    tried: frozenset[int]
    wanted: frozenset[int]
    overrides: frozenset[str]
    lost: bool = False
    absent: bool = False

    def may_go_on(self, found: bundles.FoundBundle | None) -> bool:
        """Whether what is here now brings the import further."""
        if found is None:
            self.absent = True
            return False
        return bool(set(found.here) - self.tried - self.copied) or (self.lost and self.absent)


class LibraryScreen(Screen):
    """Drives, bundles, verdicts, and the site's own library."""

    id, icon = "library", "library"
    title, lead = N_("Library"), N_("What this site has accepted, and what waits on a drive.")
    kinds = frozenset({"library", "drives", "trust"})

    def build(self) -> None:
        t = self.t
        self._job: str | None = None
        self._ended: str | None = None
        self._waits: set[str] = set()
        self._looking = False
        self._shown: tuple[Any, ...] | None = None
        self._swap: Swap | None = None
        self._places: list[places.Place] = []
        self._verdict: dict[str, Any] | None = None
        self._practice = button(t("&Make a practice bundle…"), self._make_practice, icon="practice",
                                hint=t("Builds and signs a small bundle here, as the connected side would, to "
                                       "rehearse with."))
        self._builder = button(t("B&uild a bundle…"), self.open_builder, icon="plus",
                             hint=t("On the connected side: from folders with models, wheels, images and packages."))
        self._builder.setObjectName("build-bundle")
        self.actions.addWidget(self._practice)
        self.actions.addWidget(self._builder)
        self._tabs = QTabWidget(documentMode=True)
        self._tabs.setAccessibleName(t(self.title))
        self._tabs.tabBar().setDrawBase(False)
        self.releases = ReleasesTab(self)
        self._tabs.addTab(self.releases, t("In the library"))
        self._tabs.addTab(self._drive_tab(), t("On a drive"))
        self._tabs.setCurrentIndex(self.memory.get("tab", 0))
        self._tabs.currentChanged.connect(lambda place: self.memory.__setitem__("tab", place))
        self.put(holder(column(self._tabs, margins=(theme.XL, 0, theme.XL, 0))))
        self.desk.bridge.jobs_changed.connect(self._job_moved)
        self._watch = QTimer(self, interval=WATCH_MS)
        self._watch.timeout.connect(self._survey)

    def _drive_tab(self) -> QWidget:
        t = self.t
        self._drives = DrivesPanel(t, self._browse)
        self._drives.forgotten.connect(self._forget)
        self._found = Table([
            Column(t("Bundle"), lambda f: f.told.get("title") or f.id),
            Column(t("Parts here"), lambda f: t("{number} of {of}", number=f.volumes[0], of=f.volumes[1]), number=True,
                   width=110, sort=lambda f: f.volumes),
            Column(t("Size"), lambda f: units.size(f.told["bytes"]), number=True, width=100,
                   sort=lambda f: f.told["bytes"]),
            Column(t("Signed by"), lambda f: signed_by(f.told, t), width=190),
        ], t("Bundles found"), key=lambda f: f.id)
        self._found.chosen.connect(self._selected)
        self._none = Card("", EmptyState(
            "drive", t("No bundle here"),
            t("Plug in the drive that holds one, or choose the folder that it lies in."),
            button(t("C&hoose a folder…"), self._browse, role="primary", icon="folder")))
        self._news, self._bundle = column(gap=theme.M), column(gap=theme.M)
        self._news_box = holder(self._news)
        self._news_box.hide()  # an empty part of a page would leave a double gap
        # What there is to tell comes first: below several drives nobody would see it.
        self._page = Page(self._news_box, self._drives, self._none, self._found, holder(self._bundle))
        self._page.body.setContentsMargins(0, theme.L, 0, theme.XL)
        self._page.add(None)
        return self._page

    # -- drives ---------------------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        """Qt's; drives are watched while the screen is in sight."""
        super().showEvent(event)
        self._watch.start()

    def hideEvent(self, event: QHideEvent) -> None:
        """Qt's."""
        super().hideEvent(event)
        if self._swap is None:
            self._watch.stop()

    def _survey(self) -> None:
        if self._looking:
            return
        self._looking = True
        folders = tuple(self.memory.get("folders", ()))
        self.desk.read(self, lambda: places.survey(folders), self._surveyed, self._not_surveyed)

    def _surveyed(self, known: list[places.Place]) -> None:
        self._looking = False
        if self.ready and self._drives.show_places(known):
            self.refresh()

    def _not_surveyed(self, problem: Exception) -> None:
        self._looking = False
        self._watch.stop()
        self.desk.problem.emit(problem)

    def _browse(self) -> None:
        last = self.memory.get("folders") or [str(Path.home())]
        path = QFileDialog.getExistingDirectory(self, self.t("Choose the folder that holds the bundle"), last[-1])
        if path:
            self.look_in(path)

    def look_in(self, path: str) -> None:
        """Look for bundles in ``path`` too, and keep it among the places."""
        folders = self.memory.setdefault("folders", [])
        if path not in folders:
            folders.append(path)
        self.to_drives()
        self.refresh()

    def _forget(self, path: str) -> None:
        self.memory["folders"] = [one for one in self.memory.get("folders", ()) if one != path]
        self.refresh()

    def to_drives(self) -> None:
        """Bring the drives up."""
        self._tabs.setCurrentIndex(1)

    # -- data -----------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        known = places.survey(tuple(self.memory.get("folders", ())))
        return {"releases": self.engine.library.list(), "unfinished": self.engine.library.unfinished(), "places": known,
                "found": bundles.find(self.engine, [entry.path for entry in known if entry.readable])}

    def show_data(self, data: dict[str, Any]) -> None:
        self.releases.show_releases(data["releases"], data["unfinished"])
        self._places = data["places"]
        self._drives.show_places(self._places)
        found = data["found"]
        self._none.setVisible(not found and self._swap is None)
        self._found.setVisible(len(found) > 1)
        self._found.show_records(found, select_first=True)
        self._found.fit_rows(5)
        self._selected(self._found.current())
        if self._swap is not None and self._job is None:
            self._look_for_the_next(found)

    def media(self) -> tuple[Path, ...]:
        """The folders of the chosen bundle's volumes."""
        chosen = self._found.current()
        return chosen.folders if chosen is not None else ()

    def _tell(self, *told: QWidget) -> None:
        """Show what there is to tell above the drives, in place of what was told before, and bring it in sight."""
        clear(self._news)
        if told:
            self._page.verticalScrollBar().setValue(0)
        for widget in told:
            self._news.addWidget(widget)
        self._news_box.setVisible(bool(told))

    def _selected(self, found: Any) -> None:
        """Show the chosen bundle, with its verdict where it was just verified; what is shown already stays."""
        verdict = self._verdict if found and self._verdict and self._verdict["bundle_id"] == found.id else None
        known = (found.folders, found.told, found.room, found.imported) if found else None
        shown = (known, verdict, self._job is None)
        if shown == self._shown:
            return
        self._shown = shown
        clear(self._bundle)
        if found is None:
            return
        view = BundleView(self.t, found, verdict or found.told, verdict is not None, verify=self.verify,
                          bring_in=self.bring_in, keys=self._to_keys, release=lambda: self._tabs.setCurrentIndex(0))
        idle = self._job is None
        view.verify.setEnabled(idle)
        view.bring_in.setEnabled(idle and (found.room is None or found.room.enough))
        self._bundle.addWidget(view)

    def _to_keys(self) -> None:
        self.desk.remember("setup")["part"] = "keys"
        self.desk.go.emit("setup")

    # -- verify and import ----------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Check the chosen bundle; the verdict is shown with it."""
        self._swap = None
        self._start(bundles.verify(self.engine, self.t, self.media()), self._keep_verdict, self._failed)

    def bring_in(self, overrides: frozenset[str] = frozenset()) -> None:
        """Check and copy the chosen bundle into the library."""
        if self._swap is None or self._swap.overrides != overrides:
            self._swap = None
        self._import(self._found.current(), overrides)

    def _import(self, found: bundles.FoundBundle, overrides: frozenset[str]) -> None:
        self._start(bundles.bring_in(self.engine, self.t, found.folders, overrides), lambda imported: self._imported(imported, found),
                    lambda problem: self._not_imported(problem, found, overrides))

    def _start(self, spec: Any, ended: Any, failed: Any) -> None:
        self._bar, self._numbers = ProgressLine(), label("", "small")
        self._phase = ElidedLabel(self.t(spec.title), "strong")
        stop = button(self.t("&Cancel"), self._cancel, icon="close")
        top = row(gap=theme.M)
        top.addWidget(self._phase, 1)
        top.addWidget(self._numbers)
        top.addWidget(stop)
        self._tell(Card("", top, self._bar))
        self._job, self._verdict = "", None
        self._selected(self._found.current())
        self.desk.run(self, spec, self._started, lambda value: self._over(ended, value),
                      lambda problem: self._over(failed, problem))

    def _started(self, job_id: str) -> None:
        self._job = job_id

    def _cancel(self) -> None:
        job_id = self._job
        if job_id:
            self.act(lambda: self.engine.jobs.cancel(job_id))

    def _off_the_list(self) -> None:
        """An import that waits for a drive has not failed, and is told of here: it leaves the list of jobs as soon as it has ended there."""
        jobs = self.desk.bridge.board.jobs
        gone = frozenset(job for job in self._waits if job in jobs and jobs[job].over)
        self._waits -= gone
        for job in gone:
            self.desk.bridge.board.forget(job)
        if gone:
            self.desk.bridge.jobs_changed.emit(gone)

    def _job_moved(self, ids: frozenset[str]) -> None:
        self._off_the_list()
        view = self.desk.bridge.board.jobs.get(self._job) if self._job in ids else None
        if view is None:
            return
        gauge = view.overall()
        self._bar.show_part(gauge.part)
        self._numbers.setText(amount(gauge, self.t))
        self._phase.setText(self.t(view.phase or view.title))
        if view.state == "cancelled":
            self._swap = None
            self._over()

    def _over(self, then: Any = None, value: Any = None) -> None:
        self._ended, self._job = self._job, None
        self._tell()
        if then is not None:
            then(value)
        self._selected(self._found.current())

    def _failed(self, problem: Any) -> None:
        self._tell(Banner("fail", *wording.problem(problem, self.desk.lang)), *self._listed(problem))

    def _listed(self, problem: Any) -> list[QWidget]:
        """All findings behind a refusal, where there are more than the one that it names."""
        told = getattr(problem, "params", {}).get("findings") or []
        return [Card(self.t("Findings"), findings(self.t, told))] if len(told) > 1 else []

    def _keep_verdict(self, verdict: dict[str, Any]) -> None:
        """Keep what a verification found, to be shown with the bundle: the verdict, who signed, and every finding."""
        self._verdict = verdict

    def _imported(self, imported: Any, found: bundles.FoundBundle) -> None:
        t, release = self.t, imported.release
        self._swap = None
        again = t("{copied} were copied; {kept} were here already.", copied=units.size(imported.bytes_copied),
                  kept=units.size(imported.bytes_reused)) if imported.bytes_reused else ""
        said = t("Every byte was checked while it was copied.")
        # The drive that is here now: of a bundle that came on several, the last.
        takes = next((one.path for one in self._places if one.writable and any(folder.is_relative_to(one.path) for folder in found.folders)), None)
        back = [] if takes is None else [button(t("Put the recei&pt on the drive"), lambda: self._put_receipt(release, takes), icon="export",
                                                hint=t("The signed record of this import, to send back with the drive."))]
        for one in back:
            one.setObjectName("receipt-back")
        self._tell(Banner("ok", t("{title} is in the library.", title=release.title), f"{said} {again}".strip(), *back,
                          button(t("Show &it"), lambda: self._tabs.setCurrentIndex(0), role="primary")))
        self.refresh()

    def _put_receipt(self, release: Any, drive: Path) -> None:
        t = self.t
        self.act(lambda: self.engine.library.write_receipt(release, drive),
                 lambda place: self._tell(Banner("ok", t("The receipt is in {path}.", path=place), t("Remove the drive safely before it is pulled."))))

    # -- what stands in the way of an import ----------------------------------------------------------------------

    def _not_imported(self, problem: Any, found: bundles.FoundBundle, overrides: frozenset[str]) -> None:
        code = getattr(problem, "code", "")
        if code in ("bundle.volume-missing", "bundle.media-removed"):
            self._wait_for_volume(code, found, overrides)
        elif isinstance(problem, VerdictError) and code in OVERRIDES:
            self._offer_override(problem, found, OVERRIDES[code])
        else:
            self._swap = None
            self._failed(problem)

    def _wait_for_volume(self, code: str, found: bundles.FoundBundle, overrides: frozenset[str]) -> None:
        self._waits.add(self._ended or "")
        self._off_the_list()
        lost, of = code == "bundle.media-removed", found.volumes[1]
        before = self._swap.copied if self._swap is not None and self._swap.bundle == found.id else frozenset()
        copied = before if lost else before | frozenset(found.here)
        wanted = frozenset(found.here) if lost else frozenset(range(1, of + 1)) - copied
        self._swap = Swap(found.id, of, copied, frozenset(found.here), wanted or frozenset(range(1, of + 1)), overrides, lost)
        self._show_swap(found.told.get("title") or found.id)
        self.refresh()

    def _show_swap(self, title: str) -> None:
        """Say which volume is wanted next; what was copied and checked is not copied again."""
        t, swap = self.t, self._swap
        head = t("The drive was removed while it was read.") if swap.lost else t(
            "The next drive of {title} is needed.", title=title)
        following = t("Plug it in again. The import goes on by itself; nothing is copied twice.") if swap.lost else t(
            "Remove this drive and plug in one of those that are wanted. The import goes on by itself; nothing is copied twice.")
        states = dict.fromkeys(swap.copied, "copied")
        stop = button(t("Stop &waiting"), self._stop_waiting, icon="close")
        stop.setObjectName("stop-waiting")
        top = row(gap=theme.M)
        top.addWidget(label(head, "heading", wrap=True), 1)
        top.addWidget(stop)
        self._tell(Card("", top, label(following, "muted", wrap=True), volumes(t, swap.of, states, swap.wanted)))

    def _stop_waiting(self) -> None:
        self._swap = None
        self._tell()
        self.refresh()

    def _look_for_the_next(self, found: list[bundles.FoundBundle]) -> None:
        swap = self._swap
        there = next((one for one in found if one.id == swap.bundle), None)
        if swap.may_go_on(there):
            self._found.select_key(swap.bundle)
            self._import(there, swap.overrides)

    def _offer_override(self, problem: VerdictError, found: bundles.FoundBundle, override: str) -> None:
        t = self.t
        message, remedy = wording.problem(problem, self.desk.lang)
        chosen = frozenset({override})
        ask = button(t("Bring it in a&ll the same…"), lambda: AskDialog(
            self, t, t("Bring it in all the same?"),
            f"{message} {t('It is recorded under your name, and a second person is asked where the policy wants one.')}",
            t("&Bring it in"), lambda: self._import(found, chosen), danger=True).open(), role="danger")
        ask.setObjectName("override")
        self._tell(Banner("fail", message, remedy, ask), *self._listed(problem))

    # -- building -------------------------------------------------------------------------------------------------

    def open_builder(self, dropped: tuple[str, ...] = ()) -> None:
        """Open the builder, with what was dropped as its components."""
        from ui.screens.builder import BuilderDialog

        BuilderDialog(self, dropped).open()

    def build_bundle(self, draft: bundles.Draft, out: Path, key: Any, volume_bytes: int | None,
                     parity: str | int | None = None) -> None:
        """Build what the builder describes, with its progress in sight."""
        self.to_drives()
        self._start(bundles.build(self.t, draft, out, key, volume_bytes, parity), lambda built: self._built(built, out),
                    self._not_built)

    def _built(self, built: Any, out: Path) -> None:
        t = self.t
        self.memory.pop("draft", None)
        said = t("Files: {files}, {size}; volumes: {volumes}. Remove the drive safely before it is pulled.",
                 files=f"{built.files:,}", size=units.size(built.bytes), volumes=len(built.folders))
        self._tell(Banner("ok", t("The bundle is written and was read back."), "\n".join([said, *built.warnings])))
        self.look_in(str(out))

    def _not_built(self, problem: Any) -> None:
        told = getattr(problem, "params", {}).get("findings") or []
        again = button(self.t("Back to the &builder"), self.open_builder, icon="undo")
        # What no bundle may hold can stay out; what does not fit together has to be mended.
        spare = [f["path"] for f in told if f["code"] == "content-refused"]
        if spare and len(spare) == len(told) and "draft" in self.memory:
            again = button(self.t("Leave these files &out…"), lambda: self._build_without(spare), icon="undo")
            again.setObjectName("leave-out")
        self._tell(Banner("fail", *wording.problem(problem, self.desk.lang), again), *self._listed(problem))

    def _build_without(self, paths: list[str]) -> None:
        kept = self.memory["draft"]
        kept["draft"] = bundles.without(kept["draft"], paths)
        self.open_builder()

    def _make_practice(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self.t("Choose a folder to stand for the drive"),
                                                str(Path.home()))
        if path:
            self.make_practice(path)

    def make_practice(self, path: str) -> None:
        """Build the practice bundle below ``path`` and look at it there."""
        self.desk.run(self, tasks.practice_bundle(self.engine, self.t, Path(path)), ended=lambda _r: self.look_in(path))
