"""``engine.push``: a release onto servers, verified there; each server by itself, a result for each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from console.bundles.library import Release
from console.errors import Cancelled, InputError, SealiftError, code
from console.i18n import N_
from console.jobs.job import Context, JobSpec
from console.push import manifest
from console.push.sender import WRONG_BYTES, Limit, Outcome, send

if TYPE_CHECKING:
    from console.engine import Engine

DEGREES = ("received", "stored", "media")
BAD_DEGREE = code("push.bad-degree", InputError, N_("{degree} is not a degree of verification."), N_("Choose received, stored or media."))
NO_SERVERS = code("push.no-servers", InputError, N_("No server was named."), N_("Name the servers to push to."))

AT_ONCE = 8
RECONNECTS = 2
UNREACHABLE = ("ssh.unreachable", "ssh.refused", "ssh.timeout", "ssh.connection-lost", "ssh.not-ssh")
REFUSED = ("ssh.host-key-changed", "ssh.host-key-unknown", "ssh.auth-failed", WRONG_BYTES.code)


class PushService:
    """Pushes releases."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def job(self, release: Release, names: Sequence[str], title: str, **options: Any) -> JobSpec:
        """The job that pushes; see :meth:`run` for the options."""
        return JobSpec("push.run", title, lambda ctx: self.run(ctx, release, names, **options), tuple(names), changes=True,
                       params={"release": release.release_id, "servers": list(names)}, changed=frozenset({"servers", "audit", "jobs"}))

    def run(self, ctx: Context, release: Release, names: Sequence[str], *, relay: str = "auto", degree: str | None = None,
            components: Sequence[str] | None = None, limit_bytes_per_s: int | None = None) -> dict[str, Any]:
        """Push to every named server.

        Args:
            relay: ``auto`` or ``off``; servers are fed by the console alone, and the result says so.
            degree: received, stored or media; never less than the site's policy.
            components: ids; all when None. limit_bytes_per_s: for all servers together; the setting when None.

        Returns:
            ``{"servers": [...]}`` of the contract, in the order of ``names``.

        Raises:
            DeniedError. InputError: an unknown server. Cancelled: what was verified stays for the next push.
        """
        self._engine.require("operator")
        if not names:
            raise NO_SERVERS()
        degree = self._degree(degree)
        records = [self._engine.servers.get(name) for name in names]
        limit = Limit(limit_bytes_per_s if limit_bytes_per_s is not None else self._engine.settings.get("push.limit-bytes-per-s"))
        obj = {"kind": "release", "id": release.release_id, "digest": release.release_id}
        with self._engine.act("push.start", obj, {"servers": list(names), "degree": degree}) as told:
            with ThreadPoolExecutor(AT_ONCE, "push") as pool:
                results = list(pool.map(lambda r: self._one(ctx.server(r.name), release, r, degree, components, limit), records))
            told["servers"] = {r["name"]: {k: r[k] for k in ("outcome", "degree", "bytes_sent", "bytes_reused", "bytes_resumed")}
                               | {"error": r["error"]["code"] if r["error"] else None} for r in results}
            if any(r["outcome"] == "cancelled" for r in results):
                raise Cancelled
        return {"servers": results}

    def _degree(self, asked: str | None) -> str:
        site = self._engine.site.get()
        least = max((site.policy.push_degree if site else "received", self._engine.settings.get("push.degree")), key=DEGREES.index)
        if asked is not None and asked not in DEGREES:
            raise BAD_DEGREE(degree=asked)
        return max(asked or least, site.policy.push_degree if site else "received", key=DEGREES.index)

    def _one(self, ctx: Context, release: Release, record: Any, degree: str, components: Any, limit: Limit) -> dict[str, Any]:
        began, outcome, total = time.monotonic(), Outcome(degree=degree), 0
        verdict, error = "verified", None
        try:
            plan = manifest.plan(self._engine.library, release, record.store, degree, components)
            total = plan.bytes_total
            self._with_reconnects(ctx, record.name, plan, outcome, limit)
        except Cancelled:
            verdict = "cancelled"
        except SealiftError as problem:
            cancelled = ctx.cancelled and problem.retryable
            verdict = "cancelled" if cancelled else "unreachable" if problem.code in UNREACHABLE else (
                "refused" if problem.code in REFUSED else "failed")
            error = None if cancelled else problem.as_dict()
        result = {"name": record.name, "outcome": verdict, "degree": outcome.degree, "bytes_total": total, "bytes_sent": outcome.bytes_sent,
                  "bytes_reused": outcome.bytes_reused, "bytes_resumed": outcome.bytes_resumed,
                  "seconds": round(time.monotonic() - began, 3), "via": "console", "receiver": outcome.receiver, "error": error}
        ctx.result(verdict, bytes_sent=outcome.bytes_sent, error=error)
        return result

    def _with_reconnects(self, ctx: Context, name: str, plan: manifest.PushPlan, outcome: Outcome, limit: Limit) -> None:
        """Push; a link that breaks while bytes flow is made anew a few times before it is given up."""
        for tried in range(RECONNECTS + 1):
            sent = outcome.bytes_sent
            try:
                self._over_one_link(ctx, name, plan, outcome, limit)
                return
            except SealiftError as problem:
                moved = outcome.bytes_sent > sent
                if tried == RECONNECTS or not moved or problem.code != "ssh.connection-lost":
                    raise
                ctx.warn(N_("The connection broke; connecting again."))

    def _over_one_link(self, ctx: Context, name: str, plan: manifest.PushPlan, outcome: Outcome, limit: Limit) -> None:
        ctx.phase(N_("Connect"))
        transport = self._engine.servers.connect(name, purpose="data")
        try:
            with ctx.on_cancel(transport.close):
                python = _python_of(transport)
                ctx.phase(N_("Push"))
                send(ctx, transport, plan, outcome, limit, python)
        finally:
            transport.close()

    # At rest ---------------------------------------------------------------------------------------------------------

    def verify(self, ctx: Context, release: Release, names: Sequence[str]) -> dict[str, Any]:
        """Hash a release's files again where they lie on the servers, at low priority.

        Returns:
            ``{"servers": [{"name", "verdict", "findings", "error"}]}``.
        """
        from console.push.at_rest import check

        self._engine.require("operator", "auditor")
        obj = {"kind": "release", "id": release.release_id, "digest": release.release_id}
        with self._engine.act("push.verify", obj, {"servers": list(names)}) as told:
            with ThreadPoolExecutor(AT_ONCE, "verify") as pool:
                results = list(pool.map(lambda n: check(ctx.server(n), self._engine.servers, release, n), names))
            told["servers"] = {r["name"]: r["verdict"] for r in results}
        return {"servers": results}


def _python_of(transport: Any) -> str | None:
    """The interpreter that the receiver can run in, or None where there is none of version 3.6 or newer."""
    # The plain name first: on some servers only what PATH says may be used.
    script = ('for p in /usr/bin/python3 python3 /usr/libexec/platform-python; do command -v python3 >/dev/null || [ "$p" = /usr/libexec/'
              'platform-python ] || continue; "$p" -S -E -c "import sys,fcntl,zlib; sys.exit(sys.version_info < (3, 6))" 2>/dev/null '
              '&& { echo "$p"; exit; }; done')
    found = transport.run(("sh", "-c", script), timeout_s=60)
    name = found.stdout.decode("utf-8", "replace").strip()
    return name if name in ("/usr/bin/python3", "python3", "/usr/libexec/platform-python") else None
