"""Plans, approvals, deployments: ``engine.deployments``.

A deployment is per server: one that fails is taken back and does not hold up the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from console.deploy import plan as planning
from console.deploy import playbook as recipes
from console.deploy.apply import ServerRun, answers, task_of
from console.deploy.plan import NAME, Order, Plan, ServerPlan
from console.errors import InputError, SealiftError, WorldError, code
from console.i18n import N_
from console.jobs.job import JobSpec
from console.steps import Host
from console.store import deployments as table

UNKNOWN_PLAN = code("deploy.unknown-plan", InputError, N_("There is no plan {plan}."),
                    N_("See `sealift deploy status`."))
UNKNOWN = code("deploy.unknown-deployment", InputError, N_("There is no deployment {deployment}."),
               N_("See `sealift deploy status`."))
ALREADY = code("deploy.already-applied", InputError, N_("The plan {plan} was applied before, as {deployment}."),
               N_("Plan again to deploy once more."))
NOTHING_SERVES = code("deploy.nothing-to-do", InputError, N_("{deployment} serves on none of the servers asked."),
                      N_("See `sealift deploy status`."))
NEWER = code("deploy.not-the-newest", InputError, N_("On {server}, {newer} was deployed after {deployment}."),
             N_("Roll {newer} back first."))

AT_ONCE = 8
OPEN_STATES = ("applying", "interrupted")
CLOSED_STATES = ("serving", "refused", "superseded", "rolled-back", "retired")
ACTION, PLACES = "deploy", "place-model"


class DeployService:
    """See the module. ``engine`` gives store, servers, library, push, audit, approvals."""

    def __init__(self, engine: Any):
        self._engine, self._store = engine, engine.store

    def playbooks(self) -> list[dict[str, Any]]:
        """The playbooks that ship with the program."""
        return [one.as_dict() for one in recipes.built_in().values()]

    # Planning ------------------------------------------------------------------------------------------------------

    def plan(self, playbook_id: str, release: Any, names: Sequence[str], answers: Mapping[str, Any] | None = None, *,
             name: str | None = None, model: str | None = None, runtime: str | None = None) -> Plan:
        """Look at every server and say what would change; nothing is changed.

        Args:
            release: a Release of the library, or its id or title.
            answers: to what the playbook asks, and ``port``.
            name: of the deployment, and of the model as served; the model component's id by default.

        Raises:
            InputError: an unknown playbook, release, server or answer. WorldError: no server could be reached.
        """
        self._engine.require("operator")
        release = self._engine.library.get(release) if isinstance(release, str) else release
        order, port = self._order(playbook_id, release, dict(answers or {}), name, model, runtime)
        records = self._engine.servers.select(list(names))
        parts = self._parts(order, records, port)
        made = self._sealed(Plan(
            "", "", order.name, order.name, order.playbook.id, order.playbook.digest, order.playbook.status,
            release.release_id, tuple(c.id for c in (order.model, order.runtime) if c), order.answers,
            dict(order.playbook.service), tuple(parts), self._engine.actor.id))
        table.add_plan(self._store, made.id, made.digest, made.created_by, made.document())
        self._engine.approvals.request(ACTION, made.id, made.digest, {
            "name": made.name, "playbook": made.playbook, "release": made.release_id,
            "servers": [p.name for p in made.servers]})
        self._engine.audit.append("deploy.plan", obj=_object(made), detail={
            "playbook": made.playbook, "release": made.release_id, "servers": [p.name for p in made.servers],
            "changes": sum(len(p.changes) for p in made.servers),
            "refused": [p.name for p in made.servers if p.refused]})
        return made

    def _sealed(self, plan: Plan) -> Plan:
        """The plan with its digest; one that was applied and has ended before is another plan when it is made again."""
        made = planning.sealed(plan)
        while (known := table.get_deployment(self._store, made.id)) and self._ended(known):
            made = planning.sealed(replace(made, id="", digest="", attempt=made.attempt + 1))
        return made

    def _ended(self, deployment: Mapping[str, Any]) -> bool:
        return all(row["state"] in CLOSED_STATES for row in table.servers(self._store, deployment["id"]))

    def _order(self, playbook_id: str, release: Any, answers: dict[str, Any], name: str | None, model: str | None,
               runtime: str | None) -> tuple[Order, int | None]:
        book = recipes.find(playbook_id, self._carried(release))
        port = answers.pop("port", None)
        if port is not None:
            title = {"en": "Port"}
            port = recipes.Answer("port", "integer", title, min=1024, max=65535).checked(port)
        found = planning.component(release, "model", book.model_formats, model)
        name = name or found.id.lower().replace("_", "-")
        if not NAME.fullmatch(name):
            raise planning.BAD_NAME(name=name)
        part = planning.component(release, "runtime", book.runtime_formats, runtime)
        return Order(book, release, found, part, name, book.answered(answers)), port

    def _carried(self, release: Any) -> dict[str, Any]:
        """The playbooks that the signed release brings with it."""
        wanted = {c.id for c in release.components if c.type == "playbook"}
        return {f.path.rsplit("/", 1)[-1].removesuffix(".yaml"): (self._engine.library.open_file(release, f.path),
                                                                   release.release_id)
                for f in release.files if f.component in wanted and f.path.endswith(".yaml")}

    def _parts(self, order: Order, records: list[Any], port: int | None) -> list[ServerPlan]:
        """Look at all servers at once; ports are given out one after another, since servers may share a machine."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            seen = list(pool.map(self._reach, records))
        given: dict[str, set[int]] = {}
        ports: list[int | None] = []
        for record, found in zip(records, seen, strict=True):
            ports.append(None if isinstance(found, SealiftError) else
                         self._port(order, record, found[2], given.setdefault(_machine(record), set()), port))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda row: self._part(order, *row), zip(records, seen, ports, strict=True)))

    def _reach(self, record: Any) -> Any:
        try:
            host = self._host(record)
        except SealiftError as problem:
            return problem
        try:
            return (host, *planning.listening(host))
        except SealiftError as problem:
            host.transport.close()
            return problem

    def _port(self, order: Order, record: Any, busy: set[int], given: set[int], asked: int | None) -> int:
        current = self._serving(record.name, order.name)
        if current and asked in (None, current["port"]):
            port = current["port"]
        else:
            neighbours = {one.name for one in self._engine.servers.list() if _machine(one) == _machine(record)}
            kept = {row["port"] for row in table.with_state(self._store, "serving") if row["server"] in neighbours}
            first = asked or order.playbook.service["port"]
            port = planning.free_port(record.name, first, busy | kept | given)
        given.add(port)
        return port

    def _part(self, order: Order, record: Any, seen: Any, port: int | None) -> ServerPlan:
        if isinstance(seen, SealiftError):
            return ServerPlan(record.name, None, (), (), seen.kept(), 0)
        host, machine, _ports = seen
        try:
            tasks = order.tasks(host.store, port, self._devices(order, record.name))
            changes, problem, position = planning.look(host, tasks)
            if problem is None:
                problem, position = self._unfit(order, record.name, machine)
            return ServerPlan(record.name, port, tasks, tuple(changes), problem.kept() if problem else None,
                              position)
        except WorldError as lost:
            return ServerPlan(record.name, None, (), (), lost.kept(), 0)
        finally:
            host.transport.close()

    def _devices(self, order: Order, server: str) -> int:
        wanted = order.playbook.needs.get("accelerator")
        known = self._engine.inventory.latest(server) if wanted else None
        return sum(device.vendor == wanted for device in known.devices) if known else 0

    def _unfit(self, order: Order, server: str, machine: str) -> tuple[SealiftError | None, int | None]:
        needs = order.playbook.needs
        if needs.get("arch") and machine not in needs["arch"]:
            return planning.WRONG_ARCH(server=server, found=machine, wanted=", ".join(needs["arch"])), 0
        if needs.get("accelerator") and self._devices(order, server) < int(needs.get("devices", 1)):
            return planning.NO_DEVICES(server=server, wanted=needs["accelerator"]), 0
        return None, None

    def get_plan(self, plan_id: str) -> Plan:
        """A stored plan. Raises InputError ``deploy.unknown-plan``."""
        row = table.get_plan(self._store, plan_id)
        if row is None:
            raise UNKNOWN_PLAN(plan=plan_id)
        return planning.from_row(row)

    # Approval ------------------------------------------------------------------------------------------------------

    def approve(self, plan_id: str) -> dict[str, Any]:
        """Say yes to a plan under one's own name.

        Raises:
            DeniedError: not an approver, or the plan's own author where the site wants two people.
            InputError: ``deploy.already-applied``.
        """
        self._engine.require("approver")
        plan = self.get_plan(plan_id)
        known = table.get_deployment(self._store, plan.id)
        if known:
            raise ALREADY(plan=plan.id, deployment=known["id"])
        found = self._engine.approvals.granted(ACTION, plan.digest)
        if found is None or self._engine.actor.id not in found.granted:
            found = self._engine.approvals.grant(ACTION, plan.id, plan.digest)
        table.set_plan_state(self._store, plan.id, "approved")
        return {"state": "approved", "digest": plan.digest, "approved_by": list(found.granted)}

    # Applying ------------------------------------------------------------------------------------------------------

    def apply_job(self, plan_id: str) -> JobSpec:
        """The job that applies a plan."""
        plan = self.get_plan(plan_id)
        return self._job("deploy.apply", N_("Deploy"), plan.name, lambda ctx: self.apply(ctx, plan_id), plan)

    def apply(self, ctx: Any, plan_id: str) -> dict[str, Any]:
        """Make an approved plan true, on every server by itself; run again, it goes on where it was cut off.

        Returns:
            ``{"deployment", "plan", "servers": [{"name", "outcome", "port", "error", …}]}``

        Raises:
            DeniedError: not approved. InputError: applied before. Cancelled: what was under way is taken back.
        """
        self._engine.require("operator")
        plan = self.get_plan(plan_id)
        deployment = self._begin(plan)
        about = {"deployment": deployment, "servers": [p.name for p in plan.servers]}
        yes = self._engine.approvals.spent(ACTION, plan.digest)
        with self._engine.act("deploy.start", _object(plan), about, approvers=yes.granted if yes else (), corr=yes and yes.id):
            states = {part.name: self._row(deployment, part.name) for part in plan.servers}
            todo = [part for part in plan.servers if states[part.name]["state"] not in CLOSED_STATES]
            self._push(ctx, plan, todo)
            results = self._each(ctx, [part.name for part in todo],
                                 lambda name: self._apply_one(ctx, deployment, plan, _named(plan, name)))
        done = {result["name"]: result for result in results}
        servers = [done.get(name) or {"name": name, "outcome": row["state"], "port": row["port"], "error": row["error"]}
                   for name, row in states.items()]
        self._engine.audit.append("deploy.end", outcome="success" if _all_serve(servers) else "failure",
                                  obj=_object(plan), approvers=yes.granted if yes else (), corr=yes and yes.id,
                                  detail={"deployment": deployment,
                                          "servers": {s["name"]: s["outcome"] for s in servers}})
        self._keep_heads(ctx, [s["name"] for s in servers if s["outcome"] == "serving"])
        return {"deployment": deployment, "plan": plan.id, "servers": servers}

    def _keep_heads(self, ctx: Any, names: list[str]) -> None:
        """Have the servers keep the log's head over what was just done; a failure of that is a note, not a failure."""
        if names and self._engine.settings.get("audit.head-servers"):
            from console.audit.copies import copy_heads

            copy_heads(self._engine, ctx, names)

    def _begin(self, plan: Plan) -> str:
        known = table.get_deployment(self._store, plan.id)
        if known:
            if self._ended(known):
                raise ALREADY(plan=plan.id, deployment=known["id"])
            return known["id"]
        number = table.count_named(self._store, plan.name) + 1
        rows = []
        for part in plan.servers:
            before = self._serving(part.name, plan.name)
            rows.append({"server": part.name, "port": part.port,
                         "previous": before["deployment_id"] if before else None})
        made = {"id": f"{plan.name}-{number}", "plan_id": plan.id, "name": plan.name, "playbook": plan.playbook,
                "release_id": plan.release_id, "created_by": self._engine.actor.id}
        with self._store.write():
            # One transaction: a yes that is spent has its deployment, and no deployment stands without its yes.
            self._engine.approvals.use(ACTION, plan.id, plan.digest)
            table.add_deployment(self._store, made, rows)
            table.set_plan_state(self._store, plan.id, "applied")
        return made["id"]

    def _push(self, ctx: Any, plan: Plan, parts: list[ServerPlan]) -> None:
        """One push to all servers that lack files, so that they can feed each other."""
        names = [p.name for p in parts if any(change.step == PLACES for change in p.changes)]
        self._pushed: dict[str, dict[str, Any]] = {}
        if not names:
            return
        release = self._engine.library.get(plan.release_id)
        found = self._engine.push.run(ctx, release, names, components=list(plan.components))
        self._pushed = {row["name"]: row for row in found["servers"]}

    def _push_one(self, plan: Plan, ctx: Any, name: str) -> dict[str, Any]:
        done = self._pushed.pop(name, None)
        if done is None:
            release = self._engine.library.get(plan.release_id)
            done = self._engine.push.run(ctx, release, [name], components=list(plan.components))["servers"][0]
        return done

    def _apply_one(self, ctx: Any, deployment: str, plan: Plan, part: ServerPlan) -> dict[str, Any]:
        if not part.tasks:
            table.set_server(self._store, deployment, part.name, "unreachable", error=part.refused)
            result = {"name": part.name, "outcome": "unreachable", "port": None, "error": part.refused}
        else:
            result = self._run_of(deployment, plan, part).apply(ctx)
        if result["outcome"] == "serving":
            self._supersede(deployment, part.name)
        self._engine.audit.append("deploy.step", outcome="success" if result["outcome"] == "serving" else "failure",
                                  obj={"kind": "server", "id": part.name, "digest": None},
                                  detail={"deployment": deployment, "outcome": result["outcome"],
                                          "restored": result.get("restored"),
                                          "error": result["error"] and result["error"]["code"]})
        told = {key: value for key, value in result.items() if key not in ("name", "outcome")}
        ctx.server(part.name).result(result["outcome"], **told)
        return result

    def _supersede(self, deployment: str, server: str) -> None:
        previous = self._row(deployment, server)["previous"]
        if previous:
            table.set_server(self._store, previous, server, "superseded")

    def _run_of(self, deployment: str, plan: Plan, part: ServerPlan) -> ServerRun:
        def connect() -> Host:
            return self._host(self._engine.servers.get(part.name), {
                "push": lambda ctx, name: self._push_one(plan, ctx, name),
                "smoked": lambda server, found, known: table.set_server(
                    self._store, deployment, server, "applying", smoke=found.as_dict(), expect=known)})

        return ServerRun(self._store, deployment, plan, part, connect)

    # Taking back ---------------------------------------------------------------------------------------------------

    def rollback_job(self, deployment_id: str, names: Sequence[str] = ()) -> JobSpec:
        """The job that rolls a deployment back."""
        plan = self._plan_of(deployment_id)
        return self._job("deploy.rollback", N_("Roll back"), plan.name,
                         lambda ctx: self.rollback(ctx, deployment_id, names), plan)

    def rollback(self, ctx: Any, deployment_id: str, names: Sequence[str] = ()) -> dict[str, Any]:
        """Undo a deployment, so that what it took the place of runs again; also one that was cut off half-way.

        Raises:
            InputError: nothing to take back, or something newer stands on it.
        """
        self._engine.require("operator")
        row, plan = self._deployment(deployment_id), self._plan_of(deployment_id)
        chosen = self._chosen(row, names, ("serving", *OPEN_STATES))
        for name in chosen:
            newest = next(r for r in table.on_server(self._store, name)
                          if r["name"] == row["name"] and r["state"] in ("serving", *OPEN_STATES))
            if newest["deployment_id"] != row["id"]:
                raise NEWER(server=name, newer=newest["deployment_id"], deployment=row["id"])
        return self._take(ctx, "deploy.rollback", row, plan, chosen, self._rollback_one)

    def _rollback_one(self, ctx: Any, row: Mapping[str, Any], run: ServerRun, host: Host) -> dict[str, Any]:
        if not run.undo(ctx, host):
            table.set_server(self._store, row["id"], run.name, "interrupted")
            return {"outcome": "interrupted"}
        table.set_server(self._store, row["id"], run.name, "rolled-back")
        previous = self._row(row["id"], run.name)["previous"]
        if not previous:
            return {"outcome": "rolled-back", "previous": None, "restored": None}
        table.set_server(self._store, previous, run.name, "serving")
        return {"outcome": "rolled-back", "previous": previous, "restored": run.restored(ctx, host)}

    def retire_job(self, deployment_id: str, names: Sequence[str] = ()) -> JobSpec:
        """The job that retires a deployment."""
        plan = self._plan_of(deployment_id)
        return self._job("deploy.retire", N_("Retire"), plan.name, lambda ctx: self.retire(ctx, deployment_id, names),
                         plan)

    def retire(self, ctx: Any, deployment_id: str, names: Sequence[str] = ()) -> dict[str, Any]:
        """Stop a deployment and remove its service and runtime. The verified weights stay in the servers' store."""
        self._engine.require("operator")
        row, plan = self._deployment(deployment_id), self._plan_of(deployment_id)
        return self._take(ctx, "service.retire", row, plan, self._chosen(row, names, ("serving", *OPEN_STATES)),
                          self._retire_one)

    def _retire_one(self, ctx: Any, row: Mapping[str, Any], run: ServerRun, host: Host) -> dict[str, Any]:
        run.retire(ctx, host)
        table.set_server(self._store, row["id"], run.name, "retired")
        return {"outcome": "retired"}

    def _take(self, ctx: Any, event: str, row: Mapping[str, Any], plan: Plan, names: list[str],
              act: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        def one(name: str) -> dict[str, Any]:
            run = self._run_of(row["id"], plan, _named(plan, name))
            try:
                host = self._host(self._engine.servers.get(name))
                try:
                    found = act(ctx, row, run, host)
                finally:
                    host.transport.close()
            except SealiftError as problem:
                found = {"outcome": "unreachable" if problem.code.startswith("ssh.") else "failed",
                         "error": problem.kept()}
            ctx.server(name).result(found["outcome"])
            return {"name": name, "error": None} | found

        with self._engine.act(event, {"kind": "deployment", "id": row["id"], "digest": plan.digest},
                              {"servers": names}):
            return {"deployment": row["id"], "servers": self._each(ctx, names, one)}

    # Looking -------------------------------------------------------------------------------------------------------

    def list(self) -> list[dict[str, Any]]:
        """Every deployment, newest first, with the state on each server."""
        return [self._shown(row) for row in table.deployments(self._store)]

    def plans(self) -> list[dict[str, Any]]:
        """Every plan, newest first: id, state, author, what it is about."""
        return [{"id": r["id"], "state": r["state"], "created_at": r["created_at"], "created_by": r["created_by"],
                 "name": r["document"]["name"], "playbook": r["document"]["playbook"],
                 "release_id": r["document"]["release_id"],
                 "servers": [s["name"] for s in r["document"]["servers"]]} for r in table.plans(self._store)]

    def interrupted(self) -> list[dict[str, Any]]:
        """What was under way when a console stopped: apply goes on, rollback takes back."""
        return [one for one in self.list() if any(s["state"] in OPEN_STATES for s in one["servers"])]

    def status(self, ctx: Any, deployment_id: str) -> dict[str, Any]:
        """A deployment as recorded, and whether each serving server is healthy now."""
        row, plan = self._deployment(deployment_id), self._plan_of(deployment_id)
        shown = self._shown(row)
        serving = [one["name"] for one in shown["servers"] if one["state"] == "serving"]
        health = dict(zip(serving, self._each(ctx, serving, lambda name: self._healthy(plan, name)), strict=True))
        return shown | {"servers": [one | {"healthy": health.get(one["name"])} for one in shown["servers"]]}

    def served(self, deployment_id: str) -> list[dict[str, Any]]:
        """Where a deployment serves and how to ask it: server, port, served_name, expect, health, max_tokens."""
        row, plan = self._deployment(deployment_id), self._plan_of(deployment_id)
        made = []
        for one in table.servers(self._store, row["id"]):
            if one["state"] == "serving":
                task = task_of(_named(plan, one["server"]), "smoke")
                options = task.options if task else {}
                made.append({"server": one["server"], "port": one["port"], "served_name": plan.served_name,
                             "expect": one["expect"] or [], "health": options.get("health", plan.service["health"]),
                             "health_port": plan.service["health_port"],
                             "lists_models": bool(options.get("models", True)),
                             "max_tokens": int(options.get("max_tokens", 64))})
        return made

    def _healthy(self, plan: Plan, name: str) -> bool:
        with contextlib.suppress(SealiftError):
            host = self._host(self._engine.servers.get(name))
            try:
                return answers(host, _named(plan, name).port, plan.service, 5)
            finally:
                host.transport.close()
        return False

    def _shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return dict(row) | {"servers": [
            {"name": one["server"], "state": one["state"], "port": one["port"], "previous": one["previous"],
             "error": one["error"],
             "answer": (one["smoke"] or {}).get("answer"), "updated_at": one["updated_at"],
             "steps": [{"kind": s["kind"], "state": s["state"]}
                       for s in table.steps(self._store, row["id"], one["server"])]}
            for one in table.servers(self._store, row["id"])]}

    # Small parts ---------------------------------------------------------------------------------------------------

    def _host(self, record: Any, services: dict[str, Callable[..., Any]] | None = None) -> Host:
        link = self._engine.servers.connect(record.name)
        try:
            return Host.of(link, record, services)
        except BaseException:
            link.close()
            raise

    def _deployment(self, deployment_id: str) -> dict[str, Any]:
        row = table.get_deployment(self._store, deployment_id)
        if row is None:
            raise UNKNOWN(deployment=deployment_id)
        return row

    def _plan_of(self, deployment_id: str) -> Plan:
        return self.get_plan(self._deployment(deployment_id)["plan_id"])

    def _row(self, deployment: str, server: str) -> dict[str, Any]:
        return next(row for row in table.servers(self._store, deployment) if row["server"] == server)

    def _serving(self, server: str, name: str) -> dict[str, Any] | None:
        return next((row for row in table.on_server(self._store, server) if row["name"] == name
                     and row["state"] == "serving"), None)

    def _chosen(self, row: Mapping[str, Any], names: Sequence[str], states: tuple[str, ...]) -> list[str]:
        found = [one["server"] for one in table.servers(self._store, row["id"])
                 if one["state"] in states and (not names or one["server"] in names)]
        if not found:
            raise NOTHING_SERVES(deployment=row["id"])
        return found

    def _each(self, ctx: Any, names: Sequence[str], act: Callable[[str], Any]) -> list[Any]:
        """``act`` on every server at once. All end before the first error or cancel is handed on."""
        ctx.checkpoint()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            futures = [pool.submit(act, name) for name in names]
        return [future.result() for future in futures]

    def _job(self, kind: str, title: str, name: str, run: Callable[[Any], Any], plan: Plan) -> JobSpec:
        return JobSpec(kind=kind, title=f"{title} {name}", run=run, servers=tuple(p.name for p in plan.servers),
                       changes=True,
                       params={"plan": plan.id}, changed=frozenset({"deployments"}))


def _object(plan: Plan) -> dict[str, Any]:
    return {"kind": "plan", "id": plan.id, "digest": plan.digest}


def _named(plan: Plan, name: str) -> ServerPlan:
    return next(part for part in plan.servers if part.name == name)


def _all_serve(servers: list[dict[str, Any]]) -> bool:
    return all(one["outcome"] == "serving" for one in servers)


def _machine(record: Any) -> str:
    """Servers on loopback are one machine and share its ports."""
    address = record.address
    return "loopback" if address.startswith("127.") or address in ("localhost", "::1") else address
