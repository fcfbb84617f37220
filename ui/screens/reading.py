"""Small reads that more than one screen needs. All of them run in reader threads."""

from __future__ import annotations

from typing import Any

from console.i18n import N_


def who_and_where(engine: Any) -> dict[str, Any]:
    """The site's name, who acts, and whether the site has accounts."""
    site = engine.site.get()
    accounts = any(not account.disabled for account in engine.accounts.list())
    return {"site": site.name if site else "", "actor": engine.actor.id, "accounts": accounts,
            "log-in": accounts and engine.actor.auth == "os-user"}


def figures(engine: Any) -> list[tuple[str, str, str]]:
    """The overview's figures: icon, caption, value."""
    servers = engine.servers.list()
    taken = [engine.inventory.latest(server.name) for server in servers]
    devices = [device for one in taken if one is not None and one.reached for device in one.devices]
    bad = sum(device.health in ("fail", "warning") for device in devices)
    serving = sum(server["state"] == "serving" for one in engine.deployments.list() for server in one["servers"])
    return [("library", N_("Releases"), f"{len(engine.library.list()):,}"),
            ("servers", N_("Servers"), f"{len(servers):,}"),
            ("device", N_("Devices to look at") if bad else N_("Devices"),
             f"{bad:,}" if bad else f"{len(devices):,}"),
            ("deploy", N_("Services"), f"{serving:,}"), ("proof", N_("Audit records"), f"{engine.audit.size:,}")]
