"""Push: bring a release onto servers, verified there, without starting anything; hash again what lies there."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLineEdit, QStackedWidget, QWidget

from console import units
from console.errors import InputError
from console.i18n import N_
from console.push.control import Window
from ui import theme
from ui.models.rows import Column
from ui.screens import tasks, wording
from ui.screens.jobrun import JobRun
from ui.screens.librarybundle import findings
from ui.screens.serverdialogs import combo
from ui.widgets.basic import Banner, Card, EmptyState, Page, button, clear, column, field, holder, label, row
from ui.widgets.picker import Picker
from ui.widgets.ratebox import RateBox
from ui.widgets.table import Table

DEGREES = (("received", N_("Received: hashed on arrival")), ("stored", N_("Stored: read back from the file")),
           ("media", N_("On the medium: read back from the disk itself")))
DEGREE_WORDS = {"received": N_("received"), "stored": N_("stored"), "media": N_("on the medium"), "": "–"}
PRIORITIES = (("low", N_("Low: waits for other pushes")), ("normal", N_("Normal")), ("high", N_("High: others wait")))
RELEASE, SERVERS, RUNNING = "release", "servers", "push-running"
RANK = tuple(name for name, _caption in DEGREES)


class PushTab(QStackedWidget):
    """Pushes and checks at rest; ``screen`` is the deploy screen that it is part of."""

    def __init__(self, screen: Any):
        super().__init__()
        self._screen, self.engine, self.desk, self.t, self.act = screen, screen.engine, screen.desk, screen.t, screen.act
        self.memory = self.desk.remember("push")
        self._run: JobRun | None = None
        self._releases: dict[str, Any] = {}
        self._least = ""
        self._missing = Page()
        self._missing.body.setContentsMargins(0, theme.L, 0, theme.XL)
        self._run_box = column(gap=theme.L)
        self._page = Page(self._form(), holder(self._run_box))
        self._page.body.setContentsMargins(0, theme.L, 0, theme.XL)
        self._page.add(None)
        for page in (self._missing, self._page):
            self.addWidget(page)
        self._run = JobRun.take_up(self, RUNNING)
        if self._run is not None:
            self._show_run(self._run)

    # -- the form -------------------------------------------------------------------------------------------------

    def _form(self) -> Card:
        t = self.t
        self.release = QComboBox()
        self.release.setMinimumContentsLength(18)
        self._size = label("", "small")
        self.release.currentIndexChanged.connect(self._release_chosen)
        self.servers = Picker(t, t("Servers"), None)
        self.servers.changed.connect(self._judge)
        self.degree = combo(DEGREES, t)
        self.priority = combo(PRIORITIES, t, "normal")
        self.rate = RateBox(t)
        self.hours = QLineEdit()
        self.hours.setPlaceholderText("20:00-06:00")
        self.relay = QCheckBox(t("Servers hand the files on to each other"))
        self.hours.textChanged.connect(self._judge)
        self.rate.editTextChanged.connect(self._judge)
        self.verify = button(t("&Verify what is there"), self.verify_there, icon="check",
                             hint=t("Sends nothing: the servers hash the release's files again where they lie, at low priority."))
        self.verify.setObjectName("verify-there")
        self.push = button(t("&Push"), self.push_it, role="primary", icon="deploy")
        self.push.setObjectName("push")
        self._wrong = label("", "fail", wrap=True)
        left = QGridLayout()
        left.setHorizontalSpacing(theme.L)
        left.setVerticalSpacing(theme.M)
        left.addLayout(column(field(t("&Release"), self.release), self._size, gap=theme.XS), 0, 0, 1, 2)
        for place, entry in enumerate((field(t("Counts as verified &when"), self.degree),
                                       field(t("Most speed, &all servers together"), self.rate),
                                       field(t("&Only at these hours"), self.hours), field(t("Prior&ity"), self.priority))):
            left.addLayout(entry, 1 + place // 2, place % 2)
        left.addWidget(self.relay, 3, 0, 1, 2)
        for place in (0, 1):
            left.setColumnStretch(place, 1)
        whole = QGridLayout()
        whole.setHorizontalSpacing(theme.XL)
        whole.addLayout(left, 0, 0)
        right = column(label(t("Servers"), "strong"), gap=theme.XS)
        right.addWidget(self.servers, 1)
        whole.addLayout(right, 0, 1)
        whole.setColumnStretch(0, 3)
        whole.setColumnStretch(1, 2)
        foot = row(gap=theme.M)
        foot.addWidget(self._wrong, 1)
        foot.addWidget(self.verify)
        foot.addWidget(self.push)
        return Card(t("What and where"), whole, foot)

    def show_data(self, releases: list[Any], servers: list[Any], defaults: dict[str, Any]) -> None:
        """Offer what there is now; what was chosen before stays chosen."""
        self._releases = {r.release_id: r for r in releases}
        trusted = [r.name for r in servers if r.host_keys]
        if not releases or not trusted:
            self._show_missing(bool(releases))
            return
        self.setCurrentIndex(1)
        self._screen.fill(self.release, [(r.title, r.release_id) for r in releases], self.memory.pop(RELEASE, None))
        self.servers.show_names([(name, "") for name in trusted], self.memory.pop(SERVERS, None))
        if defaults["least"] != self._least:
            self._show_defaults(defaults)
        self._judge()

    def _show_defaults(self, defaults: dict[str, Any]) -> None:
        """What the site's policy and settings say; a degree below the policy's is not offered."""
        first, self._least = not self._least, defaults["least"]
        for place, name in enumerate(RANK):
            self.degree.model().item(place).setEnabled(RANK.index(name) >= RANK.index(self._least))
        wanted = max(defaults["usual"] if first else self.degree.currentData(), self._least, key=RANK.index)
        self.degree.setCurrentIndex(RANK.index(wanted))
        self.relay.setEnabled(defaults["relay"])
        self.relay.setChecked(defaults["relay"])
        self.relay.setToolTip("" if defaults["relay"] else self.t("The site's policy or settings do not allow it."))
        if first:
            self.rate.show_rate(defaults["limit"])

    def _show_missing(self, releases: bool) -> None:
        t = self.t
        clear(self._missing.body)
        where, words = ("site", (N_("There is no server to push to"), N_("Add servers and confirm their host keys first."),
                                 N_("To the &servers"))) if releases else \
                       ("library", (N_("There is no release to push"), N_("Bring a bundle into the library first."),
                                    N_("To the &library")))  # fmt: skip
        title, text, go = (t(word) for word in words)
        self._missing.add(Card("", EmptyState("servers" if releases else "library", title, text,
                                              button(go, lambda: self.desk.go.emit(where), role="primary", icon="arrow"))))
        self._missing.add(None)
        self.setCurrentIndex(0)

    def _release_chosen(self) -> None:
        release = self._releases.get(self.release.currentData() or "")
        self._size.setText(self.t("{files} files, {size}", files=f"{len(release.files):,}", size=units.size(release.bytes))
                           if release is not None else "")

    def _judge(self) -> None:
        """What stands in the way is said as it is typed."""
        t, wrong = self.t, ""
        if self.rate.bytes_per_s() is None:
            wrong = t("That is no speed; write it as 20MiB or 25MB, for each second.")
        try:
            if self.hours.text().strip():
                Window.parse(self.hours.text())
        except InputError as problem:
            wrong = f"{problem.message(self.desk.lang)} {problem.remedy(self.desk.lang)}"
        self._wrong.setText(wrong)
        busy = self._run is not None and self._run.job is not None
        ready = bool(self.servers.names()) and self.release.currentData() is not None and not busy
        self.push.setEnabled(ready and not wrong)
        self.verify.setEnabled(ready)

    # -- doing it -------------------------------------------------------------------------------------------------

    def push_it(self) -> None:
        """Push the chosen release to the chosen servers."""
        release, names = self._releases[self.release.currentData()], self.servers.names()
        options = {"degree": self.degree.currentData(), "relay": "auto" if self.relay.isChecked() else "off",
                   "limit_bytes_per_s": self.rate.bytes_per_s(), "priority": self.priority.currentData(),
                   "window": self.hours.text().strip() or None}  # fmt: skip
        self._start(tasks.push(self.engine, self.t, release, names, options), names, self._pushed)

    def verify_there(self) -> None:
        """Have the chosen servers hash the chosen release again."""
        release, names = self._releases[self.release.currentData()], self.servers.names()
        self._start(tasks.verify_on_servers(self.engine, self.t, release, names), names, self._verified)

    def _start(self, spec: Any, names: tuple[str, ...], ended: Any) -> None:
        clear(self._run_box)
        self._run = JobRun(self, RUNNING, spec.title, names)
        self._run.job = ""
        self._run.show_rate(self.rate.bytes_per_s() or 0)
        self._show_run(self._run)
        self._judge()
        self.desk.run(self, spec, self._run.follow, lambda result: self._over(ended, result), lambda problem: self._over(self._failed, problem))

    def _show_run(self, run: JobRun) -> None:
        run.stopped.connect(lambda: self._over(self._stopped))
        run.watched.connect(self._over)
        run.grew.connect(lambda: self._bring(run))
        self._run_box.addWidget(run)
        self._bring(run)

    def _bring(self, widget: QWidget) -> None:
        """Scroll so that ``widget`` is in sight, once it has its place."""
        QTimer.singleShot(80, widget, lambda: self._page.ensureWidgetVisible(widget, 0, theme.XL))

    def _over(self, then: Any = None, *found: Any) -> None:
        self._run.over()
        self._run.job = None
        self._judge()
        if then is not None:
            then(*found)

    def _stopped(self) -> None:
        self._run_box.addWidget(Banner("info", self.t("Stopped."),
                                       self.t("Push again to the same servers: it goes on from the last verified chunk.")))

    def _failed(self, problem: Any) -> None:
        self._run_box.addWidget(Banner("fail", *wording.problem(problem, self.desk.lang)))

    def _pushed(self, result: dict[str, Any]) -> None:
        t, rows = self.t, result["servers"]
        good = [one for one in rows if one["outcome"] == "verified"]
        table = Table([
            Column(t("Server"), lambda s: s["name"]),
            Column(t("Outcome"), lambda s: t(wording.outcome(s["outcome"])[1]), tone=lambda s: wording.outcome(s["outcome"])[0], width=104),
            Column(t("Verified"), lambda s: t(DEGREE_WORDS[s["degree"]]) if s["outcome"] == "verified" else "–", width=118),
            Column(t("Sent"), lambda s: units.size(s["bytes_sent"]), number=True, width=86, sort=lambda s: s["bytes_sent"]),
            Column(t("Was there"), lambda s: units.size(s["bytes_reused"] + s["bytes_resumed"]), number=True, width=92,
                   sort=lambda s: s["bytes_reused"] + s["bytes_resumed"]),
            Column(t("Fed by"), lambda s: t("the console") if s["via"] == "console" else s["via"].removeprefix("relay:"), width=110),
            Column(t("Time"), lambda s: units.duration(s["seconds"]), number=True, width=70, sort=lambda s: s["seconds"]),
        ], t("What became of each server"), key=lambda s: s["name"])  # fmt: skip
        self._tell(rows, table, good, t("{good} of {all} servers have the release, verified.", good=len(good), all=len(rows)))

    def _verified(self, result: dict[str, Any]) -> None:
        t, rows = self.t, result["servers"]
        good = [one for one in rows if one["verdict"] == "verified"]
        table = Table([
            Column(t("Server"), lambda s: s["name"]),
            Column(t("Verdict"), lambda s: t(wording.outcome(s["verdict"])[1]), tone=lambda s: wording.outcome(s["verdict"])[0], width=130),
            Column(t("Verified"), lambda s: t(DEGREE_WORDS.get(s["degree"] or "", "–")), width=160),
            Column(t("Findings"), lambda s: f"{len(s['findings']):,}", number=True, width=90, sort=lambda s: len(s["findings"])),
        ], t("What became of each server"), key=lambda s: s["name"])  # fmt: skip
        self._tell(rows, table, good, t("{good} of {all} servers hold exactly the signed files.", good=len(good), all=len(rows)))
        found = [f | {"path": f"{one['name']}: {f['path']}"} for one in rows for f in one["findings"]]
        if found:
            self._run_box.addWidget(Banner("fail", t("Files are not what was signed."), t("Push again; only what is wrong is sent.")))
            self._run_box.addWidget(findings(t, found))

    def _tell(self, rows: list[dict[str, Any]], table: Table, good: list[Any], words: str) -> None:
        table.show_records(rows)
        table.fit_rows(8)
        errors = "\n".join(f"{one['name']}: {' '.join(wording.problem(one['error'], self.desk.lang))}" for one in rows if one["error"])
        self._run_box.addWidget(Banner("ok" if len(good) == len(rows) else "warn", words, errors))
        self._run_box.addWidget(table)
        self._bring(table)
