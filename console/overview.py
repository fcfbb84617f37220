"""Where the main job stands in this workspace, stage by stage, and which stage comes next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from console.i18n import N_

State = Literal["done", "attention", "open"]

NAMED = 6
"""Servers that a line names one by one; more are counted."""


@dataclass(frozen=True)
class Stage:
    """One stage of the job.

    Attributes:
        id: ``site``, ``library``, ``servers``, ``readiness``, ``deploy`` or ``proof``.
        state: done; attention (begun, and something asks for a person); or open.
        text, params: one marked sentence on where it stands.
        need: a stable word for what is needed next, or "".
    """

    id: str
    state: State
    text: str
    params: dict[str, Any] = field(default_factory=dict)
    need: str = ""


def stages(engine: Any) -> tuple[Stage, ...]:
    """All stages in order. Reads the store; asks no server."""
    return (_site(engine), _library(engine), _servers(engine), _readiness(engine), _deploy(engine), _proof(engine))


def following(found: tuple[Stage, ...]) -> str:
    """The id of the stage to go on with: the first that asks for a person or is open; the last when all are done."""
    return next((stage.id for stage in found if stage.state != "done"), found[-1].id)


def _site(engine: Any) -> Stage:
    site = engine.site.get()
    if site is None:
        return Stage("site", "open", N_("No site is set up in this workspace yet."), need="set-up")
    return Stage("site", "done", N_("{name} is set up."), {"name": site.name})


def _library(engine: Any) -> Stage:
    releases = engine.library.list()
    if releases:
        return Stage("library", "done", N_("Releases in the library: {count}; the newest is {title}."),
                     {"count": len(releases), "title": releases[0].title})
    if not engine.trust.list():
        return Stage("library", "open", N_("No signing key is trusted yet, so no bundle can be brought in."),
                     need="trust")
    return Stage("library", "open", N_("The library is empty: bring a bundle in from a drive."), need="import")


def _servers(engine: Any) -> Stage:
    servers = engine.servers.list()
    if not servers:
        return Stage("servers", "open", N_("No servers are known yet."), need="add")
    untrusted = sum(not server.host_keys for server in servers)
    if untrusted:
        return Stage("servers", "attention", N_("{count} of {all} servers wait for their host key to be confirmed."),
                     {"count": untrusted, "all": len(servers)}, "trust")
    known = [engine.inventory.latest(server.name) for server in servers]
    unasked = sum(taken is None for taken in known)
    if unasked:
        return Stage("servers", "attention", N_("{count} of {all} servers were not asked yet what they are."),
                     {"count": unasked, "all": len(servers)}, "inventory")
    devices = sum(len(taken.devices) for taken in known)
    return Stage("servers", "done", N_("{all} servers with {devices} devices are known."),
                 {"all": len(servers), "devices": devices})


def _readiness(engine: Any) -> Stage:
    results = engine.readiness.latest()
    if not results:
        return Stage("readiness", "open", N_("No server was checked yet."), need="check")
    failed = {result.server for result in results if result.verdict == "fail"}
    servers = {result.server for result in results}
    if failed == servers:
        return Stage("readiness", "attention", N_("Checks fail on every server that was checked."), need="check")
    if failed:
        return Stage("readiness", "done", N_("{count} servers were checked; checks fail on {failed}."),
                     {"count": len(servers), "failed": ", ".join(sorted(failed))})
    return Stage("readiness", "done", N_("{count} servers were checked; nothing failed."), {"count": len(servers)})


def _deploy(engine: Any) -> Stage:
    if engine.deployments.interrupted():
        return Stage("deploy", "attention", N_("A deployment was cut off."), need="go-on")
    serving = {server["name"] for one in engine.deployments.list() for server in one["servers"]
               if server["state"] == "serving"}
    if len(serving) > NAMED:
        return Stage("deploy", "done", N_("A model is in service on {count} servers."), {"count": len(serving)})
    if serving:
        return Stage("deploy", "done", N_("A model is in service on {servers}."), {"servers": ", ".join(sorted(serving))})
    waiting = [plan for plan in engine.deployments.plans() if plan["state"] != "applied"]
    if waiting:
        return Stage("deploy", "attention", N_("The plan {plan} waits to be approved or applied."),
                     {"plan": waiting[0]["id"]},
                     "plan")
    return Stage("deploy", "open", N_("Nothing is in service yet."), need="plan")


def _proof(engine: Any) -> Stage:
    standing = engine.audit.standing()
    if "damaged" in standing["warnings"]:
        return Stage("proof", "attention", N_("The audit log is damaged; nothing new is started."), need="export")
    if {"quota-warn", "quota-stop"} & set(standing["warnings"]):
        return Stage("proof", "attention", N_("The audit log fills {percent} % of its quota."), {"percent": standing["percent"]}, "export")
    exported = engine.audit.list(limit=1, event="audit.export")
    if not exported:
        return Stage("proof", "open", N_("The record was not exported yet."), need="export")
    later = engine.audit.list(limit=1, event="deploy.end")
    if later and later[0]["seq"] > exported[0]["seq"]:
        return Stage("proof", "attention", N_("Something was deployed after the last export of the record."),
                     need="export")
    if "export-due" in standing["warnings"]:
        return Stage("proof", "attention", N_("The record was last exported {days} days ago."),
                     {"days": standing["days_without_export"]}, "export")
    return Stage("proof", "done", N_("The record was exported."))
