"""Ask: will it run? How the model fits each server's devices, and what every check found, with evidence and remedy."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QLineEdit,
    QSpinBox,
    QSplitter,
    QStackedWidget,
    QWidget,
)

from console import units
from console.i18n import N_
from ui import theme
from ui.models.rows import Column
from ui.screens import tasks, wording
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
from ui.widgets.evidence import EvidencePane
from ui.widgets.gauges import Legend, Slice, StackedBar
from ui.widgets.picker import Picker
from ui.widgets.table import Table
from ui.widgets.tabs import Tabs

CONTEXTS = (4096, 8192, 16384, 32768, 65536, 131072, 262144, 1048576)
ORDER = {"fail": 0, "unknown": 1, "warn": 2, "info": 3, "pass": 4}


class ReadinessScreen(Screen):
    """A question about a model and some servers, and its answers."""

    id, icon = "readiness", "readiness"
    title = N_("Readiness")
    lead = N_("Ask whether a model will run here. What is not known is said to be unknown, and never counts as a pass.")
    kinds = frozenset({"servers", "library"})

    def build(self) -> None:
        t = self.t
        self._results: list[Any] = []
        self._pages = QStackedWidget()
        nobody = Page(Card("", EmptyState(
            "readiness", t("No server to ask about"),
            t("Add servers, confirm their host keys, and ask them what they are."),
            button(t("To the &servers"), lambda: self.desk.go.emit("site"), role="primary", icon="arrow"))))
        nobody.add(None)
        self._pages.addWidget(nobody)
        self._tabs = Tabs(t("Results"), ((t("Does it fit?"), self._fit_tab()), (t("Checks"), self._checks_tab())))
        self._tabs.setCurrentIndex(self.memory.get("tab", 0))
        self._tabs.currentChanged.connect(lambda place: self.memory.__setitem__("tab", place))
        page = Page(self._question(), gap=theme.M)
        page.add(self._tabs, 1)
        self._pages.addWidget(page)
        self.put(self._pages)

    def _question(self) -> QWidget:
        t = self.t
        self._model = QComboBox()
        self._model.setMinimumContentsLength(18)
        self._context = QComboBox()
        for tokens in CONTEXTS:
            self._context.addItem(f"{tokens:,}", tokens)
        self._context.setCurrentIndex(CONTEXTS.index(32768))
        self._concurrency = QSpinBox(minimum=1, maximum=100_000, value=16)
        self._servers = Picker(t, t("Servers"), None)
        self._servers.changed.connect(self._changed)
        self._release, self._playbook = QComboBox(), QComboBox()
        self._go = button(t("&Check"), self.check, role="primary", icon="readiness")
        self._go.setObjectName("check")
        asked, brought = row(gap=theme.L), row(gap=theme.L)
        for line, first, second in ((asked, field(t("Conte&xt length (tokens)"), self._context),
                                     field(t("Requests at the same &time"), self._concurrency)),
                                    (brought, field(t("Release to &bring"), self._release), field(t("&Playbook"), self._playbook))):
            line.addLayout(first, 1)
            line.addLayout(second, 1)
        left = column(field(t("&Model"), self._model), asked, brought, gap=theme.S)
        right = column(label(t("Servers"), "strong"), gap=theme.XS)
        right.addWidget(self._servers, 1)
        right.addSpacing(theme.S)
        right.addLayout(row(None, self._go))
        question = row(gap=theme.XL)
        question.addLayout(left, 6)
        question.addLayout(right, 4)
        for box in (self._context, self._release, self._playbook):
            box.setMinimumContentsLength(8)
        return Card("", question)

    def _fit_tab(self) -> QWidget:
        self._fits = column(gap=theme.M)
        return holder(self._fits)

    def _checks_tab(self) -> QWidget:
        t = self.t
        self._filter = QLineEdit(placeholderText=t("Filter…"), clearButtonEnabled=True)
        self._filter.setAccessibleName(t("Filter"))
        self._counts = holder(row(None))
        self._checks = Table([
            Column(t("Verdict"), lambda c: t(wording.VERDICTS[c.verdict][1]),
                   tone=lambda c: wording.VERDICTS[c.verdict][0],
                   sort=lambda c: ORDER[c.verdict], width=110),
            Column(t("Server"), lambda c: c.server, width=140),
            Column(t("Check"), lambda c: t(c.title), width=220),
            Column(t("Reason"), lambda c: wording.reason(c, self.desk.lang))], t("Checks"),
                             key=lambda c: (c.server, c.check))
        self._filter.textChanged.connect(self._checks.filter.look_for)
        self._checks.chosen.connect(self._show_check)
        self._remedy = column(gap=theme.XS)
        self._facts_box = QComboBox()
        self._facts_box.setMinimumContentsLength(14)
        self._facts_box.setAccessibleName(t("Fact"))
        self._facts_box.currentIndexChanged.connect(self._show_fact)
        self._evidence = EvidencePane(t)
        lower = Card("", holder(self._remedy), role="card", stretch=True, gap=theme.S)
        lower.add(row(label(t("Evidence"), "strong"), self._facts_box, None))
        lower.add(self._evidence, 1)
        split = QSplitter(Qt.Orientation.Vertical, childrenCollapsible=False)
        split.setHandleWidth(theme.S)
        split.addWidget(self._checks)
        split.addWidget(lower)
        split.setSizes([240, 260])
        self._checks.setMinimumHeight(110)
        tools = row(self._filter, self._counts, gap=theme.M)
        tools.setStretch(0, 1)
        body = column(tools, split, gap=theme.S, margins=(0, 0, 0, 0))
        body.setStretch(1, 1)
        self._some = holder(body)
        self._some.setMinimumHeight(470)
        self._none = Card("", EmptyState("readiness", t("Nothing was checked yet"), t(
            "Choose servers and check them. Every check shows what it rests on: the command and its output.")))
        return holder(column(self._none, self._some))

    # -- data -----------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        servers = [r for r in self.engine.servers.list() if r.host_keys]
        known = {r.name: self.engine.inventory.latest(r.name) for r in servers}
        return {"servers": servers, "inventory": known, "models": tasks.models(),
                "releases": self.engine.library.list(), "playbooks": self.engine.deployments.playbooks(),
                "last": self.engine.readiness.latest()}

    def show_data(self, data: dict[str, Any]) -> None:
        self._pages.setCurrentIndex(1 if data["servers"] else 0)
        before = self._model.currentData() or self.memory.get("model")
        self._model.clear()
        for value, caption in data["models"]:
            self._model.addItem(caption, value)
        self._model.setCurrentIndex(max(0, self._model.findData(before)))
        lang = self.desk.lang
        self._fill(self._release, [(r.title, r.release_id) for r in data["releases"]])
        self._fill(self._playbook, [(b["title"].get(lang, b["title"]["en"]), b["id"]) for b in data["playbooks"]])
        self._servers.show_names([(r.name, self._remark(data["inventory"][r.name])) for r in data["servers"]],
                                 self.memory.get("servers"))
        if not self._results:
            self._show_results(data["last"])
        if not self._fits.count():
            self._fit_hint()
        self._changed()

    def _fill(self, box: QComboBox, entries: list[tuple[str, str]]) -> None:
        before = box.currentData()
        box.clear()
        box.addItem(self.t("None in particular"), None)
        for caption, value in entries:
            box.addItem(caption, value)
        box.setCurrentIndex(max(0, box.findData(before)))

    def _remark(self, inventory: Any) -> str:
        from ui.screens.site import device_summary

        return device_summary(inventory.devices) if inventory and inventory.reached else self.t("not asked yet")

    def _fit_hint(self) -> None:
        self._fits.addWidget(Card("", EmptyState("device", self.t("Does it fit?"), self.t(
            "Choose a model, how long its context is to be and how many requests it is to answer at the same time, "
            "then check."))))
        self._fits.addStretch(1)

    def _changed(self) -> None:
        self._go.setEnabled(bool(self._servers.names()) and self._model.currentData() is not None)

    # -- asking ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Work out the fit and run every check on the chosen servers; nothing is changed anywhere."""
        names, model = self._servers.names(), self._model.currentData()
        context, concurrency = self._context.currentData(), self._concurrency.value()
        release, playbook = self._release.currentData(), self._playbook.currentData()
        self.memory.update(servers=names, model=model)
        self._go.setEnabled(False)
        self._go.setText(self.t("Checking…"))

        def done(found: tuple[list[Any], list[Any]]) -> None:
            self._asked_over()
            self._show_fits(found[0])
            self._show_results(found[1])

        def failed(problem: Exception) -> None:
            self._asked_over()
            self.desk.problem.emit(problem)

        self.act(lambda: (tasks.fits(self.engine, model, names, context, concurrency),
                          self.engine.readiness.run(names, release, playbook)), done, failed)

    def _asked_over(self) -> None:
        self._go.setText(self.t("&Check"))
        self._changed()

    # -- the fit --------------------------------------------------------------------------------------------------

    def _show_fits(self, found: list[Any]) -> None:
        clear(self._fits)
        for entry in found:
            self._fits.addWidget(self._fit_card(entry))
        self._fits.addStretch(1)

    def _fit_card(self, entry: tasks.ServerFit) -> QWidget:
        t, lang = self.t, self.desk.lang
        names = ", ".join(entry.servers)
        if entry.answer is None:
            return Card("", row(ElidedLabel(names, "heading"), Badge("unknown", t("Not known"))),
                        label(t("No device of this server is in the catalog, so the fit cannot be worked out."),
                              wrap=True))
        fit = entry.answer.as_dict(lang)
        tone, word = wording.FIT_VERDICTS[fit["verdict"]]
        card = Card("", row(ElidedLabel(f"{names} · {entry.count} × {entry.accelerator}", "heading"),
                            Badge(tone, t(word))))
        per = fit.get("per_device") or {}
        if per.get("usable_bytes"):
            slices = tuple(Slice(t(caption), per.get(key) or 0, colour) for caption, key, colour in (
                (N_("Weights"), "weights_bytes", "weights"), (N_("KV cache"), "kv_cache_bytes", "kv"),
                (N_("Overhead"), "overhead_bytes", "overhead")))
            free = per.get("free_bytes") or 0
            bar, legend = StackedBar(), Legend()
            bar.show_slices(slices, per["usable_bytes"])
            last = Slice(t("Free"), free, "free") if free >= 0 else Slice(t("Missing"), -free, "fail")
            legend.show_slices((*slices, last))
            card.add(label(t("On each device, of {usable} usable", usable=units.size(per["usable_bytes"])), "small"))
            card.add(bar)
            card.add(legend)
        card.add(facts([
            (t("Longest context"), _tokens(fit.get("max_context_tokens"))),
            (t("Most requests at the same time"), _count(fit.get("max_concurrency"))),
            (t("Least devices"), _count(fit.get("minimum_count"))),
            (t("Layout"), wording.short(fit.get("layout") or "–"))]))
        for reason in fit["reasons"]:
            words = column(label(wording.fit_reason(reason), wrap=True), gap=0)
            if reason.get("source"):
                words.addWidget(ElidedLabel(wording.fit_source(reason, t), "small"))
            card.add(words)
        return card

    # -- the checks -----------------------------------------------------------------------------------------------

    def _show_results(self, results: list[Any]) -> None:
        self._results = sorted(results, key=lambda c: (ORDER[c.verdict], c.server, c.check))
        self._checks.show_records(self._results, select_first=True)
        layout = self._counts.layout()
        clear(layout)
        for verdict in ORDER:
            count = sum(c.verdict == verdict for c in results)
            if count:
                tone, word = wording.VERDICTS[verdict]
                layout.addWidget(Badge(tone, f"{count} {self.t(word)}"))
        self._some.setVisible(bool(results))
        self._none.setVisible(not results)

    def _show_check(self, check: Any) -> None:
        clear(self._remedy)
        self._facts_box.blockSignals(True)
        self._facts_box.clear()
        self._facts_box.blockSignals(False)
        if check is None:
            return
        self._remedy.addWidget(label(f"{check.server}: {self.t(check.title)}", "strong", wrap=True))
        self._remedy.addWidget(label(wording.reason(check, self.desk.lang), wrap=True))
        remedy = wording.remedy(check, self.desk.lang)
        if remedy and check.verdict != "pass":
            self._remedy.addWidget(Banner(wording.banner_tone(check.verdict), self.t("What to do"), remedy))
        server, wanted = check.server, tuple(check.evidence or ())
        self.act(lambda: tasks.evidence(self.engine, server, wanted), lambda found: self._show_facts(check, found))

    def _show_facts(self, check: Any, found: dict[str, Any]) -> None:
        if self._checks.current() is not check:
            return
        self._facts_box.clear()
        for fact_id, evidence in found.items():
            self._facts_box.addItem(fact_id, evidence)
        if not found:
            self._evidence.show_text("",
                                     self.t("This check rests on no command: it compares what was asked with the "
                                            "catalog."))

    def _show_fact(self, _place: int) -> None:
        if self._facts_box.currentData() is not None:
            self._evidence.show_evidence(self._facts_box.currentData())


def _tokens(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
