"""Makes one server's part of a plan true, or takes it back. Every step is journaled before it begins.

A failure, or a cancel, undoes the steps in reverse, so that what ran before runs again. When the server cannot be
reached for that, the journal keeps what was under way: applying again goes on from there, a rollback takes it back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from console.deploy.plan import Plan, ServerPlan, listening
from console.errors import Cancelled, SealiftError, WorldError, code
from console.i18n import N_
from console.smoke.http import Client
from console.steps import Host, Task, kinds
from console.store import deployments as table

CHANGED = code("deploy.changed-since-plan", WorldError,
               N_("{server} is not as it was when the plan was made: {what} was not part of what was approved."),
               N_("Plan again, and have the new plan approved."))
PORT_TAKEN = code("deploy.port-taken", WorldError, N_("Port {port} of {server} is taken by another program meanwhile."),
                  N_("Plan again; a free port is chosen."))
STILL_BROKEN = N_("{server}: undoing the step {kind} failed: {message}")
BACK = N_("{server}: what ran before answers again.")
NOT_BACK = N_("{server}: what ran before was started again and does not answer yet.")
BLANK = {"content": None, "active": False, "target": None, "stamp": None, "container": None, "image": None}
"""Facts of a server on which nothing was deployed; a retirement undoes towards them."""

STARTS = ("service", "container-run")
RESTORE_WAIT_S = 120


class _Uncancelled:
    """The context of an undo: it reports as before, and a cancel does not stop it half-way."""

    def __init__(self, ctx: Any):
        self._ctx = ctx

    def checkpoint(self) -> None:
        """Not now."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)


class ServerRun:
    """One server's part of one deployment.

    Args:
        connect: opens a host anew; used again for the undo after a broken link.
    """

    def __init__(self, store: Any, deployment_id: str, plan: Plan, part: ServerPlan, connect: Any):
        self._store, self._id, self._plan, self._part, self._connect = store, deployment_id, plan, part, connect
        self.name = part.name

    def apply(self, ctx: Any) -> dict[str, Any]:
        """Make it true. Returns ``{"name", "outcome", "error", "restored"}``; outcome ``serving``, ``refused``,
        ``failed`` (undone), ``interrupted`` (could not be undone; apply goes on).

        Raises:
            Cancelled: after the undo.
        """
        self._state("applying")
        try:
            host = self._connect()
        except SealiftError as problem:
            return self._ended("unreachable" if not self._begun() else "interrupted", problem)
        try:
            self._steps(ctx, host)
            return self._ended("serving", None)
        except Cancelled:
            self._take_back(ctx, host)
            self._ended("cancelled", None)
            raise
        except SealiftError as problem:
            planned = self._part.refused is not None and problem.code == self._part.refused["code"]
            undone = self._take_back(ctx, host)
            result = self._ended("refused" if planned else "failed" if undone else "interrupted", problem)
            return result | {"restored": self.restored(ctx, host) if undone else None}
        finally:
            host.transport.close()

    def _begun(self) -> bool:
        return any(row["state"] != "undone" for row in table.steps(self._store, self._id, self.name))

    def _steps(self, ctx: Any, host: Host) -> None:
        approved = {change.key() for change in self._part.changes}
        for position, task in enumerate(self._part.tasks):
            ctx.checkpoint()
            kind = kinds()[task.kind]
            ctx.server(self.name).phase(kind.title)
            facts = kind.inspect(host, task)
            changes = kind.plan(facts, task)
            for change in changes:
                if change.key() not in approved:
                    raise CHANGED(server=self.name, what=change.summary())
            if changes and task.kind in STARTS and not facts.get("active"):
                self._port_is_free(host)
            table.begin_step(self._store, self._id, self.name, position, task.kind, facts)
            if changes:
                kind.apply(ctx, host, task, facts)
            kind.verify(ctx, host, task)
            table.set_step(self._store, self._id, self.name, position, "done")

    def _port_is_free(self, host: Host) -> None:
        if self._part.port in listening(host)[1]:
            raise PORT_TAKEN(server=self.name, port=self._part.port)

    def _take_back(self, ctx: Any, host: Host) -> bool:
        """Undo on the standing link, or on a new one when that broke; False when neither did it."""
        if self.undo(ctx, host):
            return True
        try:
            again = self._connect()
        except SealiftError:
            return False
        try:
            return self.undo(ctx, again)
        finally:
            again.transport.close()

    def undo(self, ctx: Any, host: Host) -> bool:
        """Undo every journaled step, last first. True when all are undone; what failed is noted and stays journaled."""
        calm, whole = _Uncancelled(ctx), True
        tasks = self._part.tasks
        for row in reversed(table.steps(self._store, self._id, self.name)):
            if row["state"] == "undone":
                continue
            try:
                kinds()[row["kind"]].undo(calm, host, tasks[row["position"]], row["before"])
                table.set_step(self._store, self._id, self.name, row["position"], "undone")
            except SealiftError as problem:
                ctx.warn(STILL_BROKEN, server=self.name, kind=row["kind"], message=problem.message())
                whole = False
                if problem.code.startswith("ssh."):
                    break
        return whole

    def retire(self, ctx: Any, host: Host) -> None:
        """Stop and remove what serves, whatever stood before it. The weights stay in the store.

        Raises:
            WorldError: of the first step that could not be removed; the rest is removed.
        """
        first: SealiftError | None = None
        for task in reversed(self._part.tasks):
            kind = kinds()[task.kind]
            try:
                kind.undo(_Uncancelled(ctx), host, task, kind.inspect(host, task) | BLANK)
            except SealiftError as problem:
                first = first or problem
        if first:
            raise first
        host.script("removing the deployment's folder", 'rm -rf -- "$1" && rmdir -- "$2" 2>/dev/null || :',
                    f"{host.store}/deployments/{self._plan.name}", f"{host.store}/models/{self._plan.name}",
                    timeout_s=300)

    def restored(self, ctx: Any, host: Host) -> bool | None:
        """Whether what ran before answers again; None when nothing ran before."""
        before = self._previous()
        if before is None:
            return None
        good = answers(host, *before)
        ctx.server(self.name).note(BACK if good else NOT_BACK, server=self.name)
        return good

    def _previous(self) -> tuple[int, dict[str, Any]] | None:
        """Port and service description of the deployment that this one took the place of."""
        mine = next((row for row in table.servers(self._store, self._id) if row["server"] == self.name), None)
        row = table.get_deployment(self._store, mine["previous"]) if mine and mine["previous"] else None
        plan = table.get_plan(self._store, row["plan_id"]) if row else None
        if plan is None:
            return None
        port = next((one["port"] for one in plan["document"]["servers"] if one["name"] == self.name), None)
        return (port, plan["document"]["service"]) if port else None

    def _state(self, state: str, error: Mapping[str, Any] | None = None) -> None:
        table.set_server(self._store, self._id, self.name, state, error=error)

    def _ended(self, outcome: str, problem: SealiftError | None) -> dict[str, Any]:
        error = problem.kept() if problem else None
        self._state(outcome, error)
        return {"name": self.name, "outcome": outcome, "port": self._part.port, "error": error}


def answers(host: Host, port: int, service: Mapping[str, Any], wait_s: float = RESTORE_WAIT_S) -> bool:
    """Whether the service on ``port``, as the playbook describes it, says that it is healthy within ``wait_s``."""
    client, health = Client(host.transport, service["health_port"] or port), str(service["health"])
    end, pause_s = time.monotonic() + wait_s, 0.1
    while time.monotonic() < end:
        try:
            if client.get(health, timeout_s=10).status == 200:
                return True
        except SealiftError as problem:
            if problem.code == "ssh.connection-lost":
                return False
        time.sleep(pause_s)
        pause_s = min(2.0, pause_s * 1.5)
    return False


def task_of(part: ServerPlan, kind: str) -> Task | None:
    """The first task of a kind."""
    return next((task for task in part.tasks if task.kind == kind), None)
