"""Whether the server's clock is kept in step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check("host.time-sync", title=N_("Clock"), needs=("time.sync",), source="need for time service: gpustack requirements, 2026-08-21")
def time_sync(facts: Mapping[str, Any], site: Site) -> Verdict:
    synchronised = facts["time.sync"].get("synchronized")
    if synchronised is None:
        return Verdict(
            "unknown",
            N_("The server does not tell whether its clock is kept in step."),
            remedy=N_("Set up chrony or systemd-timesyncd with the site's own time server."),
        )
    if not synchronised:
        return Verdict(
            "warn",
            N_("The server's clock is not kept in step."),
            remedy=N_("Set up chrony or systemd-timesyncd with the site's own time server."),
        )
    return Verdict("pass", N_("The clock is kept in step."))
