"""Deploy: choose, see the plan, have it approved, apply it; roll back, retire, ask the model."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QStackedWidget,
    QTabWidget,
    QWidget,
)
from shiboken6 import isValid

from console.i18n import N_
from ui import theme
from ui.screens import tasks, wording
from ui.screens.base import Screen
from ui.screens.deployplan import NEXT, answer_of, plan_body, question_input
from ui.screens.deploypush import PushTab
from ui.screens.deploystanding import StandingTab, server_errors
from ui.screens.jobrun import JobRun
from ui.widgets.basic import (
    Badge,
    Banner,
    Card,
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
from ui.widgets.picker import Picker

RUNNING = "running"
RUNNABLE = ("free", "approved", "interrupted")
"""States of a plan in which it may be applied."""


class DeployScreen(Screen):
    """Plans and deployments."""

    id, icon = "deploy", "deploy"
    title = N_("Deploy")
    lead = N_("A plan says what will change on which server. Nothing changes before it is approved and applied.")
    kinds = frozenset({"library", "servers", "deployments", "accounts", "site", "settings"})

    def build(self) -> None:
        t = self.t
        self._plan: Any = None
        self._run: JobRun | None = None
        self._answers: dict[str, QWidget] = {}
        self._apply: Any = None
        self._state = ""
        self._books: list[dict[str, Any]] = []
        self._tabs = QTabWidget(documentMode=True)
        self._tabs.setAccessibleName(t(self.title))
        self._tabs.tabBar().setDrawBase(False)
        self._tabs.addTab(self._new_tab(), t("New deployment"))
        self._standing = StandingTab(self)
        self._deployments = self._standing.table
        self._tabs.addTab(self._standing, t("Deployments"))
        self.pushing = PushTab(self)
        self._tabs.addTab(self.pushing, t("Push only"))
        self._tabs.setCurrentIndex(self.memory.get("tab", 0))
        self._tabs.currentChanged.connect(lambda place: self.memory.__setitem__("tab", place))
        self.put(holder(column(self._tabs, margins=(theme.XL, 0, theme.XL, 0))))
        under_way = JobRun.take_up(self, RUNNING)
        if under_way is not None:
            self._runs_for(under_way)

    # -- a new deployment -----------------------------------------------------------------------------------------

    def _new_tab(self) -> QWidget:
        t = self.t
        self._release, self._playbook = QComboBox(), QComboBox()
        for box in (self._release, self._playbook):
            box.setMinimumContentsLength(18)
        self._playbook.currentIndexChanged.connect(self._playbook_chosen)
        self._release.currentIndexChanged.connect(self._release_chosen)
        self._about = label("", "small", wrap=True)
        self._servers = Picker(t, t("Servers"), 132)
        self._servers.changed.connect(self._choice_changed)
        self._questions = QGridLayout()
        self._questions.setHorizontalSpacing(theme.L)
        self._questions.setVerticalSpacing(theme.M)
        self._make = button(t("&Make the plan"), self.make_plan, role="primary", icon="arrow")
        self._make.setObjectName("make-plan")
        left = column(field(t("&Release"), self._release), field(t("&Playbook"), self._playbook), self._about, None,
                      gap=theme.M)
        right = column(label(t("Servers"), "strong"), self._servers, gap=theme.XS)
        choice = QGridLayout()
        choice.setHorizontalSpacing(theme.XL)
        choice.addLayout(left, 0, 0)
        choice.addLayout(right, 0, 1)
        choice.setColumnStretch(0, 1)
        choice.setColumnStretch(1, 1)
        self._choice = Card(t("What and where"), choice, self._questions, row(None, self._make))
        self._plan_box, self._run_box = column(gap=theme.L), column(gap=theme.L)
        page = Page(self._choice, holder(self._plan_box), holder(self._run_box))
        page.body.setContentsMargins(0, theme.L, 0, theme.XL)
        page.add(None)
        self._page = page
        self._missing = Page()
        self._missing.body.setContentsMargins(0, theme.L, 0, theme.XL)
        self._new_pages = QStackedWidget()
        self._new_pages.addWidget(self._missing)
        self._new_pages.addWidget(page)
        return self._new_pages

    def _release_chosen(self) -> None:
        """Offer only the playbooks that can serve what the release carries."""
        lang, release = self.desk.lang, self._release.currentData()
        fitting = [book for book in self._books if release in book["serves"]]
        self.fill(self._playbook, [(book["title"].get(lang, book["title"]["en"]), book) for book in fitting])
        if not fitting:
            self._playbook_chosen()

    def _playbook_chosen(self) -> None:
        book = self._playbook.currentData()
        clear(self._questions)
        self._answers = {}
        if book is None:
            self._about.setText(self.t("No playbook serves what this release carries.") if self._release.count()
                                else "")
            return
        lang = self.desk.lang
        words = [book["summary"].get(lang, book["summary"]["en"])]
        if book["status"] != "run":
            words.append(self.t("This playbook was not run on real hardware yet."))
        self._about.setText(" ".join(words))
        for place, (name, asked) in enumerate(book["answers"].items()):
            widget = question_input(asked)
            self._answers[name] = widget
            caption = asked["title"].get(lang, asked["title"]["en"])
            self._questions.addLayout(field(caption, widget, wrap=True), place // 3, place % 3)
            self._questions.setColumnStretch(place % 3, 1)
        self._choice_changed()

    def answers(self) -> dict[str, Any]:
        """What the form answers to the playbook's questions; what is left open is left out."""
        given = {}
        for name, widget in self._answers.items():
            value = answer_of(widget)
            if value is not None and value != "":
                given[name] = value
        return given

    def _choice_changed(self) -> None:
        self._make.setEnabled(bool(self._servers.names()) and self._release.currentData() is not None
                              and self._playbook.currentData() is not None and self._run is None)
        if self._apply is not None and isValid(self._apply):
            self._apply.setEnabled(self._state in RUNNABLE and self._run is None)

    def make_plan(self) -> None:
        """Have the engine look at the servers and say what would change."""
        release, book, names = self._release.currentData(), self._playbook.currentData()["id"], self._servers.names()
        given = self.answers()
        self._make.setEnabled(False)
        self._plan = None
        clear(self._plan_box)
        clear(self._run_box)
        self._plan_box.addWidget(Card("", label(self.t("Looking at the servers…"), "muted")))

        def failed(problem: Exception) -> None:
            self._choice_changed()
            clear(self._plan_box)
            self._plan_box.addWidget(Banner("fail", *wording.problem(problem, self.desk.lang)))

        self.act(lambda: self._plan_with_state(self.engine.deployments.plan(book, release, names, given)),
                 self._planned, failed)

    def _plan_with_state(self, plan: Any) -> tuple[Any, str]:
        return plan, tasks.plan_state(self.engine, plan)

    def _planned(self, answer: tuple[Any, str]) -> None:
        self._choice_changed()
        self.memory["plan"] = answer[0].id
        self.show_plan(*answer)

    def show_plan(self, plan: Any, state: str) -> None:
        """Show what a plan would change, and what may be done with it now: ``state`` says that."""
        t = self.t
        if self._plan is not None and self._plan_box.count() and (plan.id, state) == (self._plan.id, self._state):
            return  # a plan never changes
        self._plan = plan
        clear(self._plan_box)
        tone, word = wording.PLAN_STATES[state]
        head = row(label(t("The plan"), "heading"), Badge(tone, t(word)), None)
        card = Card("", head)
        document = plan.as_dict(self.desk.lang)
        card.add(facts([(t("Plan"), plan.id), (t("Digest"), plan.digest), (t("Made by"), plan.created_by),
                        (t("Served as"), plan.served_name)], mono=(t("Plan"), t("Digest"))))
        card.add(plan_body(t, self.desk.lang, document["servers"]))
        card.add(self._plan_actions(state))
        self._plan_box.addWidget(card)
        if self._run is None and not self._run_box.count():
            self._bring(card)

    def _bring(self, widget: QWidget) -> None:
        """Scroll so that ``widget`` is in sight, once it has its place."""
        QTimer.singleShot(80, widget, lambda: self._page.ensureWidgetVisible(widget, 0, theme.XL))

    def _plan_actions(self, state: str) -> Any:
        t = self.t
        approve = button(t("&Approve"), self.approve, role="primary" if state == "planned" else None, icon="check",
                         hint=t("You say yes to exactly these changes, under your own name."))
        approve.setObjectName("approve")
        approve.setEnabled(state in ("planned", "free"))
        apply = button(t("A&pply"), self.apply, role="primary" if state in RUNNABLE else None, icon="deploy")
        apply.setObjectName("apply")
        self._apply, self._state = apply, state
        self._choice_changed()
        if state == "interrupted":
            apply.setText(t("&Go on"))
        hint = label(t(NEXT[state]), "muted", wrap=True)
        tools = row(gap=theme.M)
        tools.addWidget(hint, 1)
        tools.addWidget(approve)
        tools.addWidget(apply)
        return tools

    def approve(self) -> None:
        """Say yes to the plan in sight."""
        plan = self._plan
        self.act(lambda: (self.engine.deployments.approve(plan.id), self._plan_with_state(plan))[1],
                 lambda answer: self.show_plan(*answer))

    def apply(self) -> None:
        """Apply the plan in sight, with live progress below."""
        plan = self._plan
        self.run_job(lambda: self.engine.deployments.apply_job(plan.id), tuple(part.name for part in plan.servers),
                  self._applied)

    # -- running --------------------------------------------------------------------------------------------------

    def run_job(self, make_spec: Any, names: tuple[str, ...], ended: Any) -> None:
        """Make a job description off the GUI thread, submit it, and show its progress."""
        def made(spec: Any) -> None:
            spec = tasks.changing(spec, "deployments")
            run = JobRun(self, RUNNING, spec.title, names)
            self._runs_for(run)
            self.desk.run(self, spec, run.follow, lambda result: (self._over(), ended(result)), self._failed)

        self.act(make_spec, made)

    def _runs_for(self, run: JobRun) -> None:
        self._tabs.setCurrentIndex(0)
        self._new_pages.setCurrentIndex(1)
        clear(self._run_box)
        self._run = run
        run.stopped.connect(self._stopped)
        run.watched.connect(lambda: (self._over(), self.refresh()))
        self._run_box.addWidget(run)
        self._bring(run)
        self._choice_changed()

    def _stopped(self) -> None:
        self._over()
        self._run_box.addWidget(Banner("info", self.t("Stopped."), self.t("See below what each server is left with.")))
        self.refresh()

    def _over(self) -> None:
        self._run.over()
        self._run = None
        self._choice_changed()

    def _failed(self, problem: Any) -> None:
        self._over()
        self._run_box.addWidget(Banner("fail", *wording.problem(problem, self.desk.lang)))
        self.refresh()

    def _applied(self, result: dict[str, Any]) -> None:
        t = self.t
        good = [one for one in result["servers"] if one["outcome"] == "serving"]
        tone = "ok" if len(good) == len(result["servers"]) else "warn"
        show = button(t("&Show the deployment"), lambda: self._show_deployment(result["deployment"]), role="primary")
        self._run_box.addWidget(Banner(tone, t("{good} of {all} servers serve the model.", good=len(good),
                                               all=len(result["servers"])), server_errors(result, self.desk.lang), show))
        self.refresh()

    def _show_deployment(self, deployment: str) -> None:
        self.memory["deployment"] = deployment
        self._tabs.setCurrentIndex(1)
        self._deployments.select_key(deployment)

    def to_new(self) -> None:
        """Bring the form of a new deployment up."""
        self._tabs.setCurrentIndex(0)

    def tell(self, told: QWidget) -> None:
        """Add ``told`` below the job that it is about."""
        self._run_box.addWidget(told)

    def go_on(self, deployment: dict[str, Any]) -> None:
        """Apply the plan of a deployment that was cut off once more."""
        self.run_job(lambda: self.engine.deployments.apply_job(deployment["plan_id"]),
                     tuple(s["name"] for s in deployment["servers"]), self._applied)

    # -- data -----------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        engine = self.engine
        plan_id = self.memory.get("plan")
        plan = self._plan_with_state(engine.deployments.get_plan(plan_id)) if plan_id else None
        releases = engine.library.list()
        return {"releases": releases, "playbooks": tasks.playbooks(engine, releases), "servers": engine.servers.list(),
                "deployments": engine.deployments.list(), "plan": plan, "judged": tasks.worst_verdicts(engine), "push": tasks.push_defaults(engine)}

    def show_data(self, data: dict[str, Any]) -> None:
        self._show_missing(data)
        self._books = data["playbooks"]
        self.fill(self._release, [(r.title, r.release_id) for r in data["releases"]], self.memory.pop("release", None))
        self._offer_servers([r for r in data["servers"] if r.host_keys], data["judged"])
        self._standing.show_deployments(data["deployments"], data["playbooks"])
        self.pushing.show_data(data["releases"], data["servers"], data["push"])
        if (part := self.memory.pop("part", None)) is not None:
            self._tabs.setCurrentIndex(2 if part == "push" else 0)
        if data["plan"] and self._run is None:
            self.show_plan(*data["plan"])
        self._choice_changed()

    def _offer_servers(self, servers: list[Any], judged: dict[str, str]) -> None:
        """Each with its last readiness; one that failed it is not ticked by itself."""
        t = self.t
        entries = [(r.name, t("Readiness: {verdict}", verdict=t(wording.VERDICTS[judged[r.name]][1])) if r.name in judged
                    else t("not checked yet")) for r in servers]
        wanted = self.memory.pop("servers", None)
        if wanted is None and not self._servers.offered():
            wanted = [r.name for r in servers if judged.get(r.name) != "fail"]
        self._servers.show_names(entries, wanted)

    @staticmethod
    def fill(box: QComboBox, entries: list[tuple[str, Any]], wanted: Any = None) -> None:
        """Offer ``entries`` (text, value); ``wanted`` is chosen, else what was."""
        before = wanted if wanted is not None else box.currentData()
        box.blockSignals(True)
        box.clear()
        for text, value in entries:
            box.addItem(text, value)
        place = next((n for n, (_text, value) in enumerate(entries) if value == before), 0 if entries else -1)
        box.setCurrentIndex(place)
        box.blockSignals(False)
        if box.count():
            box.currentIndexChanged.emit(place)

    def _show_missing(self, data: dict[str, Any]) -> None:
        t = self.t
        trusted = [r for r in data["servers"] if r.host_keys]
        if data["releases"] and trusted:
            self._new_pages.setCurrentIndex(1)
            return
        clear(self._missing.body)
        if not data["releases"]:
            state = EmptyState("library", t("There is no release to deploy"),
                               t("Bring a bundle into the library first."),
                               button(t("To the &library"), lambda: self.desk.go.emit("library"), role="primary",
                                      icon="arrow"))
        else:
            state = EmptyState("servers", t("There is no server to deploy to"),
                               t("Add servers and confirm their host keys first."),
                               button(t("To the &servers"), lambda: self.desk.go.emit("site"), role="primary",
                                      icon="arrow"))
        self._missing.add(Card("", state))
        self._missing.add(None)
        self._new_pages.setCurrentIndex(0)
