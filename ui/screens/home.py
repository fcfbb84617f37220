"""Overview: where the job stands on this site, and the next step."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QGridLayout, QWidget

from console import overview
from console.i18n import N_
from ui import theme
from ui.screens import reading, wording
from ui.screens.base import Screen
from ui.widgets.basic import Banner, Card, Page, button, clear, column, holder, label, picture, row
from ui.widgets.chain import Chain, Link

TITLES = {"site": N_("Set up the site"), "library": N_("Bring a bundle in"), "servers": N_("See what is here"),
          "readiness": N_("Ask: will it run?"), "deploy": N_("Deploy"), "proof": N_("Prove it")}
SCREENS = {"site": "setup", "library": "library", "servers": "site", "readiness": "readiness", "deploy": "deploy",
           "proof": "proof"}
ACTIONS = {"set-up": N_("Set it up"), "trust": N_("Confirm keys"), "import": N_("Bring one in"),
           "add": N_("Add servers"),
           "inventory": N_("Ask them"), "check": N_("Check readiness"), "go-on": N_("Go on"), "plan": N_("To the plan"),
           "export": N_("Export the record"), "": N_("Open")}
WORDS = {"done": N_("Done"), "next": N_("Next"), "attention": N_("Needs you"), "later": N_("Later")}


class HomeScreen(Screen):
    """The chain of the job."""

    id, icon = "home", "home"
    title, lead = N_("Overview"), N_("From the drive to a model that answers, and the record that proves it.")
    kinds = frozenset({"site", "accounts", "trust", "servers", "library", "deployments", "audit", "jobs"})

    def build(self) -> None:
        self._news, self._chain = column(gap=theme.M), column()
        self._figures = QGridLayout()
        self._figures.setSpacing(theme.M)
        self._figures.setContentsMargins(0, 0, 0, 0)
        self._chain_card = Card(self.t("The job"), holder(self._chain))
        self._news_box = holder(self._news)
        self._figures_box = holder(self._figures)
        page = Page(self._news_box, self._figures_box, self._chain_card, width=1100)
        page.add(None)
        self.put(page)

    def load(self) -> dict[str, Any]:
        found = overview.stages(self.engine)
        return {"stages": found, "next": overview.following(found), "figures": reading.figures(self.engine),
                "interrupted": self.engine.jobs.interrupted(), "new": self.engine.site.get() is None,
                "requests": self.engine.approvals.open_requests() if self.engine.approvals.required() else []}

    def show_data(self, data: dict[str, Any]) -> None:
        self._show_news(data)
        clear(self._chain)
        links = [self._link(number, stage, data["next"]) for number, stage in enumerate(data["stages"], 1)]
        self._chain.addWidget(Chain(links))
        clear(self._figures)
        self._figures_box.setVisible(not data["new"])  # five noughts tell a newcomer nothing
        for place, (icon, caption, value) in enumerate(data["figures"]):
            self._figures.addWidget(self._figure(icon, self.t(caption), value), 0, place)
            self._figures.setColumnStretch(place, 1)

    def _link(self, number: int, stage: overview.Stage, following: str) -> Link:
        state = stage.state if stage.state != "open" else "next" if stage.id == following else "later"
        action = self.t(ACTIONS[stage.need if stage.state != "done" else ""])
        return Link(number, self.t(TITLES[stage.id]), self.t(stage.text, **stage.params), state, self.t(WORDS[state]),
                    action,
                    lambda: self._go(stage))

    def _go(self, stage: overview.Stage) -> None:
        screen = SCREENS[stage.id]
        if stage.id == "library" and stage.need == "trust":
            screen = "setup"
            self.desk.remember("setup")["part"] = "keys"
        self.desk.go.emit(screen)

    def _show_news(self, data: dict[str, Any]) -> None:
        t = self.t
        clear(self._news)
        self._news_box.setVisible(bool(data["interrupted"] or data["new"] or data["requests"]))
        for request in data["requests"]:
            self._news.addWidget(self._request(request))
        if data["interrupted"]:
            look = button(t("&Look"), self._to_interrupted)
            self._news.addWidget(Banner("warn",
                                        t("Jobs that were cut off when Sealift last ran: {count}",
                                          count=len(data["interrupted"])),
                                        t("Nothing is half-switched. Each of them says how to go on."), look))
        if data["new"]:
            start = button(t("&Choose"), lambda: self.desk.go.emit("setup"), role="primary")
            self._news.addWidget(Banner("info", t("Welcome to Sealift."), t(
                "Set up this site, or open a practice site to rehearse the whole job without hardware."), start))

    def _request(self, request: Any) -> Banner:
        """A request that waits for a second person; a plan is to be read before it is answered, so it leads there."""
        t, about = self.t, str(request.document.get("object", ""))
        what = t(wording.REQUESTS.get(request.action, request.action))
        said = t("Asked by {name} at {time}. It needs the yes of another person with the role approver.",
                 name=request.requested_by, time=wording.when(request.requested_at))
        if request.action == "deploy":
            return Banner("info", f"{what}: {about}", said, button(t("Look at the &plan"), lambda: self._to_plan(about)))
        no = button(t("Den&y"), lambda: self._answer(self.engine.approvals.deny, request, about), icon="close")
        yes = button(t("A&pprove"), lambda: self._answer(self.engine.approvals.grant, request, about), icon="check")
        yes.setObjectName("approve-request")
        return Banner("info", f"{what}: {about}", said, no, yes)

    def _answer(self, answer: Any, request: Any, about: str) -> None:
        self.act(lambda: answer(request.action, about, request.digest), lambda _answered: self.refresh())

    def _to_plan(self, plan: str) -> None:
        self.desk.remember("deploy")["plan"] = plan
        self.desk.go.emit("deploy")

    def _to_interrupted(self) -> None:
        self.desk.remember("proof")["tab"] = 2
        self.desk.go.emit("proof")

    @staticmethod
    def _figure(icon: str, caption: str, value: str) -> QWidget:
        words = column(label(value, "figure"), label(caption, "muted"), gap=0)
        return Card("", row(picture(icon, theme.palette().accent, 28), words, None, gap=theme.M))
