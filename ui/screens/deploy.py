"""Deploy: choose, see the plan, have it approved, apply it; roll back, retire, ask the model."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLineEdit,
    QSpinBox,
    QStackedWidget,
    QTabWidget,
    QWidget,
)
from shiboken6 import isValid

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
    breakable,
    button,
    clear,
    column,
    facts,
    field,
    holder,
    label,
    picture,
    row,
)
from ui.widgets.dialogs import AskDialog
from ui.widgets.picker import Picker
from ui.widgets.serverruns import ServerRuns
from ui.widgets.table import Table

RUNNABLE = ("free", "approved", "interrupted")
"""States of a plan in which it may be applied."""


class DeployScreen(Screen):
    """Plans and deployments."""

    id, icon = "deploy", "deploy"
    title = N_("Deploy")
    lead = N_("A plan says what will change on which server. Nothing changes before it is approved and applied.")
    kinds = frozenset({"library", "servers", "deployments", "accounts"})

    def build(self) -> None:
        t = self.t
        self._plan: Any = None
        self._job: str | None = None
        self._answers: dict[str, QWidget] = {}
        self._apply: Any = None
        self._state = ""
        self._books: list[dict[str, Any]] = []
        self._tabs = QTabWidget(documentMode=True)
        self._tabs.setAccessibleName(t(self.title))
        self._tabs.tabBar().setDrawBase(False)
        self._tabs.addTab(self._new_tab(), t("New deployment"))
        self._tabs.addTab(self._old_tab(), t("Deployments"))
        self._tabs.setCurrentIndex(self.memory.get("tab", 0))
        self._tabs.currentChanged.connect(lambda place: self.memory.__setitem__("tab", place))
        self.put(holder(column(self._tabs, margins=(theme.XL, 0, theme.XL, 0))))
        self.desk.bridge.jobs_changed.connect(self._job_moved)
        self._take_up()

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
        self._fill(self._playbook, [(book["title"].get(lang, book["title"]["en"]), book) for book in fitting])
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
            widget = _input(asked)
            self._answers[name] = widget
            caption = asked["title"].get(lang, asked["title"]["en"])
            self._questions.addLayout(field(caption, widget, wrap=True), place // 3, place % 3)
            self._questions.setColumnStretch(place % 3, 1)
        self._choice_changed()

    def answers(self) -> dict[str, Any]:
        """What the form answers to the playbook's questions; what is left open is left out."""
        book = self._playbook.currentData()
        given = {}
        for name, widget in self._answers.items():
            value = _answer(widget, book["answers"][name])
            if value is not None and value != "":
                given[name] = value
        return given

    def _choice_changed(self) -> None:
        self._make.setEnabled(bool(self._servers.names()) and self._release.currentData() is not None
                              and self._playbook.currentData() is not None and self._job is None)
        if self._apply is not None and isValid(self._apply):
            self._apply.setEnabled(self._state in RUNNABLE and self._job is None)

    def make_plan(self) -> None:
        """Have the engine look at the servers and say what would change."""
        release, book, names = self._release.currentData(), self._playbook.currentData()["id"], self._servers.names()
        given = self.answers()
        self._make.setEnabled(False)
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
        self._plan = plan
        clear(self._plan_box)
        tone, word = wording.PLAN_STATES[state]
        head = row(label(t("The plan"), "heading"), Badge(tone, t(word)), None)
        card = Card("", head)
        document = plan.as_dict(self.desk.lang)
        card.add(facts([(t("Plan"), plan.id), (t("Digest"), plan.digest), (t("Made by"), plan.created_by),
                        (t("Served as"), plan.served_name)], mono=(t("Plan"), t("Digest"))))
        card.add(self._plan_body(document["servers"]))
        card.add(self._plan_actions(state))
        self._plan_box.addWidget(card)
        if self._job is None and not self._run_box.count():
            self._bring(card)

    def _bring(self, widget: QWidget) -> None:
        """Scroll so that ``widget`` is in sight, once it has its place."""
        QTimer.singleShot(80, widget, lambda: self._page.ensureWidgetVisible(widget, 0, theme.XL))

    def _plan_body(self, parts: list[dict[str, Any]]) -> QWidget:
        """The servers, and beside them every change of the one that is chosen, in full: it is what is approved."""
        t = self.t
        changes = column(gap=theme.S)
        table = Table([Column(t("Server"), lambda p: p["name"]),
                       Column(t("Changes"), lambda p: t("refused") if p["refused"] else str(len(p["changes"])),
                              number=True,
                              width=96)], t("Servers of the plan"), key=lambda p: p["name"])
        table.chosen.connect(lambda part: self._show_changes(changes, part))
        table.setFixedWidth(270)
        table.show_records(parts, select_first=True)
        table.fit_rows(10)
        body = row(gap=theme.L)
        body.addWidget(table)
        right = holder(changes)
        body.addWidget(right, 1)
        body.setAlignment(table, Qt.AlignmentFlag.AlignTop)
        body.setAlignment(right, Qt.AlignmentFlag.AlignTop)
        return holder(body)

    def _show_changes(self, box: Any, part: dict[str, Any] | None) -> None:
        clear(box)
        if part is None:
            return
        for number, change in enumerate(part["changes"], 1):
            mark, text = label(f"{number}.", "muted"), label(breakable(change["summary"]), wrap=True)
            line = row(mark, text, gap=theme.S)
            line.setStretch(1, 1)
            line.setAlignment(mark, Qt.AlignmentFlag.AlignTop)
            if change["caution"] or not change["undoable"]:
                weigh = picture("alert", theme.palette().warn, 16)
                line.insertWidget(1, weigh)
                line.setAlignment(weigh, Qt.AlignmentFlag.AlignTop)
            box.addLayout(line)
        if part["refused"]:
            message, remedy = wording.problem(part["refused"], self.desk.lang)
            box.addWidget(Banner("fail", breakable(message), breakable(remedy)))
        elif not part["changes"]:
            box.addWidget(Banner("ok", self.t("Nothing to change: it is already so.")))

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
        words = {"planned": N_("Somebody with the role approver has to approve it. It is approved for these "
                               "changes only."),
                 "free": N_("The site's policy asks for no second person. Applying makes these changes, and takes "
                            "back what "
                            "fails."),
                 "approved": N_("Approved. Applying makes these changes, and takes back what fails."),
                 "interrupted": N_("It was cut off. Going on starts after the last step that was finished."),
                 "applied": N_("This plan was applied; see the tab Deployments.")}
        hint = label(t(words[state]), "muted", wrap=True)
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
        self._run(lambda: self.engine.deployments.apply_job(plan.id), tuple(part.name for part in plan.servers),
                  self._applied)

    # -- running --------------------------------------------------------------------------------------------------

    def _run(self, make_spec: Any, names: tuple[str, ...], ended: Any) -> None:
        """Make a job description off the GUI thread, submit it, and show its progress."""
        def made(spec: Any) -> None:
            spec = tasks.changing(spec, "deployments")
            self._runs_for(spec.title, names)
            self.desk.run(self, spec, self._started, lambda result: (self._over(), ended(result)), self._failed)

        self.act(make_spec, made)

    def _runs_for(self, title: str, names: tuple[str, ...]) -> None:
        self._tabs.setCurrentIndex(0)
        self._new_pages.setCurrentIndex(1)
        clear(self._run_box)
        self._names = names
        self._runs = ServerRuns(self.t, wording.outcome)
        self._runs.expect(names)
        self._stop = button(self.t("&Cancel"), self._cancel, icon="close",
                            hint=self.t("Stops at the next safe point; what was begun is taken back or can go "
                                        "on later."))
        self._phase = ElidedLabel("", "muted")
        card = Card("", row(label(wording.job_title(title, self.t), "heading"), self._phase, self._stop), self._runs)
        self._run_box.addWidget(card)
        self._bring(card)
        self._job = ""
        self._choice_changed()

    def _take_up(self) -> None:
        """Show a job again that was started before the screen was built anew in another language or theme."""
        running = self.memory.get("running")
        view = self.desk.bridge.board.jobs.get(running["job"]) if running else None
        self._taken_up = view is not None and not view.over
        if self._taken_up:
            self._runs_for(view.title, running["names"])
            self._job = view.id
            self._runs.show_job(view)

    def _started(self, job_id: str) -> None:
        self._job = job_id
        self.memory["running"] = {"job": job_id, "names": self._names}
        self._job_moved(frozenset({job_id}))

    def _cancel(self) -> None:
        job_id = self._job
        if job_id:
            self.act(lambda: self.engine.jobs.cancel(job_id))

    def _job_moved(self, ids: frozenset[str]) -> None:
        view = self.desk.bridge.board.jobs.get(self._job or "")
        if view is None or view.id not in ids:
            return
        self._runs.show_job(view)
        self._phase.setText("" if view.over else self.t(view.phase))
        if view.state == "cancelling":
            self._stop.setEnabled(False)
            self._stop.setText(self.t("Stopping…"))
        if view.over and self._taken_up:
            self._over()
            self.refresh()
        elif view.state == "cancelled":
            self._over()
            self._run_box.addWidget(Banner("info", self.t("Stopped."),
                                           self.t("See below what each server is left with.")))
            self.refresh()

    def _over(self) -> None:
        self._job, self._taken_up = None, False
        self.memory.pop("running", None)
        self._stop.hide()
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
                                               all=len(result["servers"])), self._errors(result), show))
        self.refresh()

    def _errors(self, result: dict[str, Any]) -> str:
        lang = self.desk.lang
        return "\n".join(f"{one['name']}: {' '.join(wording.problem(one['error'], lang))}"
                         for one in result["servers"] if one.get("error"))

    def _show_deployment(self, deployment: str) -> None:
        self.memory["deployment"] = deployment
        self._tabs.setCurrentIndex(1)
        self._deployments.select_key(deployment)

    # -- what stands ----------------------------------------------------------------------------------------------

    def _old_tab(self) -> QWidget:
        t = self.t
        self._deployments = Table([
            Column(t("Deployment"), lambda d: d["id"], width=150),
            Column(t("Playbook"), lambda d: d["playbook"], width=120),
            Column(t("State"), lambda d: t(wording.outcome(_state(d))[1]), tone=lambda d: wording.outcome(_state(d))[0],
                   width=130),
            Column(t("Servers"), lambda d: ", ".join(s["name"] for s in d["servers"])),
            Column(t("By"), lambda d: d["created_by"], width=90),
            Column(t("When"), lambda d: wording.when(d["created_at"]), width=170)], t("Deployments"),
                                  key=lambda d: d["id"])
        self._deployments.chosen.connect(self._chosen)
        self._detail = Card("")
        self._detail.hide()
        self._health: dict[str, bool | None] = {}
        page = Page(self._deployments, self._detail)
        page.body.setContentsMargins(0, theme.L, 0, theme.XL)
        page.add(None)
        none = Page(Card("", EmptyState("deploy", t("Nothing is deployed yet"),
                                        t("Choose a release and some servers, look at the plan, have it approved."),
                                        button(t("&New deployment"), lambda: self._tabs.setCurrentIndex(0),
                                               role="primary"))))
        none.body.setContentsMargins(0, theme.L, 0, theme.XL)
        self._old_pages = QStackedWidget()
        self._old_pages.addWidget(none)
        self._old_pages.addWidget(page)
        return self._old_pages

    def _chosen(self, deployment: dict[str, Any] | None) -> None:
        t = self.t
        clear(self._detail.body)
        self._detail.setVisible(deployment is not None)
        if deployment is None:
            return
        self.memory["deployment"] = deployment["id"]
        table = Table([
            Column(t("Server"), lambda s: s["name"], width=160),
            Column(t("State"), lambda s: t(wording.outcome(s["state"])[1]),
                   tone=lambda s: wording.outcome(s["state"])[0], width=150),
            Column(t("Port"), lambda s: str(s["port"] or "–"), number=True, width=70),
            Column(t("Health now"), lambda s: self._health_word(deployment["id"], s["name"])[1],
                   tone=lambda s: self._health_word(deployment["id"], s["name"])[0], width=130),
            Column(t("Answer of the smoke test"), lambda s: str(s["answer"] or "–")),
        ], t("Servers of the deployment"))
        table.show_records(deployment["servers"])
        table.fit_rows(6)
        serving = any(s["state"] == "serving" for s in deployment["servers"])
        cut_off = any(s["state"] in ("applying", "interrupted") for s in deployment["servers"])
        tools = [button(t("Check &health"), lambda: self.check_health(deployment["id"]), icon="refresh"),
                 button(t("&Smoke test"), lambda: self.smoke(deployment["id"]), icon="play"),
                 button(t("Roll &back…"), lambda: self._ask_rollback(deployment), icon="undo"),
                 button(t("R&etire…"), lambda: self._ask_retire(deployment), role="danger", icon="trash")]
        tools[1].setObjectName("smoke")
        for tool in tools:
            tool.setEnabled(serving or (cut_off and tool is tools[2]))
        if cut_off:
            tools.insert(0, button(t("&Go on"), lambda: self._go_on(deployment), role="primary", icon="play"))
        self._detail.add(row(ElidedLabel(deployment["id"], "heading")))
        self._detail.add(table)
        for one in deployment["servers"]:
            if one["error"]:
                message, remedy = wording.problem(one["error"], self.desk.lang)
                self._detail.add(Banner("fail", f"{one['name']}: {message}", remedy))
        self._detail.add(row(*tools, None))

    def _health_word(self, deployment: str, server: str) -> tuple[str | None, str]:
        known = self._health.get(f"{deployment}/{server}")
        return (None, "–") if known is None else ("ok", self.t("Answers")) if known else ("fail",
                                                                                          self.t("Does not answer"))

    def check_health(self, deployment: str) -> None:
        """Ask each server whether it serves now."""
        def ended(found: dict[str, Any]) -> None:
            self._health |= {f"{deployment}/{one['name']}": one["healthy"] for one in found["servers"]}
            self._chosen(self._deployments.current())

        self.desk.run(self, tasks.deployment_status(self.engine, self.t, deployment), ended=ended)

    def smoke(self, deployment: str) -> None:
        """Ask the model a question on each server and compare the answer."""
        names = tuple(s["name"] for s in self._deployments.current()["servers"])

        def ended(result: list[Any]) -> None:
            for one in result:
                good = one.verdict == "pass"
                words = self.t("The model answers.") if good else self.t("The smoke test did not pass.")
                self._run_box.addWidget(Banner("ok" if good else "fail", f"{one.place}: {words}", self._probes(one)))
            self.refresh()

        self._run(lambda: tasks.smoke_service(self.engine, self.t, deployment), names, ended)

    def _probes(self, found: Any) -> str:
        """The answer, or what each probe that did not pass says."""
        bad = [f"{probe.name}: {self.t(probe.reason, **(probe.params or {}))}" for probe in found.probes
               if probe.verdict != "pass"]
        return "\n".join(bad) or self.t("Answer: {answer}", answer=found.answer or "–")

    def _ask_rollback(self, deployment: dict[str, Any]) -> None:
        AskDialog(self, self.t, self.t("Roll {deployment} back?", deployment=deployment["id"]),
                  self.t("What it took the place of runs again; where there was nothing, nothing serves."),
                  self.t("&Roll back"),
                  lambda: self._run(lambda: self.engine.deployments.rollback_job(deployment["id"]),
                                    tuple(s["name"] for s in deployment["servers"]), self._taken_back),
                  danger=True).open()

    def _ask_retire(self, deployment: dict[str, Any]) -> None:
        AskDialog(self, self.t, self.t("Retire {deployment}?", deployment=deployment["id"]),
                  self.t("Its service is stopped and removed. The verified weights stay on the servers."),
                  self.t("&Retire"),
                  lambda: self._run(lambda: self.engine.deployments.retire_job(deployment["id"]),
                                    tuple(s["name"] for s in deployment["servers"]), self._taken_back),
                  danger=True).open()

    def _taken_back(self, result: dict[str, Any]) -> None:
        errors = self._errors(result)
        self._run_box.addWidget(Banner("warn" if errors else "ok", self.t("Done."), errors))
        self.refresh()

    def _go_on(self, deployment: dict[str, Any]) -> None:
        self._run(lambda: self.engine.deployments.apply_job(deployment["plan_id"]),
                  tuple(s["name"] for s in deployment["servers"]), self._applied)

    # -- data -----------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        engine = self.engine
        plan_id = self.memory.get("plan")
        plan = self._plan_with_state(engine.deployments.get_plan(plan_id)) if plan_id else None
        releases = engine.library.list()
        return {"releases": releases, "playbooks": tasks.playbooks(engine, releases), "servers": engine.servers.list(),
                "deployments": engine.deployments.list(), "plan": plan}

    def show_data(self, data: dict[str, Any]) -> None:
        self._show_missing(data)
        self._books = data["playbooks"]
        self._fill(self._release, [(r.title, r.release_id) for r in data["releases"]], self.memory.pop("release", None))
        self._servers.show_names([(r.name, ", ".join(r.labels)) for r in data["servers"] if r.host_keys],
                                 self.memory.pop("servers", None))
        self._deployments.show_records(data["deployments"])
        self._deployments.fit_rows(7)
        self._old_pages.setCurrentIndex(1 if data["deployments"] else 0)
        wanted = self.memory.get("deployment")
        if not (wanted and self._deployments.select_key(wanted)) and data["deployments"]:
            self._deployments.select_key(data["deployments"][0]["id"])
        self._chosen(self._deployments.current())
        if data["plan"] and self._job is None:
            self.show_plan(*data["plan"])
        self._choice_changed()

    @staticmethod
    def _fill(box: QComboBox, entries: list[tuple[str, Any]], wanted: Any = None) -> None:
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


def _state(deployment: dict[str, Any]) -> str:
    """The one word for a deployment: the state that most needs to be seen."""
    states = {s["state"] for s in deployment["servers"]}
    order = ("interrupted", "applying", "failed", "unreachable", "waiting", "serving", "rolled-back", "superseded",
             "retired")
    return next((state for state in order if state in states), next(iter(states), "unknown"))


def _input(asked: dict[str, Any]) -> QWidget:
    """The input for one question of a playbook."""
    kind, default = asked["type"], asked["default"]
    if asked["choices"]:
        made = QComboBox()
        for choice in asked["choices"]:
            made.addItem(str(choice), choice)
        made.setCurrentIndex(max(0, made.findData(default)))
        return made
    if kind == "flag":
        made = QCheckBox()
        made.setChecked(bool(default))
        return made
    if kind == "integer" and default is not None:
        least, most = asked["min"], asked["max"]
        return QSpinBox(minimum=int(least or 0), maximum=int(min(most if most is not None else 2**31 - 1, 2**31 - 1)),
                        value=int(default))
    return QLineEdit("" if default is None else str(default))


def _answer(widget: QWidget, asked: dict[str, Any]) -> Any:
    if isinstance(widget, QComboBox):
        return widget.currentData()
    if isinstance(widget, QCheckBox):
        return widget.isChecked()
    if isinstance(widget, QSpinBox):
        return widget.value()
    return widget.text().strip()
