"""Prove it: the audit records, their verification, the export for the auditor, and what was cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QLineEdit, QSplitter, QTabWidget, QWidget

from console.errors import shown
from console.i18n import N_
from ui import theme
from ui.models.rows import Column
from ui.screens import tasks, wording
from ui.screens.base import Screen
from ui.widgets.basic import (
    Badge,
    Banner,
    Card,
    EmptyState,
    Page,
    button,
    clear,
    column,
    copy_text,
    facts,
    field,
    holder,
    icon_button,
    label,
    row,
)
from ui.widgets.evidence import EvidencePane
from ui.widgets.table import Table

SHOWN_RECORDS = 1000


class ProofScreen(Screen):
    """The audit log, its exports, and interrupted jobs."""

    id, icon = "proof", "proof"
    title, lead = N_("Proof"), N_("What was done, by whom and on which hardware, and the record that proves it.")
    kinds = frozenset({"audit", "jobs"})

    def build(self) -> None:
        t = self.t
        verify = button(t("&Verify the log"), self.verify, icon="check")
        verify.setObjectName("verify-log")
        export = button(t("&Export…"), self._choose_export, role="primary", icon="export")
        self.actions.addWidget(verify)
        self.actions.addWidget(export)
        self._verdict = column(gap=theme.S, margins=(0, 0, 0, 0))
        self._tabs = QTabWidget(documentMode=True)
        self._tabs.setAccessibleName(t(self.title))
        self._tabs.tabBar().setDrawBase(False)
        self._tabs.addTab(self._records_tab(), t("Records"))
        self._tabs.addTab(self._check_tab(), t("Check an export"))
        self._tabs.addTab(self._jobs_tab(), t("Interrupted jobs"))
        self._tabs.setCurrentIndex(self.memory.get("tab", 0))
        self._tabs.currentChanged.connect(lambda place: self.memory.__setitem__("tab", place))
        body = column(self._verdict, self._tabs, gap=theme.S, margins=(theme.XL, 0, theme.XL, 0))
        body.setStretch(1, 1)
        self.put(holder(body))

    def _records_tab(self) -> QWidget:
        t = self.t
        self._filter = QLineEdit(placeholderText=t("Filter by event, person, object, outcome…"),
                                 clearButtonEnabled=True)
        self._filter.setAccessibleName(t("Filter"))
        self._count = label("", "muted")
        self._records = Table([
            Column(t("No."), lambda r: str(r["seq"]), number=True, width=64, sort=lambda r: r["seq"]),
            Column(t("When"), lambda r: wording.when(r["ts"]), width=168),
            Column(t("Event"), lambda r: t(wording.EVENTS.get(r["event"], r["event"])), width=160),
            Column(t("Outcome"), lambda r: t(wording.outcome(r["outcome"])[1]),
                   tone=lambda r: wording.outcome(r["outcome"])[0],
                   width=112),
            Column(t("By"), lambda r: str(r["actor"]["id"]), width=100),
            Column(t("Object"), lambda r: _object(r, t))], t("Audit records"), key=lambda r: r["seq"])
        self._filter.textChanged.connect(self._filtered)
        self._records.chosen.connect(self._show_record)
        self._record = EvidencePane(t)
        split = QSplitter(Qt.Orientation.Vertical, childrenCollapsible=False)
        split.setHandleWidth(theme.S)
        split.addWidget(self._records)
        split.addWidget(self._record)
        split.setSizes([340, 190])
        tools = row(self._filter, self._count, gap=theme.M)
        tools.setStretch(0, 1)
        body = column(tools, split, gap=theme.S, margins=(0, theme.M, 0, theme.L))
        body.setStretch(1, 1)
        return holder(body)

    def _check_tab(self) -> QWidget:
        t = self.t
        self._folder, self._key = QLineEdit(), QLineEdit()
        browse = button(t("&Choose…"), self._choose_folder, icon="folder")
        line = row(self._folder, browse)
        line.setStretch(0, 1)
        self._key.setPlaceholderText(t("The verifier line, as it was written down when the log began"))
        check = button(t("C&heck it"), self.check_export, role="primary", icon="check")
        check.setObjectName("check-export")
        self._checked = column(gap=theme.M)
        page = Page(Card(t("Check an exported record"),
                         label(t("Works for any export, of this site or another, such as one that an auditor "
                                 "brings back."), "muted",
                               wrap=True),
                         field(t("&Folder of the export"), holder(line)), field(t("&Key of the log"), self._key,
                                                                              t("Get it from the site, not from the "
                                                                                "export.")),
                         row(None, check)), holder(self._checked), width=980)
        page.body.setContentsMargins(0, theme.L, 0, theme.XL)
        page.add(None)
        return page

    def _jobs_tab(self) -> QWidget:
        self._jobs = Page()
        self._jobs.body.setContentsMargins(0, theme.L, 0, theme.XL)
        return self._jobs

    # -- data -----------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        audit = self.engine.audit
        return {"records": audit.list(limit=SHOWN_RECORDS), "size": audit.size, "key": audit.verifier_line(),
                "interrupted": self.engine.jobs.interrupted(), "open": self.engine.deployments.interrupted()}

    def show_data(self, data: dict[str, Any]) -> None:
        self._records.show_records(data["records"], select_first=True)
        self._size = data["size"]
        if not self._key.text():
            self._key.setText(data["key"])
        self._filtered()
        self._show_jobs(data["interrupted"], data["open"])
        open_jobs = len(data["interrupted"])
        self._tabs.setTabText(2, self.t("Interrupted jobs ({count})", count=open_jobs) if open_jobs
                              else self.t("Interrupted jobs"))

    def _filtered(self) -> None:
        self._records.filter.look_for(self._filter.text())
        self._count.setText(self.t("{shown} of {all} records", shown=self._records.filter.rowCount(),
                                   all=getattr(self, "_size", 0)))

    def _show_record(self, record: dict[str, Any] | None) -> None:
        if record is not None:
            text = json.dumps(record, indent=2, ensure_ascii=False, sort_keys=False)
            self._record.show_text(self.t("Record {number}", number=record["seq"]), text)

    # -- verify and export ----------------------------------------------------------------------------------------

    def verify(self) -> None:
        """Check every record, the chain and every signed head."""
        self.act(self.engine.audit.verify, self._show_verdict)

    def _show_verdict(self, document: dict[str, Any]) -> None:
        clear(self._verdict)
        self._verdict.addWidget(self._verdict_card(document, self.t("The log of this site")))

    def _verdict_card(self, document: dict[str, Any], heading: str) -> QWidget:
        t = self.t
        tone, word = wording.TRUST_VERDICTS.get(document["verdict"], ("unknown", document["verdict"]))
        card = Card("", row(label(heading, "heading"), Badge(tone, t(word)), None))
        card.add(label(t("{records} records in an unbroken chain.", records=document.get("records", 0))
                       if document["verdict"] == "verified" else
                       t("The record is not whole or not what was signed. Change nothing, and tell the auditor."),
                       wrap=True))
        findings = document.get("findings") or []
        if findings:
            table = Table([Column(t("Finding"), lambda f: f["code"], width=150, mono=True),
                           Column(t("Record"), lambda f: str(f.get("record") or f.get("path") or "–"), number=True,
                                  width=90),
                           Column(t("What it says"), lambda f: f["message"])], t("Findings"))
            table.show_records(findings)
            table.fit_rows(5)
            card.add(table)
        return card

    def _choose_export(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self.t("Choose the drive or folder for the export"),
                                                str(Path.home()))
        if path:
            self.export(path)

    def export(self, path: str) -> None:
        """Write the signed export below ``path``."""
        self.act(lambda: tasks.export_audit(self.engine, Path(path)), self._exported)

    def _exported(self, answer: dict[str, Any]) -> None:
        t = self.t
        folder = str(answer["folder"])
        clear(self._verdict)
        check = button(t("&Check it now"), lambda: self._check_now(folder))
        check.setObjectName("check-now")
        self._verdict.addWidget(Banner("ok", t("The record was exported to {folder}.", folder=folder),
                                       t("Hand it over with the key of the log, which has to travel another way."),
                                       check,
                                       icon_button("copy", t("Copy the key of the log"),
                                                   lambda: copy_text(self._key.text()))))
        self._folder.setText(folder)

    def _check_now(self, folder: str) -> None:
        self._folder.setText(folder)
        self._tabs.setCurrentIndex(1)
        self.check_export()

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self.t("Choose the folder of the export"), str(Path.home()))
        if path:
            self._folder.setText(path)

    def check_export(self) -> None:
        """Check the export in the folder given against the key given."""
        folder, key = Path(self._folder.text().strip()), self._key.text().strip()
        clear(self._checked)

        def failed(problem: Exception) -> None:
            self._checked.addWidget(Banner("fail", *wording.problem(problem, self.desk.lang)))

        self.act(lambda: tasks.check_export(folder, key),
                 lambda document: self._checked.addWidget(self._verdict_card(document, str(shown(folder.name)))),
                 failed)

    # -- interrupted jobs -----------------------------------------------------------------------------------------

    def _show_jobs(self, jobs: list[dict[str, Any]], deployments: list[dict[str, Any]]) -> None:
        t = self.t
        clear(self._jobs.body)
        for deployment in deployments:
            go = button(t("To the &deployment"), lambda name=deployment["id"]: self._to_deployment(name),
                        role="primary", icon="arrow")
            self._jobs.add(Banner("warn",
                                  t("{deployment} was cut off while it was applied.", deployment=deployment["id"]),
                                  t("Go on from the last finished step, or roll it back."), go))
        for job in jobs:
            self._jobs.add(self._job_card(job))
        if not jobs and not deployments:
            self._jobs.add(Card("", EmptyState("check", t("Nothing was cut off"),
                                               t("When Sealift is killed in the middle of a job, the next start says "
                                                 "so here."))))
        self._jobs.add(None)

    def _job_card(self, job: dict[str, Any]) -> QWidget:
        t = self.t
        away = button(t("&Dismiss"),
                      lambda: self.act(lambda: self.engine.jobs.dismiss(job["id"]), lambda _r: self.refresh()))
        return Card("", row(label(wording.job_title(job["title"], t), "heading"), Badge("warn", t("Interrupted")), None,
                            away),
                    label(t(wording.HOW_TO_GO_ON.get(job["kind"].split(".")[0], N_(
                        "Start it again: what was finished is found and not done twice."))), "muted", wrap=True),
                    facts([(t("Begun"), wording.when(job["submitted_at"])), (t("By"), job["actor"]),
                           (t("Servers"), ", ".join(job["servers"]) or "–")]))

    def _to_deployment(self, name: str) -> None:
        self.desk.remember("deploy").update(tab=1, deployment=name)
        self.desk.go.emit("deploy")


def _object(record: dict[str, Any], say: Any) -> str:
    about = record.get("object") or {}
    kind, identity = str(about.get("kind") or ""), str(about.get("id") or "")
    if len(identity) == 64 and not set(identity) - set("0123456789abcdef"):
        identity = str((record.get("detail") or {}).get("title") or wording.short_id(identity))
    return " ".join(part for part in (say(wording.OBJECTS.get(kind, kind)), identity) if part) or "–"
