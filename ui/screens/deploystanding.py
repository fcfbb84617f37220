"""What stands: deployments, their servers, and asking, rolling back, retiring or going on with them."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QStackedWidget

from ui import theme
from ui.models.rows import Column
from ui.screens import tasks, wording
from ui.widgets.basic import Banner, Card, ElidedLabel, EmptyState, Page, button, clear, row
from ui.widgets.dialogs import AskDialog
from ui.widgets.table import Table


class StandingTab(QStackedWidget):
    """The deployments of the site; ``screen`` is the deploy screen, which runs the jobs and shows their progress."""

    def __init__(self, screen: Any):
        super().__init__()
        self._screen, self._engine, self._lang, t = screen, screen.engine, screen.desk.lang, screen.t
        self._health: dict[str, bool | None] = {}
        self._titles: dict[str, str] = {}
        self._shown: tuple[Any, ...] | None = None
        self.table = Table([
            Column(t("Deployment"), lambda d: d["id"], width=150),
            Column(t("Playbook"), lambda d: self._titles.get(d["playbook"], d["playbook"])),
            Column(t("State"), lambda d: t(wording.outcome(state_of(d))[1]), tone=lambda d: wording.outcome(state_of(d))[0],
                   width=130),
            Column(t("Servers"), lambda d: f"{len(d['servers']):,}", number=True, width=84, sort=lambda d: len(d["servers"])),
            Column(t("By"), lambda d: d["created_by"], width=90),
            Column(t("When"), lambda d: wording.when(d["created_at"]), width=170)], t("Deployments"),
            key=lambda d: d["id"])
        self.table.chosen.connect(self.show_chosen)
        self._detail = Card("")
        self._detail.hide()
        none = Page(Card("", EmptyState("deploy", t("Nothing is deployed yet"),
                                        t("Choose a release and some servers, look at the plan, have it approved."),
                                        button(t("&New deployment"), screen.to_new, role="primary"))))
        for page in (none, Page(self.table, self._detail)):
            page.body.setContentsMargins(0, theme.L, 0, theme.XL)
            page.add(None)
            self.addWidget(page)

    def show_deployments(self, deployments: list[dict[str, Any]], books: list[dict[str, Any]]) -> None:
        """Show what stands now; ``books`` are the playbooks, by whose titles people know them."""
        self._titles = {book["id"]: book["title"].get(self._lang, book["title"]["en"]) for book in books}
        self.table.show_records(deployments)
        self.table.fit_rows(7)
        self.setCurrentIndex(1 if deployments else 0)
        wanted = self._screen.memory.get("deployment")
        if not (wanted and self.table.select_key(wanted)) and deployments:
            self.table.select_key(deployments[0]["id"])
        self.show_chosen(self.table.current())

    def show_chosen(self, deployment: dict[str, Any] | None) -> None:
        """Show the servers of a deployment, and what may be done with it."""
        t = self._screen.t
        told = (deployment, dict(self._health))
        if told == self._shown:
            return
        self._shown = told
        clear(self._detail.body)
        self._detail.setVisible(deployment is not None)
        if deployment is None:
            return
        self._screen.memory["deployment"] = deployment["id"]
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
        self._detail.add(row(ElidedLabel(deployment["id"], "heading")))
        self._detail.add(table)
        for one in deployment["servers"]:
            if one["error"]:
                message, remedy = wording.problem(one["error"], self._lang)
                self._detail.add(Banner("fail", f"{one['name']}: {message}", remedy))
        self._detail.add(self._tools(deployment))

    def _tools(self, deployment: dict[str, Any]) -> Any:
        t = self._screen.t
        serving = any(s["state"] == "serving" for s in deployment["servers"])
        cut_off = any(s["state"] in ("applying", "interrupted") for s in deployment["servers"])
        smoke = button(t("&Smoke test"), lambda: self.smoke(deployment["id"]), icon="play",
                       role=None if cut_off else "primary")
        smoke.setObjectName("smoke")
        health = button(t("Check &health"), lambda: self.check_health(deployment["id"]), icon="refresh")
        back = button(t("Roll &back…"), lambda: self._ask_rollback(deployment), icon="undo")
        retire = button(t("R&etire…"), lambda: self._ask_retire(deployment), role="danger", icon="trash")
        for tool in (smoke, health, retire):
            tool.setEnabled(serving)
        back.setEnabled(serving or cut_off)
        first = [button(t("&Go on"), lambda: self._screen.go_on(deployment), role="primary", icon="play")] if cut_off else []
        return row(*first, smoke, health, None, back, retire)

    def _health_word(self, deployment: str, server: str) -> tuple[str | None, str]:
        t, known = self._screen.t, self._health.get(f"{deployment}/{server}")
        return (None, "–") if known is None else ("ok", t("Answers")) if known else ("fail", t("Does not answer"))

    def check_health(self, deployment: str) -> None:
        """Ask each server whether it serves now."""
        def ended(found: dict[str, Any]) -> None:
            self._health |= {f"{deployment}/{one['name']}": one["healthy"] for one in found["servers"]}
            self.show_chosen(self.table.current())

        self._screen.desk.run(self, tasks.deployment_status(self._engine, self._screen.t, deployment), ended=ended)

    def smoke(self, deployment: str) -> None:
        """Ask the model a question on each server and compare the answer."""
        names = tuple(s["name"] for s in self.table.current()["servers"])
        self._screen.run_job(lambda: tasks.smoke_service(self._engine, self._screen.t, deployment), names, self._smoked)

    def _smoked(self, result: list[Any]) -> None:
        t = self._screen.t
        for one in result:
            good = one.verdict == "pass"
            words = t("The model answers.") if good else t("The smoke test did not pass.")
            self._screen.tell(Banner("ok" if good else "fail", f"{one.place}: {words}", self._probes(one)))
        self._screen.refresh()

    def _probes(self, found: Any) -> str:
        """The answer, or what each probe that did not pass says."""
        t = self._screen.t
        bad = [f"{probe.name}: {t(probe.reason, **(probe.params or {}))}" for probe in found.probes if probe.verdict != "pass"]
        return "\n".join(bad) or t("Answer: {answer}", answer=found.answer or "–")

    def _ask_rollback(self, deployment: dict[str, Any]) -> None:
        t = self._screen.t
        AskDialog(self, t, t("Roll {deployment} back?", deployment=deployment["id"]),
                  t("What it took the place of runs again; where there was nothing, nothing serves."), t("&Roll back"),
                  lambda: self._take_back(self._engine.deployments.rollback_job, deployment), danger=True).open()

    def _ask_retire(self, deployment: dict[str, Any]) -> None:
        t = self._screen.t
        AskDialog(self, t, t("Retire {deployment}?", deployment=deployment["id"]),
                  t("Its service is stopped and removed. The verified weights stay on the servers."), t("&Retire"),
                  lambda: self._take_back(self._engine.deployments.retire_job, deployment), danger=True).open()

    def _take_back(self, make: Any, deployment: dict[str, Any]) -> None:
        self._screen.run_job(lambda: make(deployment["id"]), tuple(s["name"] for s in deployment["servers"]), self._taken_back)

    def _taken_back(self, result: dict[str, Any]) -> None:
        errors = server_errors(result, self._lang)
        self._screen.tell(Banner("warn" if errors else "ok", self._screen.t("Done."), errors))
        self._screen.refresh()


def server_errors(result: dict[str, Any], lang: str) -> str:
    """What went wrong on which server, a line each."""
    return "\n".join(f"{one['name']}: {' '.join(wording.problem(one['error'], lang))}"
                     for one in result["servers"] if one.get("error"))


def state_of(deployment: dict[str, Any]) -> str:
    """The one word for a deployment: the state that most needs to be seen."""
    states = {s["state"] for s in deployment["servers"]}
    order = ("interrupted", "applying", "failed", "unreachable", "waiting", "serving", "rolled-back", "superseded",
             "retired")
    return next((state for state in order if state in states), next(iter(states), "unknown"))
