"""Whether the kernel keeps time by a fast clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_


@check(
    "host.clock-source",
    title=N_("Clock of the kernel"),
    needs=("kernel.settings",),
    source="practice of facebookresearch/gcm, 2025-12-25 (reported)",
    blocking=False,
)
def clock_source(facts: Mapping[str, Any], site: Site) -> Verdict:
    found = facts["kernel.settings"].get("clocksource")
    if not found:
        return Verdict("unknown", N_("The kernel does not tell its clock."), remedy=N_("Look at /sys/devices/system/clocksource."))
    if found not in site.limit("clock-source", "wanted"):
        return Verdict(
            "warn", N_("The kernel keeps time by {clock}, which is slow to read."), {"clock": found},
            N_("Find out in the kernel log why the processor's own clock was given up."),
        )
    return Verdict("pass", N_("The kernel keeps time by {clock}."), {"clock": found})
