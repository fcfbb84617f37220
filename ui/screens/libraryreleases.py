"""What the site has accepted: releases, what is in each, hashing them again, their receipts, and removing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QFileDialog, QStackedWidget, QWidget

from console import units
from ui import theme
from ui.models.rows import Column
from ui.screens import bundles, wording
from ui.screens.librarybundle import components, findings
from ui.widgets.basic import Banner, Card, ElidedLabel, EmptyState, Page, button, clear, column, facts, holder, row
from ui.widgets.dialogs import AskDialog
from ui.widgets.table import Table


class ReleasesTab(QStackedWidget):
    """The library's releases; ``screen`` is the library screen that it is part of."""

    def __init__(self, screen: Any):
        super().__init__()
        self._screen, self._engine, t = screen, screen.engine, screen.t
        self._about = ""
        self._shown: str | None = None
        self.table = Table([
            Column(t("Title"), lambda r: r.title),
            Column(t("Release"), lambda r: wording.short_id(r.release_id), width=180, mono=True),
            Column(t("Brought in"), lambda r: wording.when(r.imported_at), width=170),
            Column(t("Files"), lambda r: f"{len(r.files):,}", number=True, width=80, sort=lambda r: len(r.files)),
            Column(t("Size"), lambda r: units.size(r.bytes), number=True, width=100, sort=lambda r: r.bytes),
        ], t("Releases in the library"), key=lambda r: r.release_id)
        self.table.chosen.connect(self._show)
        self._card, self._news = Card("", gap=theme.L), column(gap=theme.M)
        look = button(t("&Look on a drive"), screen.to_drives, role="primary", icon="drive")
        empty = Page(Card("", EmptyState(
            "library", t("The library is empty"),
            t("Plug in the drive that holds a bundle. Nothing is accepted before every byte was checked against a "
              "signature of a key that this site trusts."), look)))
        self._news_box = holder(self._news)
        self._news_box.hide()
        self._waiting = column(gap=theme.M)
        self._waiting_box = holder(self._waiting)
        self._waiting_box.hide()
        full = Page(self._waiting_box, self.table, self._news_box, self._card)
        for page in (empty, full):
            page.body.setContentsMargins(0, theme.L, 0, theme.XL)
            page.add(None)
            self.addWidget(page)

    def show_releases(self, releases: list[Any], unfinished: list[Any]) -> None:
        """Show what is in the library now, and the imports that wait for their drives."""
        self.setCurrentIndex(1 if releases or unfinished else 0)
        clear(self._waiting)
        for one in unfinished:
            self._waiting.addWidget(self._unfinished(one))
        self._waiting_box.setVisible(bool(unfinished))
        self.table.setVisible(bool(releases))
        self.table.show_records(releases, select_first=True)
        self.table.fit_rows(6)
        self._show(self.table.current())

    def _unfinished(self, one: Any) -> QWidget:
        """An import that was cut off: how to go on with it, or be rid of what it has copied."""
        t, name = self._screen.t, one.title or wording.short_id(one.release_id)
        drop = button(t("Dis&card it…"), lambda: AskDialog(
            self, t, t("Discard what was copied of {title}?", title=name),
            t("{size} are freed. The bundle can be brought in again from its drives.", size=units.size(one.bytes)), t("&Discard"),
            lambda: self._screen.act(lambda: self._engine.library.discard(one.release_id), lambda _r: self._screen.refresh()),
            danger=True).open(), icon="trash")
        drop.setObjectName("discard")
        return Banner("warn", t("{title} was not brought in to its end.", title=name),
                      t("{size} of it are kept. Plug its drive in and bring it in again: nothing is copied twice.", size=units.size(one.bytes)), drop)

    def _show(self, release: Any) -> None:
        t = self._screen.t
        identity = release.release_id if release is not None else ""
        if identity == self._shown:
            return  # a release never changes
        self._shown = identity
        clear(self._card.body)
        self._card.setVisible(release is not None)
        if release is None:
            return
        if self._about != release.release_id:
            self._tell("")
        top = row(gap=theme.S)
        top.addWidget(ElidedLabel(release.title, "heading"), 1)
        top.addWidget(button(t("Pu&sh it…"), lambda: self._take_to("push"), icon="servers",
                             hint=t("Onto servers, verified there, without starting anything.")))
        top.addWidget(button(t("&Deploy it…"), lambda: self._take_to("new"), role="primary", icon="deploy"))
        self._card.add(top)
        self._card.add(facts([
            (t("Release"), wording.short_id(release.release_id)), (t("Bundle"), release.bundle_id),
            (t("Channel"), t("{channel}, number {number}", channel=release.channel, number=release.sequence)),
            (t("Signed by"), ", ".join(s["name"] for s in release.signers))], mono=(t("Release"), t("Bundle"))))
        self._card.add(components(t, [vars(part) for part in release.components]))
        check = button(t("Chec&k it again"), self.recheck, icon="check",
                       hint=t("Hashes every file of it in the library again; changes nothing."))
        check.setObjectName("recheck")
        self._card.add(row(check, button(t("Save the r&eceipt…"), self._save_receipt, icon="export",
                                         hint=t("The signed record of this import, to send back with the drive.")),
                           None, button(t("&Remove from the library…"), self._ask_remove, role="danger", icon="trash")))

    def _tell(self, about: str, *told: QWidget) -> None:
        """Show what there is to tell of the release ``about``, until another one is chosen."""
        clear(self._news)
        self._about = about
        for widget in told:
            self._news.addWidget(widget)
        self._news_box.setVisible(bool(told))

    def _take_to(self, part: str) -> None:
        """To a part of the deploy screen, with the chosen release."""
        release, desk = self.table.current(), self._screen.desk
        if release is not None:
            desk.remember("deploy" if part == "new" else part)["release"] = release.release_id
            desk.remember("deploy")["part"] = part
            desk.go.emit("deploy")

    def recheck(self) -> None:
        """Hash the chosen release's files again; what was found is said above it."""
        release = self.table.current()
        self._screen.desk.run(self, bundles.recheck(self._engine, self._screen.t, release),
                              ended=lambda found: self._rechecked(release, found))

    def _rechecked(self, release: Any, found: list[dict[str, str]]) -> None:
        t = self._screen.t
        if found:
            words = Banner("fail", t("Missing or damaged files of {title}: {count}", count=len(found), title=release.title),
                           t("Bring the bundle in again from its drive; only what is damaged is copied."))
            self._tell(release.release_id, words, findings(t, found))
        else:
            self._tell(release.release_id, Banner("ok", t("{title}: every file is what it was.", title=release.title)))

    def _save_receipt(self) -> None:
        t, release = self._screen.t, self.table.current()
        proposed = Path.home() / f"receipt-{release.release_id[:16]}.dsse.json"
        path, _kind = QFileDialog.getSaveFileName(self, t("Save the receipt"), str(proposed))
        if path:
            self.save_receipt(release, path)

    def save_receipt(self, release: Any, path: str) -> None:
        """Write the import's signed receipt to ``path``."""
        t = self._screen.t

        self._screen.act(lambda: bundles.write_receipt(self._engine, release, Path(path)),
                         lambda _done: self._tell(release.release_id, Banner("ok", t("The receipt is in {path}.", path=path))))

    def _ask_remove(self) -> None:
        t, release = self._screen.t, self.table.current()
        if release is not None:
            AskDialog(self, t, t("Remove {title}?", title=release.title),
                      t("Its files are removed from this computer, those that another release needs aside. What runs on "
                        "servers goes on running."), t("&Remove"),
                      lambda: self._screen.act(lambda: self._engine.library.remove(release.release_id),
                                               lambda _r: self._screen.refresh()), danger=True).open()
