"""Ask: will it run? How the model fits each server's devices, and what every check found, with evidence and remedy."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QLineEdit,
    QSpinBox,
    QSplitter,
    QStackedWidget,
    QTabWidget,
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
        self._pages.addWidget(Page(Card("", EmptyState(
            "readiness", t("No server to ask about"),
            t("Add servers, confirm their host keys, and ask them what they are."),
            button(t("To the &servers"), lambda: self.desk.go.emit("site"), role="primary", icon="arrow")))))
        self._tabs = QTabWidget(documentMode=True)
        self._tabs.addTab(self._fit_tab(), t("Does it fit?"))
        self._tabs.addTab(self._checks_tab(), t("Checks"))
        self._tabs.setCurrentIndex(self.memory.get("tab", 0))
        self._tabs.currentChanged.connect(lambda place: self.memory.__setitem__("tab", place))
        body = column(self._question(), self._tabs, gap=theme.M, margins=(theme.XL, 0, theme.XL, theme.L))
        body.setStretch(1, 1)
        self._pages.addWidget(holder(body))
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
        self._servers = Picker(t, t("Servers"), 84)
        self._servers.changed.connect(self._changed)
        self._go = button(t("&Check"), self.check, role="primary", icon="readiness")
        self._go.setObjectName("check")
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.L)
        grid.setVerticalSpacing(theme.S)
        grid.addLayout(field(t("&Model"), self._model), 0, 0, 1, 2)
        grid.addLayout(field(t("Conte&xt length (tokens)"), self._context), 1, 0)
        grid.addLayout(field(t("Requests at the same &time"), self._concurrency), 1, 1)
        grid.addLayout(column(label(t("Servers"), "strong"), self._servers, gap=theme.XS), 0, 2, 2, 1)
        grid.addWidget(self._go, 1, 3, Qt.AlignmentFlag.AlignBottom)
        grid.setColumnStretch(0, 2)
        grid.setColumnStretch(1, 2)
        grid.setColumnStretch(2, 3)
        return Card("", grid)

    def _fit_tab(self) -> QWidget:
        self._fits = Page(gap=theme.M)
        self._fits.body.setContentsMargins(0, theme.M, theme.S, 0)
        return self._fits

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
        body = column(tools, split, gap=theme.S, margins=(0, theme.M, 0, 0))
        body.setStretch(1, 1)
        return holder(body)

    # -- data -----------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        servers = [r for r in self.engine.servers.list() if r.host_keys]
        known = {r.name: self.engine.inventory.latest(r.name) for r in servers}
        return {"servers": servers, "inventory": known, "models": tasks.models(self.engine),
                "last": tasks.last_checks(self.engine)}

    def show_data(self, data: dict[str, Any]) -> None:
        self._pages.setCurrentIndex(1 if data["servers"] else 0)
        before = self._model.currentData() or self.memory.get("model")
        self._model.clear()
        for value, caption in data["models"]:
            self._model.addItem(caption, value)
        self._model.setCurrentIndex(max(0, self._model.findData(before)))
        self._servers.show_names([(r.name, self._remark(data["inventory"][r.name])) for r in data["servers"]],
                                 self.memory.get("servers"))
        if data["last"] and not self._results:
            self._show_results(data["last"])
        elif not self._results:
            self._nothing_yet()
        if not self._fits.body.count():
            self._fit_hint()
        self._changed()

    def _remark(self, inventory: Any) -> str:
        from ui.screens.site import device_summary

        return device_summary(inventory.devices) if inventory and inventory.reached else self.t("not asked yet")

    def _fit_hint(self) -> None:
        self._fits.add(Card("", EmptyState("device", self.t("Does it fit?"), self.t(
            "Choose a model, how long its context is to be and how many requests it is to answer at the same time, "
            "then check."))))
        self._fits.add(None)

    def _nothing_yet(self) -> None:
        self._evidence.show_text("", self.t("Check some servers first."))

    def _changed(self) -> None:
        self._go.setEnabled(bool(self._servers.names()) and self._model.currentData() is not None)

    # -- asking ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Work out the fit and run every check on the chosen servers; nothing is changed anywhere."""
        names, model = self._servers.names(), self._model.currentData()
        context, concurrency = self._context.currentData(), self._concurrency.value()
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
                          tasks.run_checks(self.engine, names, model)), done, failed)

    def _asked_over(self) -> None:
        self._go.setText(self.t("&Check"))
        self._changed()

    # -- the fit --------------------------------------------------------------------------------------------------

    def _show_fits(self, found: list[Any]) -> None:
        clear(self._fits.body)
        for entry in found:
            self._fits.add(self._fit_card(entry))
        self._fits.add(None)

    def _fit_card(self, entry: tasks.Fit) -> QWidget:
        t, lang = self.t, self.desk.lang
        names = ", ".join(entry.servers)
        if entry.answer is None:
            return Card("", row(ElidedLabel(names, "heading"), Badge("unknown", t("Not known"))),
                        label(t("No device of this server is in the catalog, so the fit cannot be worked out."),
                              wrap=True))
        fit = entry.answer
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
        for reason in fit.get("reasons") or []:
            card.add(label("• " + wording.fit_reason(reason, lang), "muted", wrap=True))
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
        if not results:
            self._nothing_yet()

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
