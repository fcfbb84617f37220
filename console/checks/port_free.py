"""Whether the port that the playbook wants is free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "net.port",
    title=N_("Port is free"),
    needs=("net.listening",),
    empty_is_value=True,
    applies=lambda site: site.plan.port is not None,
    source="the server's own list of listening sockets",
)
def port_free(facts: Mapping[str, Any], site: Site) -> Verdict:
    taken = any(entry["port"] == site.plan.port for entry in facts["net.listening"] or ())
    if taken:
        return Verdict("info", N_("Port {port} is taken; the deployment takes the next free one."), {"port": site.plan.port})
    return Verdict("pass", N_("Port {port} is free."), {"port": site.plan.port})
