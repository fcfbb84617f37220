"""Whether the hardware slows the devices down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from console.checks.check import Site, Verdict, check
from console.i18n import N_

BAD = ("hw_slowdown", "hw_thermal_slowdown", "sw_thermal_slowdown", "hw_power_brake_slowdown")


@check(
    "nvidia.throttle",
    title=N_("Devices run at full speed"),
    needs=("nvidia.query",),
    vendor="nvidia",
    source="reasons that fail a node in azurehpc-health-checks, 2026-05-01 (reported)",
)
def nvidia_throttle(facts: Mapping[str, Any], site: Site) -> Verdict:
    devices = facts["nvidia.query"]["devices"]
    slowed = {d["index"]: r for d in devices for r in d.get("slowdown_reasons") or () if r in BAD}
    if slowed:
        index, reason = next(iter(slowed.items()))
        return Verdict(
            "fail",
            N_("Device {device} is slowed down by its hardware ({reason})."),
            {"device": index, "reason": reason.replace("_", " ")},
            N_("Check cooling, power supplies and power cables of the server."),
        )
    return Verdict("pass", N_("No device is slowed down by its hardware."))
