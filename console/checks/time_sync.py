"""Whether the server's clock is kept in step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

FAR_OFF_S = 60
"""Farther from the console's clock than this, records of both can no longer be put in order, and certificates fail."""


@check("host.time-sync", title=N_("Clock"), needs=("time.sync",), source="need for time service: gpustack requirements, 2026-08-21")
def time_sync(facts: Mapping[str, Any], site: Site) -> Verdict:
    synchronised, ahead_s = facts["time.sync"].get("synchronized"), facts["time.sync"].get("console_offset_s")
    if ahead_s is not None and abs(ahead_s) > FAR_OFF_S:
        return Verdict(
            "warn",
            N_("The server's clock is {seconds} s away from the console's."),
            {"seconds": f"{ahead_s:+.0f}"},
            N_("Find out which of the two is wrong, and set up the site's own time server on it."),
        )
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
