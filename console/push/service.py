"""``engine.push``: a release onto servers, verified there; each server by itself, a result for each."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from console.bundles.library import Release
from console.errors import Cancelled, InputError, SealiftError, code
from console.i18n import N_
from console.jobs.job import Context, JobSpec
from console.push import manifest
from console.push.connection import Limit
from console.push.control import Control, Traffic, Window
from console.push.lanes import Slots, Way
from console.push.leftovers import PYTHONS, Leftovers, python_of
from console.push.relay import REASONS, Chain
from console.push.sender import Means, Outcome, send
from console.servers.record import ServerRecord

if TYPE_CHECKING:
    from console.engine import Engine
    from console.transport.base import Transport

DEGREES = ("received", "stored", "media")
BAD_DEGREE = code("push.bad-degree", InputError, N_("{degree} is not a degree of verification."), N_("Choose received, stored or media."))
BAD_CONNECTIONS = code("push.bad-connections", InputError, N_("{count} connections to a server are not possible."), N_("Choose 1 to 4."))
NO_SERVERS = code("push.no-servers", InputError, N_("No server was named."), N_("Name the servers to push to."))
NO_COMPONENT = code(
    "push.no-component", InputError, N_("{title} has no component {component}."), N_("`sealift bundle inspect` lists the components.")
)

AT_ONCE = 8
CHAINED = 64
"""Servers that hand a push on to each other are all connected at once."""

NEW_ENOUGH = re.compile(r"3\.([6-9]|[1-9]\d)\.")
RECONNECTS = 2
TIDY_S = 5.0
UNREACHABLE = ("ssh.unreachable", "ssh.refused", "ssh.timeout", "ssh.connection-lost", "ssh.not-ssh")
BROKEN_LINK = ("ssh.connection-lost", "push.receiver-failed")
REFUSED = ("ssh.host-key-changed", "ssh.host-key-unknown", "ssh.auth-failed")


class PushService:
    """Pushes releases.

    Attributes:
        traffic: the pushes under way; each can be paused, resumed and limited, and names its job.
        leftovers: where pushes that were cut off may have left keys.
    """

    def __init__(self, engine: Engine):
        self._engine, self._slots, self.traffic, self.leftovers = engine, Slots(), Traffic(), Leftovers(engine)

    def job(self, release: Release, names: Sequence[str], title: str, **options: Any) -> JobSpec:
        """The job that pushes; see :meth:`run` for the options."""
        return JobSpec(
            "push.run",
            title,
            lambda ctx: self.run(ctx, release, names, **options),
            tuple(names),
            changes=True,
            params={"release": release.release_id, "servers": list(names)},
            changed=frozenset({"servers", "audit", "jobs"}),
        )

    def run(
        self,
        ctx: Context,
        release: Release,
        names: Sequence[str],
        *,
        relay: str = "auto",
        degree: str | None = None,
        components: Sequence[str] | None = None,
        limit_bytes_per_s: int | None = None,
        connections: int | None = None,
        priority: str = "normal",
        window: str | None = None,
    ) -> dict[str, Any]:
        """Push to every named server.

        Args:
            relay: ``auto`` lets servers hand the push on to each other where the site's policy and the setting do;
                ``off`` has the console feed each.
            degree: received, stored or media; never less than the site's policy.
            components: ids; all when None.
            limit_bytes_per_s: what the console sends to all servers together; the setting when None.
            priority: ``low``, ``normal`` or ``high``: of several pushes those of lower priority wait.
            window: ``20:00-06:00``: outside of it nothing is sent, and the push waits.
            connections: 1 to 4 to each server; as many as the measured rate justifies when None.

        Returns:
            ``{"servers": [...]}`` of the contract, in the order of ``names``.

        Raises:
            DeniedError. InputError: an unknown server or component. Cancelled: what was verified stays for the next push.
        """
        self._engine.require("operator")
        records = self._records(names)
        degree = self._degree(degree)
        if connections is not None and connections not in range(1, 5):
            raise BAD_CONNECTIONS(count=connections)
        if unknown := set(components or ()) - {c.id for c in release.components}:
            raise NO_COMPONENT(title=release.title, component=min(unknown))
        limit = Limit(self._engine.settings.get("push.limit-bytes-per-s") if limit_bytes_per_s is None else limit_bytes_per_s)
        control = Control(limit, priority, Window.parse(window) if window else None, ctx.job)
        handing_on = self._relays(relay) and len(records) > 1
        chain = Chain((r.name for r in records), self.leftovers.expect) if handing_on else None
        means = Means(control, self._slots, None, connections, chain)
        detail = {
            "servers": [r.name for r in records],
            "degree": degree,
            "components": list(components) if components is not None else None,
            "relay": handing_on,
            "limit_bytes_per_s": limit.bytes_per_s,
            "priority": priority,
            "window": window,
        }
        with self._recorded(release, detail) as told:
            cargo = _Cargo(lambda: manifest.plan(self._engine.library, release, "", degree, components))
            with self.traffic.running(control), self._running(ctx, chain, records), ThreadPoolExecutor(CHAINED if chain else AT_ONCE, "push") as pool:
                results = list(pool.map(lambda r: self._one(ctx.server(r.name), r, cargo, degree, means), records))
            told["servers"] = {r["name"]: _recorded_result(r) for r in results}
            if chain is not None:
                told["relay"] = [hop.told() for hop in chain.hops]
            if any(r["outcome"] == "cancelled" for r in results):
                raise Cancelled
        return {"servers": results}

    def _relays(self, asked: str) -> bool:
        """Whether servers may hand the push on: the site's policy, the setting and the operator must all allow it."""
        site = self._engine.site.get()
        return asked == "auto" and self._engine.settings.get("push.relay") == "auto" and (site is None or site.policy.relay)

    @contextmanager
    def _running(self, ctx: Context, chain: Chain | None, records: list[ServerRecord]) -> Iterator[None]:
        if chain is None:
            yield
            return
        chain.start()
        try:
            yield
        finally:
            chain.stop()
            self.leftovers.settle((r.name for r in records), chain.let_go)
        if not ctx.cancelled:
            self.tidy([r.name for r in records])

    def tidy(self, names: Sequence[str] = ()) -> None:
        """Connect to the servers on which a push that was cut off may have left keys, which takes them away; of those ``names``,
        or of all. Asks nobody for anything; what cannot be reached stays noted."""

        def one(name: str) -> None:
            with suppress(SealiftError):
                self._engine.servers.connect(name, timeout_s=TIDY_S, ask=False).close()

        left = [name for name in self.leftovers.where() if not names or name in names]
        if left:
            with ThreadPoolExecutor(AT_ONCE, "tidy") as pool:
                list(pool.map(one, left))

    def tidy_job(self, title: str) -> JobSpec | None:
        """The job that does so for all; None where nothing is left anywhere."""
        left = self.leftovers.where()
        return JobSpec("push.tidy", title, lambda ctx: self.tidy(), tuple(left)) if left else None

    def _records(self, names: Sequence[str]) -> list[ServerRecord]:
        if not names:
            raise NO_SERVERS()
        return [self._engine.servers.get(name) for name in dict.fromkeys(names)]

    def _degree(self, asked: str | None) -> str:
        site = self._engine.site.get()
        least = site.policy.push_degree if site else "received"
        usual = max(least, self._engine.settings.get("push.degree"), key=DEGREES.index)
        if asked is not None and asked not in DEGREES:
            raise BAD_DEGREE(degree=asked)
        return max(asked or usual, least, key=DEGREES.index)

    @contextmanager
    def _recorded(self, release: Release, detail: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Audit records before and after; the one after says what became of each server, however it ended."""
        audit, obj, told = self._engine.audit, _obj(release), {}
        corr = audit.new_corr()
        audit.append("push.start", obj=obj, detail=detail, corr=corr)
        outcome, reason = "error", "unexpected"
        try:
            yield told
            good = all(s["outcome"] == "verified" for s in told["servers"].values())
            outcome, reason = ("success", None) if good else ("failure", "not every server was verified")
        except Cancelled:
            outcome, reason = "failure", "cancelled"
            raise
        finally:
            audit.append("push.end", outcome=outcome, obj=obj, detail=told, reason=reason, corr=corr)

    def _one(self, ctx: Context, record: ServerRecord, cargo: _Cargo, degree: str, means: Means) -> dict[str, Any]:
        """One server, whose troubles are its own."""
        began, outcome, total = time.monotonic(), Outcome(degree=degree), 0
        verdict, error = "verified", None
        try:
            plan = cargo.plan().to(record.store, relay=means.chain is not None)
            total = plan.bytes_total
            self._with_reconnects(ctx, record, plan, outcome, means)
        except Cancelled:
            verdict = "cancelled"
        except SealiftError as problem:
            cancelled = ctx.cancelled and problem.retryable
            verdict, error = ("cancelled", None) if cancelled else (_verdict(problem), problem.kept())
        finally:
            if means.chain is not None:
                means.chain.absent(record.name)
        why = means.chain.why.get(record.name) if means.chain else None
        ctx.result(verdict, bytes_sent=outcome.bytes_sent, error=error)
        return {
            "name": record.name,
            "outcome": verdict,
            "degree": outcome.degree,
            "bytes_total": total,
            "bytes_sent": outcome.bytes_sent,
            "bytes_on_link": outcome.bytes_on_link,
            "bytes_reused": outcome.bytes_reused,
            "bytes_resumed": outcome.bytes_resumed,
            "seconds": round((outcome.done_at or time.monotonic()) - began, 3),
            "via": outcome.via,
            "fed_directly_because": REASONS[why] if why else None,
            "receiver": outcome.receiver,
            "resumed_by": outcome.resumed_by,
            "reused_by": outcome.reused_by,
            "connections": outcome.connections,
            "error": error,
        }

    def _with_reconnects(self, ctx: Context, record: ServerRecord, plan: manifest.PushPlan, outcome: Outcome, means: Means) -> None:
        """Push; a link that breaks while bytes flow is made anew a few times before it is given up."""
        for tried in range(RECONNECTS + 1):
            sent = outcome.bytes_sent
            try:
                return self._over_one_link(ctx, record, plan, outcome, means)
            except SealiftError as problem:
                # A receiver that ended without a word was killed, or its server is going down.
                if tried == RECONNECTS or outcome.bytes_sent == sent or problem.code not in BROKEN_LINK:
                    raise
                ctx.warn(N_("The connection broke; connecting again."))

    def _over_one_link(self, ctx: Context, record: ServerRecord, plan: manifest.PushPlan, outcome: Outcome, means: Means) -> None:
        ctx.phase(N_("Connect"))
        transport = self._engine.servers.connect(record.name, purpose="data")
        try:
            with ctx.on_cancel(transport.close):
                told = self._python_told(record.name)
                try:
                    self._send(ctx, transport, record, plan, outcome, means, told or python_of(transport))
                except SealiftError as problem:
                    # A server that lost its Python since the inventory; one whose receiver has spoken has it.
                    if told is None or outcome.counted or problem.code not in BROKEN_LINK:
                        raise
                    self._send(ctx, transport, record, plan, outcome, means, python_of(transport))
        finally:
            transport.close()

    def _send(
        self, ctx: Context, transport: Transport, record: ServerRecord, plan: manifest.PushPlan, outcome: Outcome, means: Means,
        python: str | None,
    ) -> None:  # fmt: skip
        way = self._way(record, python) if python else None
        if means.chain is not None and not python:
            means.chain.absent(record.name)
        send(ctx, transport, plan, outcome, replace(means, way=way, record=record), python)

    def _python_told(self, name: str) -> str | None:
        """The system's own Python, where the last inventory found it. Everything else is looked for at the push: it may have come
        since, and of others only a start tells whether they serve."""
        known = self._engine.inventory.latest(name, reached=True)
        fact = known.facts.get("python.versions") if known else None
        found = fact.value if fact is not None and fact.state == "value" else ()
        return PYTHONS[0] if any(p["path"] == PYTHONS[0] and NEW_ENOUGH.match(p["version"]) for p in found) else None

    def _way(self, record: ServerRecord, python: str) -> Way:
        """How a worker reaches the server."""
        route = self._engine.servers.route(record.name)
        return Way(route.target, route.login, python, tuple(route.jumps))

    # At rest ---------------------------------------------------------------------------------------------------------

    def verify(self, ctx: Context, release: Release, names: Sequence[str], components: Sequence[str] | None = None) -> dict[str, Any]:
        """Hash a release's files again where they lie on the servers, at low priority, from the medium where the server can.
        A file that is found wrong is sent anew, as far as it is wrong, by the next push.

        Returns:
            ``{"servers": [{"name", "verdict", "degree", "findings", "error"}]}``.
        """
        from console.push.at_rest import check

        self._engine.require("operator", "auditor")
        records = self._records(names)
        with self._engine.act("push.verify", _obj(release), {"servers": [r.name for r in records]}) as told:
            with ThreadPoolExecutor(AT_ONCE, "verify") as pool:
                results = list(pool.map(lambda r: check(ctx.server(r.name), self._engine.servers, release, r, components), records))
            told["servers"] = {r["name"]: {"verdict": r["verdict"], "degree": r["degree"], "findings": len(r["findings"])} for r in results}
        return {"servers": results}


class _Cargo:
    """What goes to every server, planned once: there may be 100,000 files and as many as 64 servers."""

    def __init__(self, make: Callable[[], manifest.PushPlan]):
        self._make, self._made, self._making = make, None, threading.Lock()

    def plan(self) -> manifest.PushPlan:
        """The plan, still without a store; raises what planning raises, to everybody who asks."""
        with self._making:
            self._made = self._made or self._make()
            return self._made


def _obj(release: Release) -> dict[str, str]:
    return {"kind": "release", "id": release.release_id, "digest": release.release_id}


def _verdict(problem: SealiftError) -> str:
    if problem.code in UNREACHABLE:
        return "unreachable"
    return "refused" if problem.code in REFUSED else "failed"


def _recorded_result(result: dict[str, Any]) -> dict[str, Any]:
    kept = ("outcome", "degree", "bytes_sent", "bytes_reused", "reused_by", "bytes_resumed", "resumed_by", "via")
    return {k: result[k] for k in kept} | {"error": result["error"]["code"] if result["error"] else None}
